"""Many token buckets of one rate, one for each name, in bounded memory. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ephemera_issuer.rate import Rate

MOST = 50_000
"""Names of one generation; there are two."""

_TOLERANCE = 1e-6
"""Seconds; far under what a caller can time, far over what floats lose."""


class Crowd:
    """A bucket for each name, made when it is first drawn from.

    A bucket is one number: the moment at which it will be full again, of any clock that is told.
    One that is full is any moment of the past, so a bucket that nobody draws from need not be kept.

    Names are kept in two generations. When the younger is full it becomes the older, and what was
    the older is forgotten: buckets that were not drawn from while `most` other names were. A
    forgotten bucket is full again. So whoever comes under ever new names is not held back here,
    takes no more memory than this, and takes nothing from those who keep coming.

    Args:
        rate: That of every bucket.
        most: Names of one generation.
    """

    __slots__ = ("_each", "_most", "_older", "_whole", "_younger", "rate")

    def __init__(self, rate: Rate, *, most: int = MOST) -> None:
        self.rate = rate
        self._each, self._whole = rate.each, rate.whole
        self._most = most
        self._younger: dict[str, float] = {}
        self._older: dict[str, float] = {}

    def __len__(self) -> int:
        """Return how many buckets are kept."""
        return len(self._younger) + len(self._older.keys() - self._younger.keys())

    def take(self, name: str, number: float, now: float) -> float:
        """Draw from the bucket of this name, all or nothing; the seconds to wait, 0 if drawn.

        What is more than a bucket holds is never there: the wait for it is no promise.
        """
        younger = self._younger
        full_at = younger.get(name)
        if full_at is None:
            if len(younger) >= self._most:
                self._older, self._younger = younger, {}
                younger, full_at = self._younger, younger.get(name)
            if full_at is None:
                full_at = self._older.get(name, now)
        if full_at < now:  # noqa: PLR1730 - a call would be a tenth of the whole
            full_at = now
        full_at += number * self._each
        wait = full_at - now - self._whole
        if wait > _TOLERANCE:
            return wait
        younger[name] = full_at
        return 0.0

    def wait(self, name: str, now: float) -> float:
        """Return the seconds until one can be drawn, and draw nothing."""
        full_at = self._younger.get(name)
        if full_at is None:
            full_at = self._older.get(name, now)
        if full_at <= now:
            return 0.0
        wait = full_at + self._each - now - self._whole
        return wait if wait > _TOLERANCE else 0.0
