"""The audit in the database: one chain, which all replicas and commands take turns to extend."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import Text, cast, exists, func, literal, select

from ephemera_issuer.audit import chain
from ephemera_issuer.audit.chain import BEGINNING, Head
from ephemera_issuer.audit.source import Placed
from ephemera_issuer.errors import AuditUnusable
from ephemera_issuer.registry.tables import audit

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from sqlalchemy import Connection

    from ephemera_issuer.database import Database

STREAM = "database"
"""What the one chain is called."""

_ALONE = 0x6175646974
"""The advisory lock of whoever extends the chain: 'audit'."""
_PAGE = 2000


class DatabaseSink:
    """Extends the chain; safe with any number of others that do."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @property
    def facts(self) -> Mapping[str, object]:
        """What was found when it was opened; others go on meanwhile, so nothing is."""
        return {}

    def append(self, bodies: Sequence[bytes]) -> None:
        """Extend the chain, durably.

        Raises:
            DatabaseUnusable: It was not, or nobody knows whether it was.
        """
        with self._database.append() as connection:
            extend(connection, bodies)

    def close(self) -> None:
        """Close the database."""
        self._database.close()


def extend(connection: Connection, bodies: Sequence[bytes]) -> None:
    """Extend the chain in the transaction of `connection`."""
    server = connection.dialect.name == "postgresql"
    if server:
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_ALONE})")
    head = _head(connection)
    lines, _ = chain.link(head, bodies)
    first = head.sequence + 1
    if not server:
        rows = [
            {"sequence": sequence, "line": line.decode()}
            for sequence, line in enumerate(lines, first)
        ]
        connection.execute(audit.insert(), rows)
        return
    # One parameter, which the server takes apart: a row costs this process nothing.
    text = cast(literal(b"\n".join(lines).decode()), Text)
    each = (
        func.unnest(func.string_to_array(text, "\n"))
        .table_valued("line", with_ordinality="place")
        .render_derived()
    )
    rows_of_it = select(each.c.place + (first - 1), each.c.line)
    connection.execute(audit.insert().from_select(["sequence", "line"], rows_of_it))


class DatabaseSource:
    """Reads the chain."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def streams(self) -> list[str]:
        """Name the one chain, if it has begun."""
        with self._database.read() as connection:
            begun = connection.scalar(select(exists(audit.select())))
        return [STREAM] if begun else []

    def head(self, stream: str) -> Head:
        """Say where the chain ends.

        Raises:
            AuditUnusable: There is no such chain.
        """
        _require(stream)
        with self._database.read() as connection:
            return _head(connection)

    def lines(self, stream: str, *, after: int = 0) -> Iterator[Placed]:
        """Read the lines from the one numbered `after` on, in the order of their numbers."""
        _require(stream)
        while True:
            following = audit.select().where(audit.c.sequence > after)
            with self._database.read() as connection:
                rows = connection.execute(following.order_by(audit.c.sequence).limit(_PAGE)).all()
            for row in rows:
                yield Placed(f"row {row.sequence}", row.line.encode() + b"\n")
                after = row.sequence
            if len(rows) < _PAGE:
                return


def _head(connection: Connection) -> Head:
    last = select(audit.c.line).order_by(audit.c.sequence.desc()).limit(1)
    text = connection.scalar(last)
    if text is None:
        return BEGINNING
    line = chain.parse(text.encode())
    if line is None:
        raise AuditUnusable(
            "the last record of the audit is none: `ephemera audit verify` says what is wrong"
        )
    return line.head


def _require(stream: str) -> None:
    if stream != STREAM:
        raise AuditUnusable(f"the audit in the database has the stream {STREAM}, and no {stream}")
