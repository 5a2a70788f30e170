"""Many buckets of one rate, one for each name, in bounded memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ephemera_issuer.rate import Rate

MOST = 50_000
"""Names of one generation; there are two."""


class Crowd:
    """A bucket for each name, made when it is first drawn from.

    Names are kept in two generations. When the younger is full it becomes the older, and what was
    the older is forgotten: buckets that were not drawn from while `most` other names were. A
    forgotten bucket is full again. So whoever comes under ever new names is not held back here,
    takes no more memory than this, and takes nothing from those who keep coming.

    Args:
        rate: That of every bucket.
        most: Names of one generation.
    """

    __slots__ = ("_most", "_older", "_younger", "rate")

    def __init__(self, rate: Rate, *, most: int = MOST) -> None:
        self.rate = rate
        self._most = most
        self._younger: dict[str, float] = {}
        self._older: dict[str, float] = {}

    def __len__(self) -> int:
        """Return how many buckets are kept."""
        return len(self._younger) + len(self._older.keys() - self._younger.keys())

    def take(self, name: str, number: float, now: float) -> float:
        """Draw from the bucket of this name, all or nothing; the seconds to wait, 0 if drawn."""
        drawn = self.rate.drawn(self._full_at(name), number, now)
        wait = self.rate.wait(drawn, now)
        if not wait:
            self._keep(name, drawn)
        return wait

    def wait(self, name: str, now: float) -> float:
        """Return the seconds until one can be drawn, and draw nothing."""
        return self.rate.wait(self.rate.drawn(self._full_at(name), 1, now), now)

    def _full_at(self, name: str) -> float:
        full_at = self._younger.get(name)
        return full_at if full_at is not None else self._older.get(name, 0.0)

    def _keep(self, name: str, full_at: float) -> None:
        if len(self._younger) >= self._most and name not in self._younger:
            self._older, self._younger = self._younger, {}
        self._younger[name] = full_at
