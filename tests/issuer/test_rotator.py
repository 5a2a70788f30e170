from __future__ import annotations

from contextlib import ExitStack, closing
from typing import TYPE_CHECKING

import anyio
import pytest
from issuer.fixtures_registry import new_database
from structlog.testing import capture_logs

from ephemera_client.instant import Instant
from ephemera_issuer.rotation import SigningKeys, StoredRing
from ephemera_issuer.rotator import Rotator
from ephemera_issuer.schedule import SETTLE
from ephemera_issuer.snapshot import SnapshotKeeper
from ephemera_keys import SealingKey, SealingKeys
from ephemera_keys.ring import MINIMUM_PUBLICATION, RETENTION

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ephemera_keys import KeyRing

pytestmark = pytest.mark.anyio
ISSUER = "https://tokens.internal"
HOUR = 3600.0
ROUNDS = 40


class Hands:
    """A clock that a test moves; `set` moves the wall clock alone."""

    def __init__(self) -> None:
        self.now = Instant(1_800_000_000.0, 100.0)

    def __call__(self) -> Instant:
        return self.now

    def move(self, seconds: float) -> None:
        self.now = Instant(self.now.wall + seconds, self.now.monotonic + seconds)

    def set(self, ahead: float) -> None:
        self.now = Instant(self.now.wall + ahead, self.now.monotonic)


class Replica:
    """A keeper and a rotator, as a serving process has them."""

    def __init__(self, directory: Path, sealing_keys: SealingKeys, clock: Hands) -> None:
        self.keeper = SnapshotKeeper(new_database(directory), sealing_keys, ISSUER, clock)
        self.keeper.keys.make_first("ES256", now=clock().wall)
        self.keeper.refresh()
        self.rotator = Rotator(self.keeper, every=HOUR, algorithm="ES256", clock=clock)

    async def look(self) -> bool:
        self.keeper.refresh()
        return await self.rotator.look()

    @property
    def ring(self) -> KeyRing:
        return self.keeper.refresh().ring


@pytest.fixture
def clock() -> Hands:
    return Hands()


@pytest.fixture
def sealing_keys() -> SealingKeys:
    return SealingKeys([SealingKey.generate()])


@pytest.fixture
def replicas(
    tmp_path: Path, sealing_keys: SealingKeys, clock: Hands
) -> Iterator[tuple[Replica, Replica]]:
    with ExitStack() as stack:
        made = [Replica(tmp_path, sealing_keys, clock) for _ in range(2)]
        for replica in made:
            stack.enter_context(closing(replica.keeper))
        yield made[0], made[1]


async def test_a_process_rotates_when_it_is_due_and_signs_with_the_next_key_at_once(
    replicas: tuple[Replica, Replica], clock: Hands
) -> None:
    one, other = replicas
    await one.look()
    before = one.ring
    clock.move(HOUR + 60)
    with capture_logs() as logs:
        assert await one.look()
    assert one.keeper.current is not None
    assert one.keeper.current.signer.kid == before.pending.kid
    (logged,) = logs
    assert (logged["event"], logged["active"]) == ("keys_rotated", before.pending.kid)
    with capture_logs() as logs:
        await other.look()
    assert logs == []
    assert other.ring == one.ring


async def test_retired_keys_are_removed_by_one_of_them(
    replicas: tuple[Replica, Replica], clock: Hands
) -> None:
    one, other = replicas
    await one.look()
    clock.move(HOUR + 60)
    await one.look()
    await one.look()
    clock.move(RETENTION)
    with capture_logs() as logs:
        for replica in replicas:
            await replica.look()
    assert [entry["event"] for entry in logs] == ["keys_removed"]
    assert other.ring.retired == ()


