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
    """Calls, each forgotten little by little over about a minute."""

    __slots__ = ("_last", "_weight")

    def __init__(self) -> None:
        self._weight = 0.0
        self._last: Instant | None = None

    def note(self, now: Instant) -> None:
        """Count one call."""
        self._weight = self._remembered(now) + 1.0
        self._last = now

    def ahead(self, now: Instant, usable: float) -> int:
        """Return how many tokens of `usable` seconds to keep; one lonely call asks for none."""
        seconds = min(_AHEAD_SECONDS, usable * _AHEAD_SHARE)
        return int(self._remembered(now) * seconds / _MEMORY_SECONDS)

    def _remembered(self, now: Instant) -> float:
        if self._last is None or self._last is now:
            return self._weight
        return self._weight * math.exp(-max(now.since(self._last), 0.0) / _MEMORY_SECONDS)
