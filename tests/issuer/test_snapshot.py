from __future__ import annotations

import threading
from contextlib import closing
from typing import TYPE_CHECKING

import anyio
import anyio.from_thread
import pytest
from issuer.fixtures_registry import BILLING, WHOLE, apply_text, number_of, numbered
from issuer.fixtures_revoking import issued
from sqlalchemy import text
from structlog.testing import capture_logs

from ephemera_client.instant import Instant
from ephemera_issuer import snapshot as module
from ephemera_issuer.database import Database, open_database
from ephemera_issuer.errors import (
    DatabaseTooNew,
    DatabaseUnusable,
    SealingKeyProblem,
    SettingsInvalid,
)
from ephemera_issuer.registry.clients import set_disabled
from ephemera_issuer.registry.entries import Registry
from ephemera_issuer.settings import Settings
from ephemera_issuer.snapshot import Snapshot, SnapshotKeeper, open_keeper
from ephemera_keys import SealingKeys

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ephemera_keys import KeyRing

ISSUER = "https://tokens.internal"
NOW = 1_800_000_000.0


class Hands:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = Instant(NOW, 100.0)

    def __call__(self) -> Instant:
        return self.now

    def move(self, seconds: float) -> None:
        self.now = Instant(self.now.wall + seconds, self.now.monotonic + seconds)


@pytest.fixture
def clock() -> Hands:
    return Hands()


@pytest.fixture
def settings(url: str, tmp_path: Path) -> Settings:
    file = tmp_path / "ephemera.sealing-key"
    if url.startswith("postgresql://"):
        SealingKeys.create(file)
    return Settings(database_url=url, sealing_key_file=file)


@pytest.fixture
def keeper(settings: Settings, clock: Hands) -> Iterator[SnapshotKeeper]:
    with closing(open_keeper(settings, issuer=ISSUER, clock=clock)) as opened:
        yield opened


def held(snapshot: Snapshot) -> Registry:
    return Registry(
        audiences=snapshot.audiences,
        clients=snapshot.clients,
        grants=snapshot.grants,
        version=snapshot.registry_version,
    )


def current(keeper: SnapshotKeeper) -> Snapshot:
    assert keeper.current is not None
    return keeper.current


def test_a_first_start_has_keys_and_an_empty_registry(keeper: SnapshotKeeper) -> None:
    snapshot = current(keeper)
    assert (snapshot.clients, snapshot.audiences, snapshot.grants) == ({}, {}, {})
    assert snapshot.signer.kid == snapshot.ring.active.kid
    assert snapshot.ring.pending.kid.encode() in snapshot.jwks


@pytest.mark.usefixtures("keeper")
@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_a_first_start_makes_a_database_and_a_sealing_key(tmp_path: Path) -> None:
    assert sorted(file.suffix for file in tmp_path.iterdir() if "db-" not in file.name) == [
        ".db",
        ".sealing-key",
    ]


def test_a_restart_has_the_same_keys(keeper: SnapshotKeeper, settings: Settings) -> None:
    with closing(open_keeper(settings, issuer=ISSUER, clock=Hands())) as again:
        assert current(again).jwks == current(keeper).jwks
        assert current(again).jwks_etag == current(keeper).jwks_etag


def test_in_memory_everything_is_new(clock: Hands) -> None:
    with closing(
        open_keeper(Settings(database_url="sqlite://"), issuer=ISSUER, clock=clock)
    ) as keeper:
        assert current(keeper).fresh(clock())


def test_a_refresh_without_news_only_confirms(keeper: SnapshotKeeper, clock: Hands) -> None:
    before = current(keeper)
    clock.move(5)
    after = keeper.refresh()
    assert after.confirmed_at == clock()
    assert before.confirmed_at == Instant(NOW, 100.0)
    assert (after.clients, after.ring, after.signer) == (
        before.clients,
        before.ring,
        before.signer,
    )


def test_a_change_of_the_registry_is_followed_and_keys_are_not_opened_again(
    keeper: SnapshotKeeper, tmp_path: Path
) -> None:
    before = current(keeper)
    apply_text(keeper.database, tmp_path, WHOLE)
    set_disabled(keeper.database, "orders", disabled=True)
    after = keeper.refresh()
    assert before.clients == {}
    assert after.clients["orders"].disabled
    assert ("orders", BILLING) in after.grants
    assert after.registry_version == 2
    assert after.signer is before.signer


def test_a_rotation_is_followed(keeper: SnapshotKeeper, clock: Hands) -> None:
    before = current(keeper)
    clock.move(900)
    keeper.keys.rotate("ES256", now=clock().wall, emergency=False)
    after = keeper.refresh()
    assert after.signer.kid == before.ring.pending.kid
    assert after.jwks != before.jwks
    assert after.jwks_etag != before.jwks_etag
    assert after.clients is before.clients


def test_a_revocation_is_in_force_here_at_once_and_elsewhere_with_the_next_look(
    keeper: SnapshotKeeper, settings: Settings, clock: Hands
) -> None:
    token = issued("token-1")
    with closing(open_keeper(settings, issuer=ISSUER, clock=clock)) as replica:
        keeper.revoke(token)
        assert current(keeper).revocations.revokes(token)
        assert not current(replica).revocations.revokes(token)
        assert replica.refresh().revocations.revokes(token)
    after = keeper.refresh()
    assert after.revocations is keeper.refresh().revocations


def test_a_revocation_and_a_change_of_the_registry_are_followed_together(
    keeper: SnapshotKeeper, tmp_path: Path
) -> None:
    apply_text(keeper.database, tmp_path, WHOLE)
    keeper.revoke(issued("token-1"))
    assert current(keeper).revocations.sequence == 1
    assert ("orders", BILLING) in current(keeper).grants


