from __future__ import annotations

import json
import stat
from contextlib import closing, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from issuer.fixtures_minting import BILLING, ISSUER, NOW, basic, part, talking
from issuer.fixtures_registry import WHOLE, apply_text, stored, write_keys
from issuer.fixtures_revoking import held, issued
from sqlalchemy import LargeBinary, func, select, text

from ephemera_client.instant import Instant
from ephemera_issuer import backup as backups
from ephemera_issuer.database import Database, connect, found, migration, open_database
from ephemera_issuer.errors import (
    BackupInvalid,
    BackupNotWritten,
    DatabaseMissing,
    DatabaseTooNew,
    DatabaseUnusable,
    RestoreRefused,
)
from ephemera_issuer.registry.tables import metadata, revocations
from ephemera_issuer.restoration import Restored, restore
from ephemera_issuer.revocation.store import cut_off, revoke_token
from ephemera_issuer.rotation import SigningKeys, require_ring
from ephemera_issuer.snapshot import SnapshotKeeper
from ephemera_keys import SealingKey, SealingKeys, State

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from issuer.fixtures_postgresql import PostgresServer

    from ephemera_issuer.backup import Backup

LATER = NOW.wall + 60
REGISTRY = WHOLE.replace('max_lifetime = "5m"', 'introspected_by = ["orders"]')
ADMIN = '[[admins]]\nid = "ops"\njwks_file = "ops.jwks.json"\n'


