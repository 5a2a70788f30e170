"""The database: opening it, bringing its tables up to date, and transactions."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.pool import QueuePool, StaticPool

from ephemera_issuer.errors import DatabaseMissing, DatabaseTooNew, DatabaseUnusable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.engine.interfaces import DBAPIConnection
    from sqlalchemy.pool import ConnectionPoolEntry

BUSY_TIMEOUT = 10.0
"""Seconds that a statement waits for another process's lock."""

_MAGIC = b"SQLite format 3\0"
IN_MEMORY = "sqlite://"
_MIGRATIONS = Path(__file__).parent / "migrations"
_WRITES = "ephemera_writes"


class Database:
    """A database whose tables are of this version. Safe to share between threads.

    `path` is None in memory; `location` is what messages call it.
    """

    def __init__(self, engine: Engine, *, path: Path | None) -> None:
        self._engine = engine
        self.path = path
        self.location = "the database in memory" if path is None else str(path)
        # In memory there is one connection, so transactions take turns; files have a pool.
        self._turn = threading.Lock() if path is None else contextlib.nullcontext()

    @contextlib.contextmanager
    def read(self) -> Iterator[Connection]:
        """One read transaction: everything read in it is of the same moment.

        Raises:
            DatabaseUnusable: the database did not answer.
        """
        with self._transaction(writes=False) as connection:
            yield connection

    @contextlib.contextmanager
    def write(self) -> Iterator[Connection]:
        """One write transaction, alone from its start; an exception inside undoes all of it.

        Raises:
            DatabaseUnusable: the database did not answer, or nothing could be written.
        """
        with self._transaction(writes=True) as connection:
            yield connection

    @contextlib.contextmanager
    def _transaction(self, *, writes: bool) -> Iterator[Connection]:
        engine = self._engine.execution_options(**{_WRITES: writes})
        try:
            with self._turn, engine.begin() as connection:
                yield connection
        except SQLAlchemyError as error:
            cause = error.orig if isinstance(error, DBAPIError) else error
            raise DatabaseUnusable(f"{self.location}: {cause}") from error

    def close(self) -> None:
        """Close every connection that is not in use."""
        self._engine.dispose()


def open_database(url: str, *, create: bool) -> Database:
    """Open the database at `url`, making or upgrading its tables where they are missing or old.

    With `create`, a missing file is made (readable by its owner only).

    Raises:
        DatabaseTooNew: a newer version wrote it; its bytes are as they were.
        DatabaseMissing: there is none, and `create` is false.
        DatabaseUnusable: it is not a database, or not one of Ephemera's.
    """
    path = None if url == IN_MEMORY else Path(url.removeprefix("sqlite:///"))
    current = False
    if path is not None:
        if create:
            _make_file(path)
        current = _inspect(path)
    database = Database(_engine(path), path=path)
    if not current:
        try:
            if path is not None:
                _use_wal(path)
            _upgrade(database)
        except BaseException:
            database.close()
            raise
    return database


def _make_file(path: Path) -> None:
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        return
    except OSError as error:
        raise DatabaseUnusable(f"{path}: {error.strerror}") from error


def _inspect(path: Path) -> bool:
    """Whether the tables are those of this version, found out without writing a byte."""
    if not path.is_file():
        raise DatabaseMissing(f"{path}: no such database; `ephemera apply` or `serve` makes one")
    try:
        with path.open("rb") as file:
            magic = file.read(len(_MAGIC))
        if magic not in {b"", _MAGIC}:
            # SQLite itself would take a very short file for an empty one, and write over it.
            raise DatabaseUnusable(f"{path}: file is not a database")
        tables, revisions = _contents(path)
    except (OSError, sqlite3.Error) as error:
        raise DatabaseUnusable(f"{path}: {error}") from error
    if not tables:
        return False
    if "alembic_version" not in tables or "state" not in tables:
        raise DatabaseUnusable(f"{path}: holds tables of another program")
    script = ScriptDirectory(str(_MIGRATIONS))
    revision = revisions[0] if revisions else None
    if revision not in {known.revision for known in script.walk_revisions()}:
        raise DatabaseTooNew(
            f"{path}: a newer version of Ephemera wrote this database (its tables are of revision "
            f"{revision}, this version knows up to {script.get_current_head()}); "
            "it was left untouched: upgrade Ephemera, or restore a backup made before"
        )
    return bool(revision == script.get_current_head())


def _contents(path: Path, mode: str = "ro") -> tuple[set[str], list[str]]:
    """The names of the tables, and the revisions that Alembic noted."""
    uri = f"{path.absolute().as_uri()}?mode={mode}"
    with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=BUSY_TIMEOUT)) as connection:
        try:
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
        except sqlite3.OperationalError as error:
            # A process was killed while it wrote what is not in the write-ahead log, such as the
            # switch to it. SQLite undoes that for whoever may write.
            if mode == "rw" or error.sqlite_errorcode != sqlite3.SQLITE_READONLY_ROLLBACK:
                raise
            return _contents(path, "rw")
        if not tables >= {"alembic_version", "state"}:
            return tables, []
        noted = connection.execute("SELECT version_num FROM alembic_version")
        return tables, [revision for (revision,) in noted]


def _engine(path: Path | None) -> Engine:
    def connect() -> sqlite3.Connection:
        # isolation_level None: sqlite3 begins no transactions of its own, `begin` below does.
        return sqlite3.connect(
            ":memory:" if path is None else path,
            timeout=BUSY_TIMEOUT,
            isolation_level=None,
            check_same_thread=False,
        )

    engine = create_engine(
        "sqlite://",
        creator=connect,
        poolclass=StaticPool if path is None else QueuePool,
        hide_parameters=True,
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
        cursor = connection.cursor()
        cursor.execute("PRAGMA synchronous = FULL")
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.close()

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # A deferred transaction that turns into a writer can fail at once where another wrote
        # since; one that begins as a writer waits its turn.
        writes = connection.get_execution_options()[_WRITES]
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _use_wal(path: Path) -> None:
    # SQLite does not wait for locks in this one statement, so two first starts at once collide.
    deadline = time.monotonic() + BUSY_TIMEOUT
    with contextlib.closing(sqlite3.connect(path, timeout=BUSY_TIMEOUT)) as connection:
        while True:
            try:
                connection.execute("PRAGMA journal_mode = WAL")
            except sqlite3.OperationalError as error:
                if time.monotonic() > deadline:
                    raise DatabaseUnusable(f"{path}: {error}") from error
                time.sleep(0.01)
            else:
                return


def _upgrade(database: Database) -> None:
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    with database.write() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
