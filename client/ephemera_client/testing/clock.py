"""Time that passes when a test says so."""

from datetime import datetime

from ephemera_client.errors import ConfigurationError
from ephemera_client.instant import Instant


class StillClock:
    """Both clocks, standing at `now` until moved."""

    def __init__(self, now: Instant) -> None:
        self.now = now

    def __call__(self) -> Instant:
        """Return `now`, as a `Clock` does."""
        return self.now

    def advance(self, seconds: float) -> Instant:
        """Let time pass, by both clocks."""
        self.now = Instant(self.now.wall + seconds, self.now.monotonic + seconds)
        return self.now

    def at(self, moment: datetime | float) -> Instant:
        """Go to a moment: Unix seconds, or a `datetime` with a time zone.

        An earlier one sets the wall clock back: the monotonic clock, by which leases and caches
        age, never goes backwards.

        Raises:
            ConfigurationError: the `datetime` has no time zone.
        """
        if isinstance(moment, datetime):
            if moment.tzinfo is None:
                raise ConfigurationError("a datetime needs a time zone, such as datetime.UTC")
            moment = moment.timestamp()
        passed = max(0.0, moment - self.now.wall)
        self.now = Instant(moment, self.now.monotonic + passed)
        return self.now