def test_the_time_of_a_revocation_is_read_when_its_turn_to_write_has_come(
    keeper: SnapshotKeeper, clock: Hands
) -> None:
    # Ten seconds of waiting would otherwise make a token that has just been forgotten an entry.
    token = issued("token-1")
    clock.move(token.expires_at + 55 - NOW)
    with keeper.database.write():
        waiting = threading.Thread(target=keeper.revoke, args=[token])
        waiting.start()
        clock.move(10)
    waiting.join()
    assert current(keeper).revocations.sequence == 0


def test_a_retired_key_stays_in_the_document_until_it_is_removed_whatever_the_clock_says(
    keeper: SnapshotKeeper, clock: Hands
) -> None:
    first = current(keeper).ring.active.kid.encode()
    clock.move(900)
    keeper.keys.rotate("ES256", now=clock().wall, emergency=False)
    clock.move(3600)
    snapshot = keeper.refresh()
    assert first in snapshot.jwks
    keeper.keys.remove_overdue(now=clock().wall, among=[first.decode()])
    assert first not in keeper.refresh().jwks


def test_a_snapshot_is_fresh_for_thirty_seconds_by_either_clock(
    keeper: SnapshotKeeper, clock: Hands
) -> None:
    snapshot = current(keeper)
    wall, monotonic = clock()
    assert snapshot.fresh(Instant(wall + 30, monotonic + 30))
    assert not snapshot.fresh(Instant(wall + 31, monotonic))
    assert not snapshot.fresh(Instant(wall, monotonic + 31))
    assert not snapshot.fresh(Instant(wall - 3600, monotonic + 31))


def test_a_database_that_fails_leaves_the_snapshot_to_age(
    keeper: SnapshotKeeper, clock: Hands
) -> None:
    before = current(keeper)
    with keeper.database.write() as connection:
        connection.exec_driver_sql("UPDATE state SET keys_version = 9")
        connection.exec_driver_sql("DELETE FROM signing_keys WHERE state = 'pending'")
    clock.move(31)
    with pytest.raises(DatabaseUnusable, match="damaged"):
        keeper.refresh()
    assert keeper.current is before
    assert not before.fresh(clock())


@pytest.mark.usefixtures("keeper")
def test_another_issuer_does_not_start(settings: Settings) -> None:
    with pytest.raises(SettingsInvalid, match="EPHEMERA_ISSUER"):
        open_keeper(settings, issuer="https://other.internal", clock=Hands())


@pytest.mark.usefixtures("keeper")
def test_another_sealing_key_does_not_start_and_is_told_by_fingerprint(
    settings: Settings, tmp_path: Path
) -> None:
    file = tmp_path / "ephemera.sealing-key"
    (needed,) = SealingKeys.load(file).fingerprints
    file.unlink()
    (held,) = SealingKeys.create(file).fingerprints
    with pytest.raises(SealingKeyProblem, match=f"{needed}.*{held}"):
        open_keeper(settings, issuer=ISSUER, clock=Hands())


def test_a_newer_database_does_not_start(keeper: SnapshotKeeper, settings: Settings) -> None:
    with keeper.database.write() as connection:
        ours = connection.scalar(text("SELECT version_num FROM alembic_version"))
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(DatabaseTooNew):
        open_keeper(settings, issuer=ISSUER, clock=Hands())
    with keeper.database.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = :ours"), {"ours": ours})


def test_snapshots_are_whole_while_registry_and_keys_change(
    keeper: SnapshotKeeper, settings: Settings, tmp_path: Path, clock: Hands
) -> None:
    rounds = 20
    apply_text(keeper.database, tmp_path, numbered(1), prune=True)
    rings: dict[int, KeyRing] = {1: keeper.refresh().ring}

    def write() -> None:
        with closing(open_database(settings.database_url, create=False)) as database:
            for number in range(2, rounds + 1):
                apply_text(database, tmp_path, numbered(number), prune=True)

    def rotate() -> None:
        for version in range(2, rounds + 1):
            rings[version] = keeper.keys.rotate("ES256", now=clock().wall, emergency=True)

    threads = [threading.Thread(target=write), threading.Thread(target=rotate)]
    seen: list[Snapshot] = []
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        seen.append(keeper.refresh())
    for thread in threads:
        thread.join()
    seen.append(keeper.refresh())
    for snapshot in seen:
        assert number_of(held(snapshot)) == snapshot.registry_version
        assert snapshot.ring == rings[snapshot.keys_version]
        assert snapshot.signer.kid == snapshot.ring.active.kid
    assert (seen[-1].registry_version, seen[-1].keys_version) == (rounds, rounds)


@pytest.mark.anyio
async def test_running_follows_changes_and_outlives_failures(
    keeper: SnapshotKeeper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "REFRESH_EVERY", 0.001)
    reading = Database.read
    failures = 3

    def read(self: Database) -> object:
        nonlocal failures
        if failures:
            failures -= 1
            raise DatabaseUnusable("the database is away")
        return reading(self)

    monkeypatch.setattr(Database, "read", read)
    apply_text(keeper.database, tmp_path, WHOLE)
    looking = keeper.refresh
    looks = 0
    done = anyio.Event()

    def look() -> Snapshot:
        nonlocal looks
        snapshot = looking()
        looks += 1
        if looks == 2:
            anyio.from_thread.run_sync(done.set)
        return snapshot

    monkeypatch.setattr(keeper, "refresh", look)
    with capture_logs() as logs, anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(keeper.run)
            await done.wait()
            tasks.cancel_scope.cancel()
    assert current(keeper).clients
    assert [entry["event"] for entry in logs] == [
        "snapshot_not_refreshed",
        "snapshot_refreshed_again",
    ]
