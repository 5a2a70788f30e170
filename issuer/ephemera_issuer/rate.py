"""A token bucket: so much a second, and so much at once. Pure; `now` is any clock's seconds."""

from __future__ import annotations

_TOLERANCE = 1e-6
"""Seconds; far under what a caller can time, far over what floats lose."""


class Rate:
    """How fast a bucket fills, and how much it holds.

    A bucket itself is one number: the moment at which it will be full again. One that is full is
    any moment of the past, so a bucket that nobody has drawn from need not be kept.

    Args:
        per_second: What flows in; infinite for a bucket that is never empty.
        burst: What it holds, and so the most that can be drawn at once.
    """

    __slots__ = ("_each", "_whole", "burst", "per_second")

    def __init__(self, per_second: float, burst: float) -> None:
        self.per_second = per_second
        self.burst = burst
        self._each = 1 / per_second
        self._whole = burst * self._each

    def drawn(self, full_at: float, number: float, now: float) -> float:
        """Return when the bucket will be full again once `number` more is drawn."""
        return max(full_at, now) + number * self._each

    def wait(self, drawn: float, now: float) -> float:
        """Seconds until there is as much as `drawn` takes; 0 when there is.

        What is more than the bucket holds is never there: the wait for it is no promise.
        """
        wait = drawn - now - self._whole
        return wait if wait > _TOLERANCE else 0.0


UNLIMITED = Rate(float("inf"), 1)