@pytest.fixture(params=["sqlite", "postgresql"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Another empty database of either kind."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'target.db'}"
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    lent = server.lend()
    yield lent
    server.give_back(lent)


@contextmanager
def keeping(url: str, *, now: Instant = NOW) -> Iterator[SnapshotKeeper]:
    """An issuer on this database, with a sealing key of its own."""
    sealing_keys = SealingKeys([SealingKey.generate()])
    with closing(open_database(url, create=True)) as database:
        keeper = SnapshotKeeper(database, sealing_keys, ISSUER, lambda: now)
        keeper.keys.make_first("ES256", now=now.wall)
        keeper.refresh()
        yield keeper


def at(wall: float) -> Instant:
    return Instant(wall, NOW.monotonic + wall - NOW.wall)


def filled(url: str, tmp_path: Path) -> Backup:
    """A backup of an issuer that has minted, rotated and revoked."""
    with keeping(url) as keeper:
        write_keys(tmp_path / "ops.jwks.json", "ops-1")
        apply_text(keeper.database, tmp_path, REGISTRY + ADMIN)
        keeper.keys.rotate("ES256", now=NOW.wall + 1, emergency=True)
        keeper.revoke(issued("token-1"))
        with keeper.database.write() as connection:
            cut_off(connection, client="shipping", audience=None, now=NOW.wall)
        return taken(keeper.database)


def taken(database: Database, *, now: float = NOW.wall) -> Backup:
    return backups.take(database, now=now)


def put(
    url: str,
    backup: Backup,
    *,
    sealing_keys: SealingKeys | None = None,
    replace: bool = False,
    issuer: str | None = None,
) -> Restored:
    with closing(connect(url)) as database:
        return restore(
            database,
            backup,
            sealing_keys=lambda: sealing_keys or SealingKeys([SealingKey.generate()]),
            issuer=issuer,
            algorithm="ES256",
            replace=replace,
            now=lambda: LATER,
        )


def ring_of(database: Database) -> Any:
    with database.read() as connection:
        return require_ring(connection).ring


def test_the_only_bytes_in_the_database_are_private_keys_which_stay_there() -> None:
    kept = {
        (table.name, column.name)
        for table in metadata.sorted_tables
        for column in table.columns
        if isinstance(column.type, LargeBinary)
    }
    assert kept == backups.LEFT_OUT


def test_a_backup_is_read_back_from_a_file_of_its_owners(url: str, tmp_path: Path) -> None:
    backup = filled(url, tmp_path)
    file = tmp_path / "backup.jsonl"
    file.write_text("an older one")
    file.chmod(0o644)
    backups.write(backup, file)
    assert backups.read(file) == backup
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [path for path in tmp_path.iterdir() if path.name.startswith(".backup")] == []
    assert backup.issuer == ISSUER
    assert len(backup.rows["signing_keys"]) == 3
    for word in ("sealed", "ephemera-sealing-key"):
        assert word not in file.read_text()


def test_a_backup_is_of_one_moment_and_changes_nothing(url: str, tmp_path: Path) -> None:
    first = filled(url, tmp_path)
    with closing(open_database(url, create=False)) as database:
        assert taken(database) == first


def test_the_registry_and_the_revocations_are_restored_across_databases(
    url: str, target: str, tmp_path: Path
) -> None:
    backup = filled(url, tmp_path)
    put(target, backup)
    with (
        closing(open_database(url, create=False)) as before,
        closing(open_database(target, create=False)) as after,
    ):
        assert stored(after) == stored(before)
        was, then = held(before), held(after)
        assert was.tokens.items() <= then.tokens.items()
        assert was.cut_offs.items() <= then.cut_offs.items()
        assert then.sequence > was.sequence
        apply_text(after, tmp_path, REGISTRY.replace('"invoices:read"]', '"invoices:write"]'))


def test_a_restore_is_a_new_epoch_with_new_keys_and_everything_before_cut_off(
    url: str, target: str, tmp_path: Path
) -> None:
    backup = filled(url, tmp_path)
    restored = put(target, backup)
    old = {row["kid"] for row in backup.rows["signing_keys"]}
    with (
        closing(open_database(target, create=False)) as database,
        closing(open_database(url, create=False)) as origin,
    ):
        ring, after = ring_of(database), held(database, now=LATER)
        assert set(restored.revoked) == old == after.kids
        assert {record.kid for record in ring.records if record.state == State.REVOKED} == old
        assert not old & {ring.active.kid, ring.pending.kid}
        assert ring.retired == ()
        assert after.epoch == restored.epoch != held(origin).epoch
        assert after.cut_off("orders", BILLING) == restored.cut_off == int(LATER) + 3
        assert after.revokes(issued("token-2", issued_at=restored.cut_off))


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_after_a_restore_old_tokens_are_refused_and_new_ones_minted(
    url: str, target: str, tmp_path: Path
) -> None:
    with keeping(url) as keeper:
        apply_text(keeper.database, tmp_path, REGISTRY)
        keeper.refresh()
        secret = (tmp_path / "secrets" / "orders.secret").read_text()
        async with talking(keeper) as http:
            authorization = {"Authorization": basic("orders", secret)}
            form = {"grant_type": "client_credentials", "resource": BILLING, "lifetime": "300"}
            answer = await http.post("/oauth2/token", data=form, headers=authorization)
            old = answer.json()["access_token"]
            shown = await http.post(
                "/oauth2/introspect", data={"token": old}, headers=authorization
            )
            assert shown.json()["active"]
        # The sealing key of the time is lost with the database.
        backups.write(taken(keeper.database), tmp_path / "backup")
    sealing_keys = SealingKeys([SealingKey.generate()])
    with closing(open_database(target, create=True)) as database:
        restored = restore(
            database,
            backups.read(tmp_path / "backup"),
            sealing_keys=lambda: sealing_keys,
            issuer=ISSUER,
            algorithm="ES256",
            replace=False,
            now=lambda: NOW.wall + 10,
        )
        for seconds, status in ((restored.cut_off - NOW.wall, 503), (15, 200)):
            now = at(NOW.wall + seconds)
            later = SnapshotKeeper(database, sealing_keys, ISSUER, partial(at, now.wall))
            later.refresh()
            async with talking(later, now=now) as http:
                answer = await http.post("/oauth2/token", data=form, headers=authorization)
                assert answer.status_code == status
                shown = await http.post(
                    "/oauth2/introspect", data={"token": old}, headers=authorization
                )
                assert shown.json() == {"active": False}
                published = (await http.get("/.well-known/jwks.json")).json()["keys"]
                assert part(old, 0)["kid"] not in {key["kid"] for key in published}
        new = answer.json()["access_token"]
        async with talking(later, now=now) as http:
            shown = await http.post(
                "/oauth2/introspect", data={"token": new}, headers=authorization
            )
            assert shown.json()["active"]


def test_what_is_not_empty_is_replaced_only_where_that_is_meant(url: str, tmp_path: Path) -> None:
    backup = filled(url, tmp_path)
    with closing(open_database(url, create=False)) as database:
        put(url, backup, replace=True)
        before, kids = taken(database), {key.kid for key in ring_of(database).records}
        with pytest.raises(RestoreRefused, match=r"is not empty.*--replace"):
            put(url, backup)
        assert taken(database) == before
        restored = put(url, backup, replace=True)
        # Those that were made after the backup are revoked as well.
        assert held(database).kids == kids == set(restored.revoked)


def test_an_issuer_that_serves_meanwhile_follows(url: str, tmp_path: Path) -> None:
    sealing_keys = SealingKeys([SealingKey.generate()])
    backup = filled(url, tmp_path)
    put(url, backup, sealing_keys=sealing_keys, replace=True)
    with closing(open_database(url, create=False)) as database:
        keeper = SnapshotKeeper(database, sealing_keys, ISSUER, lambda: at(LATER))
        before = keeper.refresh()
        apply_text(database, tmp_path, ADMIN, prune=True)
        assert keeper.refresh().clients == {}
        put(url, backup, sealing_keys=sealing_keys, replace=True)
        after = keeper.refresh()
        assert after.clients == before.clients
        assert after.revocations.epoch != before.revocations.epoch
        assert after.signer.kid == after.ring.active.kid != before.signer.kid


def test_a_registry_that_never_had_keys_is_restored_without_any(url: str, tmp_path: Path) -> None:
    with closing(open_database(url, create=True)) as database:
        apply_text(database, tmp_path, REGISTRY)
        backup = taken(database)
    assert put(url, backup, issuer=ISSUER, replace=True).revoked == ()
    with keeping(url, now=at(LATER)) as keeper:
        assert keeper.current is not None
        assert set(keeper.current.clients) == {"orders"}


def test_a_backup_of_another_issuer_is_refused(url: str, tmp_path: Path) -> None:
    backup = filled(url, tmp_path)
    with pytest.raises(RestoreRefused, match=r"a backup of https://tokens\.internal"):
        put(url, backup, replace=True, issuer="https://other.internal")


def test_a_backup_of_an_older_version_is_taken_as_it_is_and_restored_as_this_one(
    postgres: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upgrade = migration.upgrade

    def older(connection: Any, *, location: str, to: str = "0002") -> None:
        upgrade(connection, location=location, to=to)

    for url in (postgres.new(), f"sqlite:///{tmp_path / 'older.db'}"):
        with monkeypatch.context() as patch:
            patch.setattr(migration, "upgrade", older)
            with closing(open_database(url, create=True)) as database:
                with database.write() as connection:
                    connection.execute(
                        text(
                            "INSERT INTO audiences "
                            "VALUES (:id, 'read', 60, true, false, false, 1, '')"
                        ),
                        {"id": BILLING},
                    )
                    connection.exec_driver_sql("UPDATE state SET registry_version = 1")
                backup = taken(database)
                assert found(database) == backup.revision == "0002"
        assert "revocations" not in backup.rows
        put(url, backup, replace=True)
        with closing(open_database(url, create=False)) as database:
            assert stored(database).audiences[BILLING].scopes == {"read"}
            assert len(held(database, now=LATER).cut_offs) == 1


def test_a_restore_that_fails_leaves_what_was_there(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backup = filled(url, tmp_path)
    with closing(open_database(url, create=False)) as database:

        def fail(*_: object, **__: object) -> None:
            raise DatabaseUnusable("interrupted")

        monkeypatch.setattr(SigningKeys, "replace", fail)
        with pytest.raises(DatabaseUnusable, match="interrupted"):
            put(url, backup, replace=True)
        assert taken(database) == backup


def test_a_damaged_backup_is_refused(url: str, tmp_path: Path) -> None:
    backup = filled(url, tmp_path)
    file = tmp_path / "backup"
    backups.write(backup, file)
    whole = file.read_bytes()
    lines = whole.splitlines(keepends=True)
    for damaged in (
        b"".join(lines[:-1]),
        b"".join(lines[:3] + lines[4:]),
        whole[:-20],
        whole.replace(b"invoices:read", b"invoices:rite"),
        lines[0],
    ):
        file.write_bytes(damaged)
        with pytest.raises(BackupInvalid, match="is damaged, or was cut short"):
            backups.read(file)
    for other in (b"", b"\x00\xff", b"[]\n", b"{}\n{}\n", b"text\n"):
        file.write_bytes(other)
        with pytest.raises(BackupInvalid, match="is no backup"):
            backups.read(file)
    with pytest.raises(BackupInvalid, match="No such file"):
        backups.read(tmp_path / "absent")


@pytest.mark.parametrize(
    ("part_of_it", "says"),
    [
        ({"revision": "9999"}, r"revision 9999, this version knows up to \d{4}"),
        ({"rows": {}}, "tables in the backup"),
        ({"rows": {"state": [{"id": 1}]}}, "rows of state"),
        ({"rows": {"state": [{}], "others": [{}]}}, "tables in the backup"),
    ],
)
def test_a_backup_that_does_not_fit_is_refused_and_nothing_is_made(
    database: Database, tmp_path: Path, part_of_it: dict[str, Any], says: str
) -> None:
    backup = taken(database)._replace(**part_of_it)
    backups.write(backup, tmp_path / "backup")
    before = taken(database)
    with pytest.raises(BackupInvalid, match=says):
        restore(
            database,
            backups.read(tmp_path / "backup"),
            sealing_keys=lambda: SealingKeys([SealingKey.generate()]),
            issuer=None,
            algorithm="ES256",
            replace=False,
            now=lambda: LATER,
        )
    assert taken(database) == before


def test_a_backup_of_another_format_is_refused(database: Database, tmp_path: Path) -> None:
    file = tmp_path / "backup"
    backups.write(taken(database), file)
    file.write_bytes(file.read_bytes().replace(b'"ephemera_backup": 1', b'"ephemera_backup": 2'))
    with pytest.raises(BackupInvalid, match="a newer version"):
        backups.read(file)


def test_nothing_is_backed_up_of_a_database_that_is_not_there(
    postgres: PostgresServer, tmp_path: Path
) -> None:
    for url in (f"sqlite:///{tmp_path / 'absent.db'}", postgres.new()):
        with closing(connect(url)) as database, pytest.raises(DatabaseMissing):
            taken(database)


def test_a_database_of_a_newer_version_is_neither_backed_up_nor_replaced(
    database: Database,
) -> None:
    backup = taken(database)
    with database.write() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(DatabaseTooNew):
        taken(database)
    with pytest.raises(DatabaseTooNew):
        restore(
            database,
            backup,
            sealing_keys=lambda: SealingKeys([SealingKey.generate()]),
            issuer=None,
            algorithm="ES256",
            replace=True,
            now=lambda: LATER,
        )
    with database.write() as connection:
        ours = {"ours": backup.revision}
        connection.execute(text("UPDATE alembic_version SET version_num = :ours"), ours)


@pytest.mark.parametrize("name", ["absent/backup", "x" * 300])
def test_a_file_that_cannot_be_written_is_told(
    database: Database, tmp_path: Path, name: str
) -> None:
    with pytest.raises(BackupNotWritten, match=r"No such file|File name too long"):
        backups.write(taken(database), tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_many_revocations_are_restored_with_their_numbers(
    database: Database, tmp_path: Path
) -> None:
    with database.write() as connection:
        for number in range(50):
            revoke_token(connection, issued(f"token-{number}"), now=NOW.wall)
    backups.write(taken(database), tmp_path / "backup")
    read = backups.read(tmp_path / "backup")
    numbers = [row["sequence"] for row in read.rows["revocations"]]
    assert numbers == list(range(1, 51))
    put(f"sqlite:///{tmp_path / 'new.db'}", read)
    with closing(open_database(f"sqlite:///{tmp_path / 'new.db'}", create=False)) as opened:
        with opened.read() as connection:
            count = connection.scalar(select(func.count()).select_from(revocations))
        # The cut-off has taken no place of theirs: it is of no client.
        assert count == 51
    assert json.loads((tmp_path / "backup").read_text().splitlines()[0])["issuer"] is None
