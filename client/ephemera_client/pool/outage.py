"""How long an issuer that fails is left alone, and whether it is worth waiting for."""

from collections.abc import Callable

from ephemera_client.errors import EphemeraError, IssuerUnavailable
from ephemera_client.instant import Instant

FIRST_PAUSE = 0.1
LAST_PAUSE = 5.0
# A proxy that says "tomorrow" is not taken at its word.
LONGEST_RETRY_AFTER = 300.0
# A restart of the issuer costs its callers a wait; a longer outage costs them an error, at once.
RIDE_OUT = 5.0

_PASSING = frozenset(
    {"connect_failed", "connection_lost", "issuer_failed", "rate_limited", "timeout"}
)


class Outage:
    """Failures in a row, and the pause after the last of them: doubling, and jittered."""

    __slots__ = ("_answered", "_began", "_failed", "_failures", "_pause", "_random", "error")

    def __init__(self, random: Callable[[], float]) -> None:
        self._random = random
        self._answered = False
        self._failures = 0
        self._began = self._failed = Instant(0.0, 0.0)
        self._pause = 0.0
        self.error: EphemeraError | None = None

    def failed(self, error: EphemeraError, now: Instant) -> None:
        """Take note of one more failure."""
        if not self._failures:
            self._began = now
        self._failures += 1
        self._failed = now
        self.error = error
        delay = min(FIRST_PAUSE * 2.0 ** min(self._failures - 1, 10), LAST_PAUSE)
        self._pause = delay * (1 + self._random()) / 2
        asked = error.retry_after if isinstance(error, IssuerUnavailable) else None
        if asked is not None:
            # Not all at the same moment, and none before it.
            spread = min(asked, LONGEST_RETRY_AFTER) * (1 + self._random() / 10)
            self._pause = max(self._pause, spread)

    def over(self) -> None:
        """Take note of an answer."""
        self._failures, self._pause, self._answered, self.error = 0, 0.0, True, None

    def rest(self, now: Instant) -> float:
        """Return the seconds before the issuer should be asked again."""
        if not self._failures:
            return 0.0
        return max(self._pause - now.since(self._failed), 0.0)

    def retry_after(self, now: Instant) -> float | None:
        """Return what is left of the seconds that the issuer asked for."""
        if not isinstance(self.error, IssuerUnavailable) or self.error.retry_after is None:
            return None
        return max(self.error.retry_after - now.since(self._failed), 0.0)

    @property
    def passing(self) -> bool:
        """Whether the failure at hand is one that ends by itself."""
        return isinstance(self.error, IssuerUnavailable) and self.error.cause_code in _PASSING

    def worth_waiting(self, now: Instant) -> bool:
        """Say whether a call may wait for the next attempt; not if the address may be wrong."""
        next_attempt = now.since(self._began) + self.rest(now)
        return self._answered and self.passing and next_attempt <= RIDE_OUT
