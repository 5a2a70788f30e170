"""How fast a token bucket fills, and how much it holds."""

from __future__ import annotations


class Rate:
    """So much a second, and so much at once.

    Args:
        per_second: What flows into a bucket; infinite for one that is never empty.
        burst: What it holds, and so the most that can be drawn at once.
    """

    __slots__ = ("burst", "each", "per_second", "whole")

    def __init__(self, per_second: float, burst: float) -> None:
        self.per_second = per_second
        self.burst = burst
        self.each = 1 / per_second
        """Seconds in which one flows in."""
        self.whole = burst / per_second
        """Seconds in which an empty bucket is full."""


UNLIMITED = Rate(float("inf"), 1)
