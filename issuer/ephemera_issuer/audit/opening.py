"""The audit that the settings ask for: opened for writing, or for reading."""

from __future__ import annotations

import contextlib
import os
import socket
from importlib import metadata
from typing import TYPE_CHECKING, NamedTuple

from ephemera_issuer.audit import record
from ephemera_issuer.audit.auditor import Auditor
from ephemera_issuer.audit.files import FileSink, FileSource
from ephemera_issuer.audit.table import DatabaseSink, DatabaseSource
from ephemera_issuer.audit.trail import Trail, TransactionTrail
from ephemera_issuer.audit.writer import Writer
from ephemera_issuer.database import IN_MEMORY, connect, open_database
from ephemera_issuer.errors import AuditUnusable, SettingsInvalid

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ephemera_client.instant import Clock
    from ephemera_issuer.audit.source import Source
    from ephemera_issuer.audit.writer import Sink
    from ephemera_issuer.settings import Settings


class Audit(NamedTuple):
    """Its parts: what records token requests, what records changes, what writes for both."""

    auditor: Auditor
    trail: Trail
    writer: Writer


@contextlib.contextmanager
def opened_audit(settings: Settings, *, by: str, clock: Clock) -> Iterator[Audit | None]:
    """Open the audit, if one is kept, and write what is left at the end of the block.

    Args:
        settings: Say where it is kept, and what is done when it cannot be written.
        by: Who does what nobody else is named for.
        clock: Dates records that have no date of their own.

    Raises:
        AuditUnusable: It cannot be opened.
        AuditNotWritten: At the end: records are lost.
        SettingsInvalid: It is to be kept in a database that ends with this process.
    """
    if settings.audit == "off":
        yield None
        return
    in_files = settings.audit_directory
    if in_files is None and settings.database_url == IN_MEMORY:
        raise SettingsInvalid("EPHEMERA_AUDIT: a database in memory keeps no audit; file:DIR does")

    def opening(found: Mapping[str, object]) -> bytes:
        return record.opened(at=clock().wall, by=by, facts={**_process(), **found})

    sink: Sink = FileSink(in_files) if in_files else DatabaseSink(connect(settings.database_url))
    writer = Writer(sink, opening=opening, closing=lambda: record.closed(at=clock().wall, by=by))
    with contextlib.closing(writer):
        yield Audit(
            Auditor(
                writer,
                when_behind=settings.audit_when_behind,
                before_answer=settings.audit_before_answer,
                clock=clock,
            ),
            (Trail if in_files else TransactionTrail)(writer, by=by, clock=clock),
            writer,
        )


@contextlib.contextmanager
def opened_source(settings: Settings) -> Iterator[Source]:
    """Open the audit to read it.

    Raises:
        AuditUnusable: There is none.
        DatabaseUnusable: It is in a database that cannot be read.
    """
    if settings.audit == "off":
        raise AuditUnusable(
            "EPHEMERA_AUDIT: is off; set it, or name what to read: --audit file:DIR or database"
        )
    if settings.audit_directory is not None:
        yield FileSource(settings.audit_directory)
        return
    with contextlib.closing(open_database(settings.database_url, create=False)) as database:
        yield DatabaseSource(database)


def _process() -> dict[str, object]:
    return {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "version": metadata.version("ephemera-issuer"),
    }
