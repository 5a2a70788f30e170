from __future__ import annotations

import contextlib
import sqlite3
import stat
import threading
import traceback
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from alembic import command
from issuer.fixtures_tables import assert_current
from sqlalchemy import text

from ephemera_issuer.database import connect, open_database, sqlite
from ephemera_issuer.errors import DatabaseMissing, DatabaseTooNew, DatabaseUnusable
from ephemera_issuer.registry.tables import state

if TYPE_CHECKING:
    from pathlib import Path

    from issuer.fixtures_postgresql import PostgresServer

    from ephemera_issuer.database import Database


def url(directory: Path) -> str:
    return f"sqlite:///{directory / 'ephemera.db'}"


def make(directory: Path) -> Path:
    open_database(url(directory), create=True).close()
    return directory / "ephemera.db"


def test_a_new_database_is_its_owners_and_keeps_what_it_acknowledged(tmp_path: Path) -> None:
    file = make(tmp_path)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    with (
        closing(open_database(url(tmp_path), create=False)) as opened,
        opened.read() as connection,
    ):
        pragmas = {
            name: connection.scalar(text(f"PRAGMA {name}"))
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    assert pragmas == {
        "journal_mode": "wal",
        "synchronous": 2,  # FULL
        "foreign_keys": 1,
        "busy_timeout": 10_000,
    }


@pytest.mark.parametrize("where", ["file", "memory", "server"])
def test_the_migrations_make_the_tables_that_the_code_uses(
    tmp_path: Path, postgres: PostgresServer, where: str
) -> None:
    places = {"file": url(tmp_path), "memory": "sqlite://", "server": postgres.new()}
    opening = closing(open_database(places[where], create=True))
    with opening as opened, opened.read() as connection:
        assert_current(connection)


def test_a_missing_database_is_only_made_when_that_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(DatabaseMissing, match=r"ephemera\.db: no such database"):
        open_database(url(tmp_path), create=False)
    assert list(tmp_path.iterdir()) == []


def test_a_database_of_a_newer_version_is_refused_untouched(tmp_path: Path) -> None:
    file = make(tmp_path)
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.execute("ALTER TABLE clients ADD COLUMN later TEXT")
        connection.commit()
    before = file.read_bytes()
    for create in (True, False):
        with pytest.raises(DatabaseTooNew, match=r"revision 9999, this version knows up to \d{4}"):
            open_database(url(tmp_path), create=create)
        assert file.read_bytes() == before


@pytest.mark.parametrize(
    "content", [b"not a database, but long enough to look at" * 20, b"\x00", b"text"]
)
def test_what_is_no_database_is_refused_untouched(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "ephemera.db").write_bytes(content)
    with pytest.raises(DatabaseUnusable, match="not a database"):
        open_database(url(tmp_path), create=True)
    assert (tmp_path / "ephemera.db").read_bytes() == content


@pytest.mark.parametrize("table", ["orders", "alembic_version", "state"])
def test_a_database_of_another_program_is_refused_untouched(tmp_path: Path, table: str) -> None:
    file = tmp_path / "ephemera.db"
    with closing(sqlite3.connect(file)) as connection:
        connection.execute(f"CREATE TABLE {table} (id INTEGER)")
    before = file.read_bytes()
    with pytest.raises(DatabaseUnusable, match="holds tables of another program"):
        open_database(url(tmp_path), create=True)
    assert file.read_bytes() == before


def test_what_a_killed_first_start_left_half_written_is_undone(tmp_path: Path) -> None:
    made = tmp_path / "made"
    made.mkdir()
    with closing(sqlite3.connect(make(made), isolation_level=None)) as connection:
        # As it is before the switch to the write-ahead log.
        assert connection.execute("PRAGMA journal_mode = DELETE").fetchone() == ("delete",)
        connection.execute("PRAGMA cache_size = 1")
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("CREATE TABLE half (written BLOB)")
        connection.execute("INSERT INTO half VALUES (zeroblob(1000000))")
        for file in made.glob("ephemera.db*"):
            (tmp_path / file.name).write_bytes(file.read_bytes())
        connection.execute("ROLLBACK")
    assert (tmp_path / "ephemera.db-journal").stat().st_size > 0
    with (
        closing(open_database(url(tmp_path), create=False)) as opened,
        opened.read() as connection,
    ):
        assert_current(connection)
    assert not (tmp_path / "ephemera.db-journal").exists()


def test_a_place_where_nothing_can_be_made_is_told(tmp_path: Path) -> None:
    with pytest.raises(DatabaseUnusable, match="No such file or directory"):
        open_database(f"sqlite:///{tmp_path}/absent/ephemera.db", create=True)


def test_a_migration_that_fails_leaves_the_tables_as_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(config: object, revision: str) -> None:
        connection = config.attributes["connection"]  # type: ignore[attr-defined]
        connection.execute(text("CREATE TABLE half (id INTEGER)"))
        raise DatabaseUnusable(f"interrupted on the way to {revision}")

    with monkeypatch.context() as patch:
        patch.setattr(command, "upgrade", fail)
        with pytest.raises(DatabaseUnusable, match="interrupted"):
            open_database(url(tmp_path), create=True)
    with (
        closing(open_database(url(tmp_path), create=True)) as opened,
        opened.read() as connection,
    ):
        names = connection.scalars(text("SELECT name FROM sqlite_master")).all()
    assert "half" not in names
    assert "signing_keys" in names


def test_an_exception_undoes_its_transaction(database: Database) -> None:
    with contextlib.suppress(ZeroDivisionError), database.write() as connection:
        connection.execute(state.update().values(registry_version=7))
        raise ZeroDivisionError
    with database.read() as connection:
        assert connection.execute(state.select()).one().registry_version == 0


def test_a_database_without_its_state_is_told_as_unusable(database: Database) -> None:
    with database.write() as connection:
        before = connection.execute(state.select()).one()
        connection.execute(state.delete())
    with pytest.raises(DatabaseUnusable, match="No row was found"), database.read() as connection:
        connection.execute(state.select()).one()
    with database.write() as connection:
        connection.execute(state.insert().values(before._asdict()))


def test_a_failing_statement_is_an_error_of_ours_without_its_values(database: Database) -> None:
    with (
        pytest.raises(DatabaseUnusable, match=r"(?i)check constraint") as caught,
        database.write() as connection,
    ):
        connection.execute(state.insert().values(id=2, registry_version=987654321, keys_version=0))
    assert "987654321" not in "".join(traceback.format_exception(caught.value))


def test_transactions_take_turns_between_threads(database: Database) -> None:
    def count() -> None:
        for _ in range(50):
            with database.write() as connection:
                version = connection.execute(state.select()).one().registry_version
                connection.execute(state.update().values(registry_version=version + 1))

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with database.read() as connection:
        assert connection.execute(state.select()).one().registry_version == 200


def test_many_first_starts_at_once_make_one_database(tmp_path: Path) -> None:
    failures: list[BaseException] = []
    for attempt in range(6):
        directory = tmp_path / str(attempt)
        directory.mkdir()
        together = threading.Barrier(4)

        def start(directory: Path = directory, together: threading.Barrier = together) -> None:
            together.wait()
            try:
                open_database(url(directory), create=True).close()
            except BaseException as error:  # noqa: BLE001 - told in the main thread
                failures.append(error)

        threads = [threading.Thread(target=start) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert failures == []


def test_where_sqlite_says_no_more_than_that_it_failed_the_disk_is_named(tmp_path: Path) -> None:
    path = tmp_path / "ephemera.db"
    open_database(f"sqlite:///{path}", create=True).close()
    path.with_name("ephemera.db-wal").mkdir()  # where a file should be
    with pytest.raises(DatabaseUnusable, match=r"CANTOPEN.*: is the disk full") as caught:
        open_database(f"sqlite:///{path}", create=False)
    assert str(path) in str(caught.value)
    with (
        closing(connect(f"sqlite:///{path}")) as database,
        pytest.raises(DatabaseUnusable, match="is the disk full"),
        database.read(),
    ):
        pass


def test_only_for_another_process_is_a_new_file_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "ephemera.db"
    path.write_bytes(b"no database, and as long as a page of one" * 100)
    with pytest.raises(DatabaseUnusable, match="not a database"):
        sqlite.use_wal(path)
