"""Transactions: each reads one moment, or writes alone."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from typing import TYPE_CHECKING, Protocol

from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolExhausted

from ephemera_issuer.errors import DatabaseUnreachable, DatabaseUnusable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from sqlalchemy import Connection, Engine
    from sqlalchemy.pool import PoolProxiedConnection

WRITES = "ephemera_writes"
"""The execution option that tells a connection's events which kind of transaction it begins."""
APPENDS = "ephemera_appends"
"""The same for one that only adds, and of which nobody needs to be told."""

_NOTES = "ephemera_notes"

# What SQLite says of a disk that has no room is often no more than this.
_DISK = {sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN}

_AWAY = {"08", "53", "57"}
"""Classes of SQLSTATE: no connection, no room for another one, an operator stepped in."""


class Recorder(Protocol):
    """Keeps a record of what write transactions do."""

    def before_commit(self, connection: Connection, events: Sequence[object]) -> None:
        """Record what is about to be committed; what this raises undoes the transaction."""
        ...

    def not_committed(self, events: Sequence[object]) -> None:
        """Take note that what was recorded last has not happened after all."""
        ...


def note(connection: Connection, event: object) -> None:
    """Say what the transaction of `connection` does, for the recorder of its database."""
    notes = connection.get_execution_options().get(_NOTES)
    if notes is not None:
        notes.append(event)


class Database:
    """A database of Ephemera's. Safe to share between threads.

    `reading` and `writing` are one engine, with the options of either kind of transaction.

    Attributes:
        location: What messages call it.
        path: Its file; None in memory, and on a server.
        remote: Whether it is on a server, which may be away, and which other machines share.
        closed: Whether `close` has been called.
        recorder: Whoever records what is written, if anybody does.
    """

    def __init__(
        self,
        reading: Engine,
        writing: Engine,
        *,
        location: str,
        path: Path | None = None,
        remote: bool = False,
    ) -> None:
        self.location = location
        self.path = path
        self.remote = remote
        self.closed = False
        self.recorder: Recorder | None = None
        self._reading = reading.execution_options(**{WRITES: False})
        self._writing = writing.execution_options(**{WRITES: True})
        self._appending = writing.execution_options(**{WRITES: False, APPENDS: True})
        # In memory there is one connection, so transactions take turns; the others have a pool.
        self._turn = threading.Lock() if self.in_memory else contextlib.nullcontext()

    @property
    def in_memory(self) -> bool:
        """Whether it ends with this process."""
        return self.path is None and not self.remote

    @contextlib.contextmanager
    def read(self) -> Iterator[Connection]:
        """One read transaction: everything read in it is of the same moment.

        Raises:
            DatabaseUnusable: the database did not answer.
        """
        with self._transaction(self._reading) as connection:
            yield connection

    @contextlib.contextmanager
    def write(self) -> Iterator[Connection]:
        """One write transaction, alone from its start; an exception inside undoes all of it.

        Raises:
            DatabaseUnusable: the database did not answer, or nothing could be written.
            AuditNotWritten: no record could be made of it, so it is undone as well.
        """
        recorded: list[object] = []
        try:
            with self._transaction(self._writing) as connection:
                notes: list[object] = []
                yield connection.execution_options(**{_NOTES: notes})
                if notes and self.recorder is not None:
                    self.recorder.before_commit(connection, notes)
                    recorded = notes
        except BaseException:
            if recorded and self.recorder is not None:
                self.recorder.not_committed(recorded)
            raise

    @contextlib.contextmanager
    def append(self) -> Iterator[Connection]:
        """One transaction that only adds: nobody is told, and on a server it is not alone.

        Raises:
            DatabaseUnusable: the database did not answer, or nothing could be written.
        """
        with self._transaction(self._appending) as connection:
            yield connection

    @contextlib.contextmanager
    def _transaction(self, engine: Engine) -> Iterator[Connection]:
        try:
            with self._turn, engine.begin() as connection:
                yield connection
        except SQLAlchemyError as error:
            # The driver's own text may quote the values of a row.
            raise explained(error, location=self.location) from None

    def raw_connection(self) -> PoolProxiedConnection:
        """A connection of the driver, for what is no transaction."""
        return self._reading.raw_connection()

    def close(self) -> None:
        """Close every connection that is not in use, and on a server the others after their use."""
        self.closed = True
        self._reading.dispose()


def explained(error: SQLAlchemyError, *, location: str) -> DatabaseUnusable:
    """Put a failure of the database into words of one line, without the values of any row."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    # PostgreSQL's detail and context quote rows; its message does not.
    message = getattr(getattr(cause, "diag", None), "message_primary", None) or in_words(cause)
    kind = DatabaseUnreachable if _away(error, cause) else DatabaseUnusable
    return kind(f"{location}: {' '.join(message.split())}")


def in_words(cause: object) -> str:
    """What a driver says, and what to look at where SQLite says no more than that it failed."""
    if isinstance(cause, sqlite3.Error) and _code(cause) in _DISK:
        name = cause.sqlite_errorname
        return f"{cause} ({name}): is the disk full, or may this user not write there?"
    return str(cause)


def is_busy(error: sqlite3.Error) -> bool:
    """Whether another process has SQLite's lock, so that trying again makes sense."""
    return _code(error) in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_PROTOCOL}


def _code(error: sqlite3.Error) -> int:
    # Python's own complaints have none.
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def _away(error: SQLAlchemyError, cause: object) -> bool:
    if isinstance(error, PoolExhausted):
        return True
    if not isinstance(error, OperationalError) or not hasattr(cause, "sqlstate"):
        return False
    # Without a SQLSTATE there was nobody to give one.
    return cause.sqlstate is None or cause.sqlstate[:2] in _AWAY
