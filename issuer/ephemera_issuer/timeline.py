"""What a rotation would do to each key, and when: what `ephemera keys rotate --dry-run` tells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from ephemera_keys import Algorithm, KeyRing


class Event(NamedTuple):
    """Something that happens to a key at a moment, Unix seconds; `kid` is None for a new one."""

    at: float
    what: str
    kid: str | None
    alg: Algorithm


class Gap(NamedTuple):
    """What would be missing if the pending key signed before every cache has it.

    Caches that were filled before `published_at` lack it: until `heeding_until` those that heed
    the document's `max-age`, and until `at_most_until` where up to three of them stand in a row.
    """

    kid: str
    published_at: float
    heeding_until: float
    at_most_until: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """A rotation at the first safe moment, or now if that has passed."""

    now: float
    earliest: float
    events: tuple[Event, ...]
    gap: Gap | None

    @property
    def rotates_at(self) -> float:
        """When the rotation that is told happens."""
        return max(self.now, self.earliest)


def timeline(ring: KeyRing, *, algorithm: Algorithm, now: float) -> Timeline:
    """Tell what rotating `ring` would do; the key that it publishes is for `algorithm`."""
    timing, active, pending = ring.timing, ring.active, ring.pending
    earliest = ring.earliest_rotation()
    at = max(now, earliest)
    events = [
        Event(pending.published_at, "published", pending.kid, pending.alg),
        Event(at, "signs", pending.kid, pending.alg),
        Event(at, "retires", active.kid, active.alg),
        Event(at, "published", None, algorithm),
        Event(at + timing.publication, "may sign", None, algorithm),
        Event(at + timing.retention, "removed", active.kid, active.alg),
        *(
            Event(ring.overdue_at(record), "removed", record.kid, record.alg)
            for record in ring.retired
        ),
    ]
    gap = Gap(
        pending.kid, pending.published_at, pending.published_at + timing.jwks_max_age, earliest
    )
    return Timeline(
        now=now,
        earliest=earliest,
        events=tuple(sorted(events, key=lambda event: event.at)),
        gap=gap if now < earliest else None,
    )
