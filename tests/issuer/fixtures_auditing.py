"""Audits to write, to read and to tamper with, in files and in a database."""

from __future__ import annotations

import json
import threading
from contextlib import closing
from typing import TYPE_CHECKING, Any, Protocol

from ephemera_issuer.audit import record
from ephemera_issuer.audit.files import FileSink, FileSource
from ephemera_issuer.audit.table import DatabaseSink, DatabaseSource
from ephemera_issuer.audit.writer import Writer
from ephemera_issuer.database import open_database
from ephemera_issuer.errors import AuditNotWritten
from ephemera_issuer.registry.tables import audit

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from ephemera_issuer.audit.source import Source
    from ephemera_issuer.audit.writer import Sink


def bodies(count: int, *, first: int = 1) -> list[bytes]:
    """Records that tell their numbers."""
    return [
        record.turned_away(at=1_800_000_000 + number, since=0, count=number)
        for number in range(first, first + count)
    ]


def members(source: Source, stream: str | None = None) -> list[dict[str, Any]]:
    """All records of a stream, or of the only one there is."""
    if stream is None:
        (stream,) = source.streams()
    return [json.loads(placed.text) for placed in source.lines(stream)]


class Kept(Protocol):
    """A stream, and the hand that changes it behind its writer's back."""

    stream: str

    def sink(self) -> Sink: ...
    def source(self) -> Source: ...
    def lines(self) -> list[bytes]: ...
    def put(self, lines: Iterable[bytes]) -> None: ...


class InFiles:
    """The first stream of a directory."""

    stream = "1"

    def __init__(self, directory: Path, *, segment: int = 1 << 20) -> None:
        self.directory = directory
        self._segment = segment

    def sink(self) -> Sink:
        return FileSink(self.directory, segment=self._segment)

    def source(self) -> Source:
        return FileSource(self.directory)

    def lines(self) -> list[bytes]:
        return [placed.text for placed in self.source().lines(self.stream)]

    def put(self, lines: Iterable[bytes]) -> None:
        first, *others = sorted((self.directory / self.stream).glob("*.jsonl"))
        for path in others:
            path.unlink()
        first.write_bytes(b"".join(lines))


class InDatabase:
    """The one stream of a database."""

    stream = "database"

    def __init__(self, url: str) -> None:
        open_database(url, create=True).close()
        self._url = url
        self._database = open_database(url, create=False)

    def sink(self) -> Sink:
        return DatabaseSink(open_database(self._url, create=False))

    def source(self) -> Source:
        return DatabaseSource(self._database)

    def lines(self) -> list[bytes]:
        return [placed.text for placed in self.source().lines(self.stream)]

    def put(self, lines: Iterable[bytes]) -> None:
        # Numbered as they say, or as they come where that is taken.
        rows: dict[int, str] = {}
        for number, line in enumerate(lines, 1):
            text = line.decode().removesuffix("\n")
            said = int(text.removeprefix('{"sequence":').partition(",")[0])
            rows[number if said in rows else said] = text
        with self._database.write() as connection:
            connection.execute(audit.delete())
            connection.execute(
                audit.insert(), [{"sequence": key, "line": rows[key]} for key in rows]
            )

    def close(self) -> None:
        self._database.close()


def filled(kept: Kept, count: int, *, batch: int = 7) -> None:
    """Write so many records, several at once."""
    with closing(kept.sink()) as sink:
        for first in range(1, count + 1, batch):
            sink.append(bodies(min(batch, count + 1 - first), first=first))


class Stuck:
    """A sink that takes nothing until it is told to, and then keeps everything."""

    def __init__(self, *, failing: bool = False) -> None:
        self.failing = failing
        self.facts: dict[str, object] = {"found": "nothing"}
        self.batches: list[list[bytes]] = []
        self.tried = threading.Event()
        self.free = threading.Event()
        self.closed = False

    def append(self, bodies: Sequence[bytes]) -> None:
        self.tried.set()
        if self.failing:
            raise AuditNotWritten("the audit: No space left on device")
        self.free.wait()
        self.batches.append(list(bodies))

    def close(self) -> None:
        self.closed = True

    @property
    def records(self) -> list[dict[str, Any]]:
        return [json.loads(body) for batch in self.batches for body in batch]


def writer(sink: Sink, *, most_waiting: int = 1000, patience: float = 60) -> Writer:
    return Writer(
        sink,
        opening=lambda found: record.opened(at=1.0, by="issuer", facts=found),
        closing=lambda: record.closed(at=2.0, by="issuer"),
        most_waiting=most_waiting,
        patience=patience,
        flush=0.1,
    )
