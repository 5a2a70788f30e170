from __future__ import annotations

import sys
import threading
import traceback
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Any

import pytest
from alembic import command
from issuer.fixtures_postgresql import ESCAPED, PASSWORD, PostgresServer
from issuer.fixtures_registry import WHOLE, apply_text, stored
from issuer.fixtures_revoking import issued
from sqlalchemy import text

from ephemera_issuer import database_url
from ephemera_issuer.database import connect, open_database, postgresql, prepare
from ephemera_issuer.errors import (
    DatabaseMissing,
    DatabaseOutdated,
    DatabaseTooNew,
    DatabaseUnreachable,
    DatabaseUnusable,
    SealingKeyProblem,
    SettingsInvalid,
)
from ephemera_issuer.registry.tables import state
from ephemera_issuer.revocation.store import revoke_token
from ephemera_issuer.sealing_key import open_sealing_keys, sealing_keys_for_new
from ephemera_issuer.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ephemera_issuer.database import Database


@pytest.fixture
def url(postgres: PostgresServer) -> Iterator[str]:
    lent = postgres.lend()
    yield lent
    postgres.give_back(lent)


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    with closing(open_database(url, create=False)) as opened:
        yield opened


def name_of(url: str) -> str:
    return url.rpartition("/")[2]


def contents(postgres: PostgresServer, url: str) -> list[Any]:
    """The structure of a database, and when anything in it was written."""
    return postgres.run(
        "SELECT relname, relkind::text, xmin::text, (SELECT count(*) FROM alembic_version),"
        " (SELECT max(version_num) FROM alembic_version), (SELECT max(xmin::text) FROM state)"
        " FROM pg_class WHERE relnamespace = 'public'::regnamespace ORDER BY relname",
        name_of(url),
    )


def test_an_empty_database_gets_its_tables_where_that_is_asked_for(
    postgres: PostgresServer,
) -> None:
    url = postgres.new()
    with pytest.raises(DatabaseMissing, match=r"^postgresql://127.*: has no tables yet"):
        open_database(url, create=False)
    assert (
        postgres.run("SELECT tablename FROM pg_tables WHERE schemaname='public'", name_of(url))
        == []
    )
    open_database(url, create=True).close()
    open_database(url, create=False).close()


def test_a_database_of_a_newer_version_is_refused_untouched(
    postgres: PostgresServer,
) -> None:
    url = postgres.new()
    open_database(url, create=True).close()
    postgres.run("UPDATE alembic_version SET version_num = '9999'", name_of(url))
    postgres.run("ALTER TABLE clients ADD COLUMN later TEXT", name_of(url))
    before = contents(postgres, url)
    for create in (True, False):
        with pytest.raises(DatabaseTooNew, match=r"revision 9999, this version knows up to \d{4}"):
            open_database(url, create=create)
    with closing(connect(url)) as database, pytest.raises(DatabaseTooNew):
        prepare(database, create=True, migrating=True)
    assert contents(postgres, url) == before


@pytest.mark.parametrize("table", ["orders", "alembic_version", "state"])
def test_a_schema_with_tables_of_another_program_is_refused_untouched(
    postgres: PostgresServer, table: str
) -> None:
    url = postgres.new()
    postgres.run(f"CREATE TABLE {table} (id INTEGER)", name_of(url))
    with pytest.raises(DatabaseUnusable, match="holds tables of another program"):
        open_database(url, create=True)
    assert postgres.run(
        "SELECT tablename FROM pg_tables WHERE schemaname='public'", name_of(url)
    ) == [(table,)]


def older(postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch, *, revision: str) -> str:
    """A database with the tables of an older version."""
    upgrade = command.upgrade
    with monkeypatch.context() as patch:
        patch.setattr(command, "upgrade", lambda config, _: upgrade(config, revision))
        url = postgres.new()
        open_database(url, create=True).close()
    return url


