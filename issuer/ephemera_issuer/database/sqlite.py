"""SQLite: one file, used by any number of processes of one machine."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from typing import TYPE_CHECKING

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.pool import QueuePool, StaticPool

from ephemera_issuer.database.migration import Tables
from ephemera_issuer.database.transactions import (
    APPENDS,
    WRITES,
    Database,
    in_words,
    is_busy,
)
from ephemera_issuer.errors import DatabaseMissing, DatabaseUnusable

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy.engine.interfaces import DBAPIConnection
    from sqlalchemy.pool import ConnectionPoolEntry

BUSY_TIMEOUT = 10.0
"""Seconds that a statement waits for another process's lock."""

IN_MEMORY = "sqlite://"
_MAGIC = b"SQLite format 3\0"


def database(path: Path | None) -> Database:
    """The database in this file, or in memory, as it is."""
    location = "the database in memory" if path is None else str(path)
    engine = _engine(path)
    return Database(engine, engine, location=location, path=path)


def make_file(path: Path) -> None:
    """Make an empty file that only its owner can read, unless there is one."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        return
    except OSError as error:
        raise DatabaseUnusable(f"{path}: {error.strerror}") from error


def tables(path: Path) -> Tables:
    """What is in the file, found out without writing a byte.

    Raises:
        DatabaseMissing: There is no such file.
        DatabaseUnusable: It is not a database.
    """
    if not path.is_file():
        raise DatabaseMissing(f"{path}: no such database; `ephemera apply` or `serve` makes one")
    try:
        with path.open("rb") as file:
            magic = file.read(len(_MAGIC))
        if magic not in {b"", _MAGIC}:
            # SQLite itself would take a very short file for an empty one, and write over it.
            raise DatabaseUnusable(f"{path}: file is not a database")
        return _contents(path, "ro")
    except (OSError, sqlite3.Error) as error:
        raise DatabaseUnusable(f"{path}: {in_words(error)}") from error


def _contents(path: Path, mode: str) -> Tables:
    uri = f"{path.absolute().as_uri()}?mode={mode}"
    with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=BUSY_TIMEOUT)) as connection:
        try:
            names = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
        except sqlite3.OperationalError as error:
            # A process was killed while it wrote what is not in the write-ahead log, such as the
            # switch to it. SQLite undoes that for whoever may write.
            if mode == "rw" or error.sqlite_errorcode != sqlite3.SQLITE_READONLY_ROLLBACK:
                raise
            return _contents(path, "rw")
        if "alembic_version" not in names:
            return Tables(names, ())
        revisions = connection.execute("SELECT * FROM alembic_version").fetchall()
        return Tables(names, [row[0] for row in revisions])


def use_wal(path: Path) -> None:
    """Let readers go on while another writes. It is a property of the file, and stays."""
    # SQLite does not wait for locks in this one statement, so two first starts at once collide.
    deadline = time.monotonic() + BUSY_TIMEOUT
    with contextlib.closing(sqlite3.connect(path, timeout=BUSY_TIMEOUT)) as connection:
        while True:
            try:
                connection.execute("PRAGMA journal_mode = WAL")
            except sqlite3.Error as error:
                if not is_busy(error) or time.monotonic() > deadline:
                    raise DatabaseUnusable(f"{path}: {in_words(error)}") from error
                time.sleep(0.01)
            else:
                return


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
        options = connection.get_execution_options()
        writes = options[WRITES] or options.get(APPENDS)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine
