"""How many tokens are asked for, and so how many to keep ahead."""

import math

from ephemera_client.instant import Instant

# The rate of the last minute or so decides: a call a minute is no reason to keep anything.
_MEMORY_SECONDS = 60.0
# What is kept would last for as long, unless the tokens end before: a restart of the issuer passes
# unnoticed, and little is thrown away when the calls cease.
_AHEAD_SECONDS = 30.0
_AHEAD_SHARE = 0.25


class Demand:
    """Calls, each forgotten little by little over about a minute.

    `recent` counts those since `ahead` was asked last; a call costs no more than that.
    """

    __slots__ = ("_looked", "_weight", "recent")

    def __init__(self) -> None:
        self.recent = 0
        self._weight = 0.0
        self._looked: Instant | None = None

    def ahead(self, now: Instant, usable: float) -> int:
        """Return how many tokens of `usable` seconds to keep; one lonely call asks for none."""
        if self._looked is not None:
            passed = max(now.since(self._looked), 0.0)
            self._weight *= math.exp(-passed / _MEMORY_SECONDS)
        self._weight += self.recent
        self.recent, self._looked = 0, now
        seconds = min(_AHEAD_SECONDS, usable * _AHEAD_SHARE)
        return int(self._weight * seconds / _MEMORY_SECONDS)
