"""When the signing keys change by themselves, and whether this process may be sure of it.

Pure. Every process looks now and then, and any of them may take the next step: the store lets one
win. What makes a step safe is time that has passed, and a wall clock can be wrong. So the wall
clock only says when a step is due, and each process takes only those that it has itself, by its
monotonic clock, waited for: a clock that is set forward promotes no key that caches may lack, and
withdraws none that a living token needs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, NamedTuple, Self, TypeAlias

from ephemera_keys import State

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ephemera_client.instant import Instant
    from ephemera_keys import KeyRing

JUMP: Final = 5.0
"""Seconds by which the two clocks may drift apart from one look to the next."""
SETTLE: Final = 600.0
"""Seconds for which no step is taken after a jump: a clock is often put right a little later."""
JITTER: Final = 0.01
"""The part of the period over which the processes of one issuer spread, 60 s at most."""


class Rotate(NamedTuple):
    """The pending key is to sign."""


class Remove(NamedTuple):
    """Retired keys are to be forgotten."""

    kids: tuple[str, ...]


Step: TypeAlias = Rotate | Remove


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """What one process has seen so far, by its monotonic clock.

    `seen` tells since when it has seen a key in a state. `jumped_at` is when the wall clock last
    jumped, None if it has not; `jump` is by how many seconds it did so at the last look, 0 if it
    did not.
    """

    last: Instant
    seen: Mapping[tuple[str, State], float]
    jumped_at: float | None = None
    jump: float = 0.0

    @classmethod
    def begin(cls, ring: KeyRing, now: Instant) -> Self:
        """Watch from now on: nothing has been waited for yet."""
        return cls(last=now, seen={}).look(ring, now)

    def look(self, ring: KeyRing, now: Instant) -> Self:
        """Take note of the ring and the clocks as they are now."""
        present = [(record.kid, record.state) for record in ring.records]
        drift = (now.wall - self.last.wall) - (now.monotonic - self.last.monotonic)
        jump = 0.0 if abs(drift) <= JUMP else drift
        return replace(
            self,
            last=now,
            seen={key: self.seen.get(key, now.monotonic) for key in present},
            jumped_at=now.monotonic if jump else self.jumped_at,
            jump=jump,
        )

    @property
    def held(self) -> bool:
        """Whether a jump is so recent that nothing is to be decided by the wall clock."""
        return self.jumped_at is not None and self.last.monotonic - self.jumped_at < SETTLE

    def behind(self, ring: KeyRing) -> float:
        """Seconds by which the wall clock is behind what the ring has seen; 0 within `JUMP`."""
        seconds = ring.latest_moment - self.last.wall
        return seconds if seconds > JUMP else 0.0

    def waited(self, kid: str, state: State) -> float:
        """Seconds for which this process has seen the key in this state."""
        return self.last.monotonic - self.seen.get((kid, state), self.last.monotonic)


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """What a process does by itself.

    `every` is the period of rotations in seconds, None where they are left to people. `spread`,
    from 0 to 1, is this process's place among those that would rotate at the same moment.
    """

    every: float | None
    spread: float

    def next_rotation(self, ring: KeyRing) -> float | None:
        """When the next rotation is due, Unix seconds; None if it is left to people."""
        return next_rotation(ring, every=self.every)

    def step(self, ring: KeyRing, watch: Watch) -> Step | None:
        """What is to be done at the moment of the last look; None if nothing is."""
        if watch.held:
            return None
        now, timing = watch.last.wall, ring.timing
        overdue = tuple(
            record.kid
            for record in ring.retired
            if now >= ring.overdue_at(record)
            and watch.waited(record.kid, State.RETIRED) >= timing.retention
        )
        if overdue:
            return Remove(overdue)
        due = self.next_rotation(ring)
        if due is None or self.every is None:
            return None
        mine = due + self.spread * min(JITTER * self.every, 60.0)
        if now >= mine and watch.waited(ring.pending.kid, State.PENDING) >= timing.publication:
            return Rotate()
        return None


def next_rotation(ring: KeyRing, *, every: float | None) -> float | None:
    """When the next rotation is due, Unix seconds: a period after the last, and never too early.

    None if rotations are left to people.
    """
    if every is None or ring.active.activated_at is None:
        return None
    return max(ring.active.activated_at + every, ring.earliest_rotation())