async def test_of_two_that_rotate_at_the_same_moment_one_wins_each_time(
    replicas: tuple[Replica, Replica], clock: Hands
) -> None:
    for replica in replicas:
        await replica.look()
    known = replicas[0].keeper.refresh()
    for _ in range(ROUNDS):
        clock.move(HOUR + 60)
        for replica in replicas:
            replica.keeper.refresh()
        with capture_logs() as logs:
            async with anyio.create_task_group() as tasks:
                for replica in replicas:
                    tasks.start_soon(replica.rotator.look)
        # One may have lost the race, or have seen in time that it was run.
        assert [entry["event"] for entry in logs].count("keys_rotated") == 1, logs
        now = replicas[0].keeper.refresh()
        assert now.keys_version == known.keys_version + 1
        assert now.ring.active.kid == known.ring.pending.kid
        assert replicas[1].ring == now.ring
        for passing in (0, RETENTION):
            clock.move(passing)
            for replica in replicas:
                await replica.look()
        known = replicas[0].keeper.refresh()


class Overtaken(SigningKeys):
    """Another process is quicker, each time."""

    def _read(self) -> StoredRing:
        read = super()._read()
        other = SigningKeys(
            database=self.database, sealing_keys=self.sealing_keys, issuer=self.issuer
        )
        other.rotate("ES256", now=read.ring.earliest_rotation(), emergency=False)
        return read


async def test_who_loses_looks_again(replicas: tuple[Replica, Replica], clock: Hands) -> None:
    one, _ = replicas
    await one.look()
    keys = one.keeper.keys
    one.keeper.keys = Overtaken(
        database=keys.database, sealing_keys=keys.sealing_keys, issuer=keys.issuer
    )
    clock.move(HOUR + 60)
    with capture_logs() as logs:
        assert await one.look()
    assert [entry["event"] for entry in logs] == ["keys_changed_by_another"]
    one.keeper.keys = keys
    with capture_logs() as logs:
        assert await one.look()
    assert logs == []


async def test_a_jump_of_the_clock_is_logged_and_nothing_is_done_until_it_has_settled(
    replicas: tuple[Replica, Replica], clock: Hands
) -> None:
    one, _ = replicas
    await one.look()
    clock.move(MINIMUM_PUBLICATION)
    await one.look()
    before = one.ring
    clock.set(30 * 86_400)
    with capture_logs() as logs:
        await one.look()
        await one.look()
    assert [(entry["event"], entry["seconds"]) for entry in logs] == [("clock_jumped", 2_592_000)]
    clock.move(SETTLE - 1)
    await one.look()
    assert one.ring == before
    clock.move(1)
    with capture_logs() as logs:
        await one.look()
    assert [entry["event"] for entry in logs] == ["clock_settled", "keys_rotated"]


async def test_a_clock_behind_the_keys_is_told_once(
    replicas: tuple[Replica, Replica], clock: Hands
) -> None:
    one, _ = replicas
    clock.move(-600)
    with capture_logs() as logs:
        await one.look()
        await one.look()
        clock.move(600)
        await one.look()
    assert [entry["event"] for entry in logs] == ["clock_behind_keys", "clock_with_keys_again"]
    assert logs[0]["seconds"] == 600


async def test_a_rotation_that_fails_is_told_once_and_tried_again(
    replicas: tuple[Replica, Replica], clock: Hands
) -> None:
    one, _ = replicas
    await one.look()
    clock.move(HOUR + 60)
    keys = one.keeper.keys
    one.keeper.keys = SigningKeys(
        database=keys.database,
        sealing_keys=SealingKeys([SealingKey.generate()]),
        issuer=keys.issuer,
    )
    with capture_logs() as logs:
        assert not await one.look()
        assert not await one.look()
    assert [entry["event"] for entry in logs] == ["keys_not_changed"]
    one.keeper.keys = keys
    before = one.ring
    assert await one.look()
    assert one.ring.active.kid == before.pending.kid


async def test_on_a_snapshot_that_is_too_old_nothing_is_done(
    replicas: tuple[Replica, Replica], clock: Hands
) -> None:
    one, other = replicas
    await one.look()
    before = other.ring
    clock.move(HOUR + 60)
    assert await one.rotator.look()
    assert other.ring == before


async def test_before_the_first_snapshot_nothing_is_done(
    tmp_path: Path, sealing_keys: SealingKeys, clock: Hands
) -> None:
    with closing(SnapshotKeeper(new_database(tmp_path), sealing_keys, ISSUER, clock)) as keeper:
        rotator = Rotator(keeper, every=HOUR, algorithm="ES256", clock=clock)
        assert await rotator.look()
