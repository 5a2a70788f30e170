"""When to stop asking what does not answer."""

FIRST_PAUSE = 0.1
LAST_PAUSE = 2.0


class Breaker:
    """Open after a failure, and then lets one through per pause; not thread-safe.

    `now` is a moment of the monotonic clock. Pauses double with each failure, up to two seconds;
    the first success closes it.
    """

    __slots__ = ("_next", "pause")

    def __init__(self) -> None:
        self.pause = 0.0
        """Seconds between two that are let through; 0 while it is closed."""
        self._next = 0.0

    def admits(self, now: float) -> bool:
        """Say whether to ask now; each time that it does so while open is one attempt."""
        if not self.pause:
            return True
        if now < self._next:
            return False
        # Not a flag that the attempt has to take back: one that never ends would keep it set.
        self._next = now + self.pause
        return True

    def failed(self, now: float) -> None:
        """Open, or stay open for longer."""
        self.pause = min(self.pause * 2 or FIRST_PAUSE, LAST_PAUSE)
        self._next = now + self.pause

    def succeeded(self) -> None:
        """Close."""
        self.pause = 0.0