def test_an_older_database_is_not_migrated_unasked(
    postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = older(postgres, monkeypatch, revision="0002")
    before = contents(postgres, url)
    for create in (True, False):
        with pytest.raises(DatabaseOutdated, match=r"revision 0002.*`ephemera migrate`"):
            open_database(url, create=create)
    assert contents(postgres, url) == before
    with closing(connect(url)) as database:
        prepare(database, create=True, migrating=True)
    open_database(url, create=False).close()


def test_a_migration_that_fails_leaves_the_tables_as_they_were(
    postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = older(postgres, monkeypatch, revision="0002")
    before = contents(postgres, url)
    upgrade = command.upgrade

    def fail(config: Any, revision: str) -> None:
        upgrade(config, revision)
        raise DatabaseUnusable("interrupted")

    with monkeypatch.context() as patch, closing(connect(url)) as database:
        patch.setattr(command, "upgrade", fail)
        with pytest.raises(DatabaseUnusable, match="interrupted"):
            prepare(database, create=True, migrating=True)
    assert contents(postgres, url) == before


def test_migrators_at_once_take_turns_while_others_read(
    postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = older(postgres, monkeypatch, revision="0001")
    together = threading.Barrier(5)
    failures: list[BaseException] = []
    done = threading.Event()

    def migrate() -> None:
        with closing(connect(url)) as database:
            together.wait()
            try:
                prepare(database, create=True, migrating=True)
            except BaseException as error:  # noqa: BLE001 - told in the main thread
                failures.append(error)

    def read() -> None:
        with closing(connect(url)) as database:
            together.wait()
            while not done.is_set():
                with database.read() as connection:
                    connection.execute(text("SELECT registry_version FROM state"))
                    connection.execute(text("SELECT count(*) FROM signing_keys"))
                    connection.execute(text("SELECT count(*) FROM clients"))

    reader = threading.Thread(target=read)
    threads = [threading.Thread(target=migrate) for _ in range(4)]
    for thread in (reader, *threads):
        thread.start()
    for thread in threads:
        thread.join()
    done.set()
    reader.join()
    assert failures == []
    open_database(url, create=False).close()


def test_a_write_is_alone_from_its_start_and_a_reader_sees_what_was_committed(
    database: Database, url: str
) -> None:
    entered = threading.Event()

    def second() -> None:
        with closing(open_database(url, create=False)) as other, other.write() as connection:
            entered.set()
            version = connection.execute(state.select()).one().registry_version
            connection.execute(state.update().values(registry_version=version + 1))

    thread = threading.Thread(target=second)
    with database.write() as connection:
        thread.start()
        while not connection.scalar(
            text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
        ):
            pass
        connection.execute(state.update().values(registry_version=5))
        assert not entered.is_set()
        with database.read() as reading:
            assert reading.execute(state.select()).one().registry_version == 0
    thread.join()
    with database.read() as connection:
        assert connection.execute(state.select()).one().registry_version == 6


def test_a_reader_cannot_write(database: Database) -> None:
    with pytest.raises(DatabaseUnusable, match="read-only"), database.read() as connection:
        connection.execute(state.update().values(registry_version=1))


def test_a_transaction_has_limits_and_its_session_has_none_of_them(database: Database) -> None:
    names = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
    for transaction in (database.read, database.write):
        with transaction() as connection:
            assert [connection.scalar(text(f"SHOW {name}")) for name in names] == [
                "15s",
                "10s",
                "30s",
            ]
    with closing(database.raw_connection()) as raw:
        cursor = raw.cursor()
        for name in names:
            cursor.execute(f"SHOW {name}")
            assert cursor.fetchone() == ("0",)


def test_a_statement_that_takes_too_long_is_ended_and_the_connection_goes_on(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgresql, "_LIMITS", "SELECT set_config('statement_timeout', '50', true)")
    with pytest.raises(DatabaseUnusable, match="statement timeout"), database.read() as connection:
        connection.execute(text("SELECT pg_sleep(60)"))
    with database.read() as connection:
        assert connection.execute(state.select()).one().registry_version == 0


def test_a_turn_to_write_that_does_not_come_is_told(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgresql, "_LIMITS", "SELECT set_config('lock_timeout', '50', true)")
    with (
        database.write(),
        pytest.raises(DatabaseUnusable, match="lock timeout"),
        database.write(),
    ):
        pass


def test_more_callers_than_connections_are_told_that_there_is_no_room(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ExitStack() as stack:
        for _ in range(postgresql.CONNECTIONS):
            stack.enter_context(database.read())
        monkeypatch.setattr(database._reading.pool, "_timeout", 0.05)
        with pytest.raises(DatabaseUnreachable), database.read():
            pass
    with database.read():
        pass


def test_what_is_acknowledged_is_on_disk_whatever_the_servers_default_is(
    postgres: PostgresServer, url: str
) -> None:
    name = name_of(url)
    for default, used in (("off", "on"), ("local", "local"), ("remote_apply", "remote_apply")):
        postgres.run(f"ALTER DATABASE {name} SET synchronous_commit = {default}")
        with closing(open_database(url, create=False)) as database, database.write() as connection:
            assert connection.scalar(text("SHOW synchronous_commit")) == used
    postgres.run(f"ALTER DATABASE {name} RESET synchronous_commit")


def test_moments_after_2038_are_kept(database: Database) -> None:
    late = issued("token-1", issued_at=2**31 + 5)
    with database.write() as connection:
        revoke_token(connection, late, now=float(late.issued_at))
        assert connection.scalar(text("SELECT issued_at FROM revocations")) == late.issued_at


def test_two_databases_do_not_meet(postgres: PostgresServer, url: str, tmp_path: Path) -> None:
    other = postgres.lend()
    with (
        closing(open_database(url, create=False)) as one,
        closing(open_database(other, create=False)) as two,
        two.write(),
    ):
        apply_text(one, tmp_path, WHOLE)
        assert stored(one).clients
        assert not stored(two).clients
    postgres.give_back(other)


@pytest.mark.parametrize(
    ("part", "wrong", "says"),
    [
        (ESCAPED, "wrong-%24%25", "password authentication failed"),
        ("127.0.0.1", "127.0.0.2", "Connection refused"),
        ("/postgres", "/nowhere", "does not exist"),
        # It has no TLS, so the connection fails before a password is asked for.
        ("/postgres", "/postgres?sslmode=verify-full&sslrootcert=system", "does not support SSL"),
    ],
)
def test_what_cannot_be_reached_is_told_in_one_line_without_the_password(
    postgres: PostgresServer, part: str, wrong: str, says: str
) -> None:
    before, _, after = postgres.url().rpartition(part)
    url = before + wrong + after
    with pytest.raises(DatabaseUnreachable, match=says) as caught:
        open_database(url, create=True)
    told = "".join(traceback.format_exception(caught.value))
    assert len(str(caught.value).splitlines()) == 1
    assert str(caught.value).startswith("postgresql://127.0.0.")
    for secret in (PASSWORD, ESCAPED, "wrong-$%", "wrong-%24%25"):
        assert secret not in told


def test_the_password_may_stand_in_a_file_and_change(
    postgres: PostgresServer, url: str, tmp_path: Path
) -> None:
    file = tmp_path / "password"
    file.write_text(PASSWORD + "\n")
    there = url.replace(f":{ESCAPED}", "") + f"?password_file={file}"
    with closing(open_database(there, create=False)) as database:
        database.close()
        file.write_text("another")
        with pytest.raises(DatabaseUnreachable, match="password authentication failed"):
            stored(database)
        file.write_bytes(b"\xff")
        with pytest.raises(DatabaseUnusable, match="not a UTF-8 text"):
            stored(database)
        file.unlink()
        with pytest.raises(DatabaseUnusable, match="password: No such file"):
            stored(database)
        file.write_text(PASSWORD)
        stored(database)
    assert postgres.process.poll() is None


def test_settings_never_show_the_url(url: str) -> None:
    settings = Settings(database_url=url)
    assert settings.database_url == url
    for shown in (repr(settings), str(settings)):
        assert PASSWORD not in shown
        assert ESCAPED not in shown


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("postgresql://", "postgresql://USER@HOST/DATABASE"),
        ("postgresql://db", "postgresql://USER@HOST/DATABASE"),
        ("postgresql:///ephemera", "postgresql://USER@HOST/DATABASE"),
        ("postgresql://u:hunter2@db/ephemera?host=/run", "postgresql://USER@HOST/DATABASE"),
        ("postgresql://u:hunt@er2@db/ephemera", "%-escapes"),
        ("postgresql://u:hunt@er2/x@db/ephemera", "postgresql://USER@HOST/DATABASE"),
        ("postgresql://u:hunter2@db:port/ephemera", "postgresql://USER@HOST/DATABASE"),
        ("postgresql://u:hunter2@db/ephemera?options=-cfsync=off", "its options may be"),
        ("postgresql://u:hunter2@db/ephemera?sslmode=a&sslmode=b", "its options may be"),
        ("postgresql://u:hunter2@db/e?password_file=/f", "not in both"),
        ("postgresql+asyncpg://u:hunter2@db/ephemera", "must be sqlite"),
        ("postgres://u:hunter2@db/ephemera", "must be sqlite"),
    ],
)
def test_a_url_that_cannot_be_right_is_refused_and_not_quoted(url: str, says: str) -> None:
    with pytest.raises(SettingsInvalid) as caught:
        Settings(database_url=url)
    assert str(caught.value).startswith("EPHEMERA_DATABASE_URL: ")
    assert says in str(caught.value)
    told = "".join(traceback.format_exception(caught.value))
    assert "hunter2" not in told.replace(url, "")
    assert "er2" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql://127.0.0.1/e", (None, None)),
        ("postgresql://localhost/e", (None, None)),
        ("postgresql://[::1]/e", (None, None)),
        ("postgresql:///e?host=/run/postgresql", (None, None)),
        ("postgresql://db.internal/e", ("verify-full", "system")),
        ("postgresql://10.0.0.1/e?sslrootcert=/ca.pem", ("verify-full", "/ca.pem")),
        ("postgresql://db.internal/e?sslmode=verify-ca&sslrootcert=/ca", ("verify-ca", "/ca")),
        ("postgresql://db/e?sslmode=disable", ("disable", None)),
    ],
)
def test_elsewhere_a_connection_is_tls_and_verified_unless_the_url_says_otherwise(
    url: str, expected: tuple[str | None, str | None]
) -> None:
    chosen = postgresql.parameters(database_url.server(url))
    assert (chosen.get("sslmode"), chosen.get("sslrootcert")) == expected


def test_without_the_driver_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(SettingsInvalid, match=r"pip install 'ephemera-issuer\[postgresql\]'"):
        connect("postgresql://db/ephemera")


def test_a_sealing_key_is_never_made_for_a_server(database: Database, tmp_path: Path) -> None:
    file = tmp_path / "the key"
    for opening in (open_sealing_keys, sealing_keys_for_new):
        with pytest.raises(SealingKeyProblem, match=r"must be set .* keys new-sealing-key ephem"):
            opening(database, file=None)
        with pytest.raises(SealingKeyProblem, match=r"there is no .* new-sealing-key '.*the key'"):
            opening(database, file=file)
    assert list(tmp_path.iterdir()) == []
    file.write_text("no key")
    file.chmod(0o600)
    with pytest.raises(SealingKeyProblem, match="line 1"):
        open_sealing_keys(database, file=file)
