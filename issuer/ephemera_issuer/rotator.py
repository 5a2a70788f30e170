"""Rotation in the background of a serving process: a shell around `schedule`."""

from __future__ import annotations

import contextlib
import random
from functools import partial
from typing import TYPE_CHECKING, Protocol

import anyio
import anyio.to_thread
import structlog

from ephemera_issuer.errors import IssuerError, KeysConflict
from ephemera_issuer.schedule import SETTLE, Remove, Rotate, Schedule, Step, Watch
from ephemera_keys import KeysError, RotationRefused

if TYPE_CHECKING:
    from ephemera_client.instant import Clock, Instant
    from ephemera_issuer.rotation import SigningKeys
    from ephemera_issuer.snapshot import Snapshot
    from ephemera_keys import Algorithm

LOOK_EVERY = 1.0
"""Seconds between two looks."""
PAUSE = 10.0
"""Seconds after a failure before the next attempt."""


class Keeper(Protocol):
    """Keeps the snapshot, and the keys that it is taken of; `SnapshotKeeper` does."""

    keys: SigningKeys

    @property
    def current(self) -> Snapshot | None:
        """The snapshot as it is now."""
        ...

    def refresh(self) -> Snapshot:
        """Look at the database at once."""
        ...


class Rotator:
    """Rotates and removes keys when they are due, beside any number of others that do the same.

    Args:
        keeper: What it looks at, and refreshes after a change of its own.
        every: The period in seconds; None leaves rotations to people, not removals.
        algorithm: What new keys are for.
        clock: Must be the one that the keeper reads.
        pace: Seconds between two looks.
    """

    def __init__(
        self,
        keeper: Keeper,
        *,
        every: float | None,
        algorithm: Algorithm,
        clock: Clock,
        pace: float = LOOK_EVERY,
    ) -> None:
        self._keeper = keeper
        self._algorithm = algorithm
        self._clock = clock
        self._pace = pace
        # Not a secret: replicas that start together are not to rotate together.
        spread = random.random()  # noqa: S311
        self._schedule = Schedule(every=every, spread=spread)
        self._watch: Watch | None = None
        self._held = self._behind = False
        self._complaint = ""

    async def run(self) -> None:
        """Look for ever. A failure is logged once, until it has passed or is another one."""
        while True:
            done = await self.look()
            await anyio.sleep(self._pace if done else PAUSE)

    async def look(self) -> bool:
        """Do what is due, if anything; whether it was done."""
        snapshot, now = self._keeper.current, self._clock()
        if snapshot is None:
            return True
        ring = snapshot.ring
        known = self._watch
        self._watch = known.look(ring, now) if known else Watch.begin(ring, now)
        self._tell(self._watch, snapshot)
        step = self._schedule.step(ring, self._watch)
        if step is None or not snapshot.fresh(now):
            return True
        log = structlog.get_logger()
        try:
            await anyio.to_thread.run_sync(partial(self._take, step, now))
        except (KeysConflict, RotationRefused):
            # It was due by the snapshot, so another process has rotated since.
            log.info("keys_changed_by_another")
        except (IssuerError, KeysError) as error:
            if str(error) != self._complaint:
                log.warning("keys_not_changed", step=type(step).__name__.lower(), reason=str(error))
            self._complaint = str(error)
            return False
        self._complaint = ""
        return True

    def _take(self, step: Step, now: Instant) -> None:
        keys, log = self._keeper.keys, structlog.get_logger()
        match step:
            case Rotate():
                ring = keys.rotate(self._algorithm, now=now.wall, emergency=False)
                log.info(
                    "keys_rotated",
                    active=ring.active.kid,
                    active_alg=ring.active.alg,
                    pending=ring.pending.kid,
                    pending_alg=ring.pending.alg,
                )
            case Remove(kids):
                if removed := keys.remove_overdue(now=now.wall, among=kids):
                    log.info("keys_removed", kids=sorted(removed))
        with contextlib.suppress(IssuerError):  # which the keeper logs itself
            self._keeper.refresh()

    def _tell(self, watch: Watch, snapshot: Snapshot) -> None:
        log = structlog.get_logger()
        if watch.jump:
            log.warning("clock_jumped", seconds=round(watch.jump, 3), keys_held_for=SETTLE)
        if self._held and not watch.held:
            log.info("clock_settled")
        self._held = watch.held
        behind = watch.behind(snapshot.ring)
        if behind and not self._behind:
            # What it mints is dated too early: it expires too soon, or is refused as too old.
            log.warning("clock_behind_keys", seconds=round(behind, 3))
        elif self._behind and not behind:
            log.info("clock_with_keys_again")
        self._behind = bool(behind)
