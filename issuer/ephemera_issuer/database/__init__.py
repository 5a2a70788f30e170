"""The database: opening it, bringing its tables up to date, and transactions.

SQLite and PostgreSQL are used through the same statements. What differs is in a module of each:
how it connects, how a transaction begins, and what is found there before it is touched.
"""

from __future__ import annotations

import importlib
from pathlib import Path

from ephemera_issuer.database import migration, sqlite
from ephemera_issuer.database.sqlite import IN_MEMORY
from ephemera_issuer.database.transactions import Database, Recorder
from ephemera_issuer.errors import DatabaseMissing, DatabaseOutdated, SettingsInvalid

__all__ = [
    "IN_MEMORY",
    "Database",
    "Recorder",
    "connect",
    "found",
    "make_room",
    "open_database",
    "prepare",
]


def open_database(url: str, *, create: bool) -> Database:
    """Open the database at `url`, with the tables of this version.

    With `create`, what is missing is made; a file is readable by its owner only. A SQLite database
    of an older version is brought up to date. On PostgreSQL that takes `ephemera migrate`, since
    replicas of the older version may be running.

    Raises:
        DatabaseTooNew: a newer version wrote it; its bytes are as they were.
        DatabaseMissing: there is none, and `create` is false.
        DatabaseOutdated: it is on PostgreSQL, and its tables are of an older version.
        DatabaseUnreachable: no server answers.
        DatabaseUnusable: it is not a database, or not one of Ephemera's.
        SettingsInvalid: PostgreSQL is wanted, and its driver is not installed.
    """
    database = connect(url)
    try:
        prepare(database, create=create)
    except BaseException:
        database.close()
        raise
    return database


def connect(url: str) -> Database:
    """Name a database, without a look at it: nothing is opened or made yet.

    Raises:
        SettingsInvalid: PostgreSQL is wanted, and its driver is not installed.
    """
    if url == IN_MEMORY:
        return sqlite.database(None)
    if url.startswith("sqlite:///"):
        return sqlite.database(Path(url.removeprefix("sqlite:///")))
    try:
        importlib.import_module("psycopg")
    except ImportError:
        raise SettingsInvalid(
            "EPHEMERA_DATABASE_URL: PostgreSQL needs its driver: "
            "pip install 'ephemera-issuer[postgresql]'"
        ) from None
    from ephemera_issuer.database import postgresql  # noqa: PLC0415 - its driver is an extra

    return postgresql.database(url)


def prepare(database: Database, *, create: bool, migrating: bool = False) -> None:
    """See that the tables are those of this version, as `open_database` says.

    With `migrating`, wherever they are.
    """
    if create and database.path is not None:
        sqlite.make_file(database.path)
    revision = found(database)
    if revision is None and not create:
        raise DatabaseMissing(
            f"{database.location}: has no tables yet; `ephemera apply` or `serve` makes them"
        )
    if revision is not None and migration.is_current(revision):
        return
    if revision is not None and database.remote and not migrating:
        raise DatabaseOutdated(
            f"{database.location}: its tables are of an older version (revision {revision}, this "
            f"version wants {migration.head()}); `ephemera migrate` brings them up to date"
        )
    make_room(database)
    # In one transaction: killed, it leaves the tables as they were. Of several at once, one does
    # it and the others find it done.
    with database.write() as connection:
        migration.upgrade(connection, location=database.location)


def make_room(database: Database) -> None:
    """See that there is a place for tables: a file of SQLite's, if it is one.

    Raises:
        DatabaseUnusable: There is something else.
    """
    if database.path is not None:
        sqlite.make_file(database.path)
        found(database)
        sqlite.use_wal(database.path)


def found(database: Database) -> str | None:
    """The revision of the tables, without changing anything; None where there are none yet.

    Raises:
        DatabaseTooNew: A newer version made them.
        DatabaseMissing: There is no such file.
        DatabaseUnreachable: No server answers.
        DatabaseUnusable: It is not a database, or not one of Ephemera's.
    """
    if database.path is not None:
        tables = sqlite.tables(database.path)
    else:
        with database.read() as connection:
            tables = migration.tables(connection)
    return migration.revision_of(tables, location=database.location)
