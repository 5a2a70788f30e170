"""Backups: what a database holds, as lines of JSON that SQLite and PostgreSQL read alike.

The first line says what it is, each other one is a row, and the last counts and digests them, so
that a file that was cut short or damaged is known for it. No private key is in it, not even a
sealed one: a restored database signs with new keys.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import MetaData, select

from ephemera_issuer.database import found, migration
from ephemera_issuer.errors import BackupInvalid, BackupNotWritten, DatabaseMissing

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from sqlalchemy import Connection, Table

    from ephemera_issuer.database import Database

FORMAT = 1
VERSION_TABLE = "alembic_version"
_NOT_OURS = {VERSION_TABLE, "audit"}
"""The audit is the history of a database, not its content: restoring must not rewrite it."""
LEFT_OUT = {("signing_keys", "sealed")}
"""Private keys, under the sealing key: nobody needs them again."""


class Backup(NamedTuple):
    """What a backup holds: its tables' revision, whose it is, and the rows of each table."""

    revision: str
    issuer: str | None
    taken_at: float
    rows: Mapping[str, list[dict[str, Any]]]

    @property
    def size(self) -> int:
        """How many rows there are in all."""
        return sum(map(len, self.rows.values()))


class BackedUp(NamedTuple):
    """That a backup was written: where to, and of which moment."""

    file: str
    taken_at: float


def take(database: Database, *, now: float) -> Backup:
    """Read everything, as of one moment. Tables of an older version are read as they are.

    Raises:
        DatabaseMissing: There is no database, or nothing in it.
        DatabaseUnusable: It cannot be read.
    """
    revision = found(database)
    if revision is None:
        raise DatabaseMissing(f"{database.location}: has no tables yet, so nothing to back up")
    with database.read() as connection:
        tables = tables_in(connection)
        rows = {table.name: [*_rows(connection, table)] for table in tables}
    return Backup(revision, rows["state"][0]["issuer"], now, rows)


def tables_in(connection: Connection) -> list[Table]:
    """What is backed up, as it is in the database: tables that others refer to first."""
    reflected = MetaData()
    reflected.reflect(connection)
    return [table for table in reflected.sorted_tables if table.name not in _NOT_OURS]


def columns_of(table: Table) -> set[str]:
    """Those columns that are backed up."""
    return {column.name for column in table.columns if (table.name, column.name) not in LEFT_OUT}


def write(backup: Backup, file: Path) -> None:
    """Write a file that only its owner can read, whole or not at all.

    Raises:
        BackupNotWritten: The text says why.
    """
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
        try:
            with os.fdopen(descriptor, "wb") as stream:
                stream.writelines(_lines(backup))
                stream.flush()
                os.fsync(descriptor)
            Path(name).replace(file)
        except BaseException:
            with suppress(OSError):
                Path(name).unlink()
            raise
        directory = os.open(file.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except OSError as error:
        raise BackupNotWritten(f"{file}: {error.strerror}") from error


def read(file: Path) -> Backup:
    """Read a file that `write` has written.

    Raises:
        BackupInvalid: It is something else, or not all of it, or of a newer version.
    """
    try:
        content = file.read_bytes()
    except OSError as error:
        raise BackupInvalid(f"{file}: {error.strerror}") from error
    lines = content.splitlines(keepends=True)
    head, last = _object(lines[:1]), _object(lines[-1:])
    if "ephemera_backup" not in head:
        raise BackupInvalid(f"{file}: is no backup of Ephemera's")
    if head["ephemera_backup"] != FORMAT:
        raise BackupInvalid(f"{file}: a newer version of Ephemera wrote this backup")
    digest = hashlib.sha256(b"".join(lines[:-1])).hexdigest()
    if last != {"rows": len(lines) - 2, "sha256": digest}:
        raise BackupInvalid(f"{file}: is damaged, or was cut short")
    if not migration.is_known(head["revision"]):
        raise BackupInvalid(
            f"{file}: a newer version of Ephemera wrote this backup (its tables are of revision "
            f"{head['revision']}, this version knows up to {migration.head()})"
        )
    rows: dict[str, list[dict[str, Any]]] = {}
    for line in lines[1:-1]:
        entry = json.loads(line)
        rows.setdefault(entry["table"], []).append(entry["row"])
    return Backup(head["revision"], head["issuer"], head["taken_at"], rows)


def _rows(connection: Connection, table: Table) -> Iterator[dict[str, Any]]:
    names = columns_of(table)
    columns = [column for column in table.columns if column.name in names]
    for row in connection.execute(select(*columns).order_by(*table.primary_key.columns)):
        yield dict(row._mapping)  # noqa: SLF001 - the public name of a row's columns


def _lines(backup: Backup) -> Iterable[bytes]:
    digest = hashlib.sha256()
    head = {"ephemera_backup": FORMAT, "revision": backup.revision}
    entries: Iterator[dict[str, Any]] = iter(
        [head | {"issuer": backup.issuer, "taken_at": backup.taken_at}]
        + [{"table": table, "row": row} for table, rows in backup.rows.items() for row in rows]
    )
    for entry in entries:
        line = json.dumps(entry).encode() + b"\n"
        digest.update(line)
        yield line
    yield json.dumps({"rows": backup.size, "sha256": digest.hexdigest()}).encode() + b"\n"


def _object(lines: list[bytes]) -> dict[str, Any]:
    """The JSON object on a line; empty where there is none."""
    try:
        found = json.loads(lines[0]) if lines else {}
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
