"""The audit in files: a directory with a folder for each stream, and in it segments of lines.

A process takes a folder that no other holds, and goes on with the chain that is in it. So there
are as many streams as there were processes at once, and what one of them lacks another can tell:
whoever opens a stream notes where the others end.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from typing import TYPE_CHECKING, Any

from ephemera_issuer.audit import chain
from ephemera_issuer.audit.chain import BEGINNING, Head, Line
from ephemera_issuer.audit.source import Placed
from ephemera_issuer.errors import AuditNotWritten, AuditUnusable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

SEGMENT = 64 * 1024 * 1024
"""Bytes after which a stream goes on in another file."""

_MOST_STREAMS = 1000
_SUFFIX = ".jsonl"
_BLOCK = 64 * 1024
_LONGEST_FRAGMENT = 4096
"""Of what a killed process left unfinished, so much is kept."""


class FileSink:
    """A stream of its own, for this process alone until it is closed.

    Raises:
        AuditUnusable: The directory or the files in it cannot be used.
    """

    def __init__(self, directory: Path, *, segment: int = SEGMENT) -> None:
        self._segment = segment
        self._file: int | None = None
        self._path: Path | None = None
        self._size = 0
        self._doubtful = False
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._folder, self._lock = _take_folder(directory)
            try:
                self._head, found = self._resume()
                others = _others(directory, self._folder.name)
                self.facts: Mapping[str, Any] = {**found, **({"others": others} if others else {})}
            except BaseException:
                os.close(self._lock)
                raise
        except OSError as error:
            raise AuditUnusable(f"the audit: {_words(error)}") from error

    def append(self, bodies: Sequence[bytes]) -> None:
        """Extend the chain; when this returns, the lines outlive the machine.

        Raises:
            AuditNotWritten: They are not written, and the file is as it was, as far as that can be.
        """
        lines, head = chain.link(self._head, bodies)
        try:
            self._write(b"\n".join(lines) + b"\n")
        except OSError as error:
            with contextlib.suppress(OSError):
                self._settle()
            raise AuditNotWritten(f"the audit: {_words(error, self._path)}") from error
        self._head = head

    def close(self) -> None:
        """Let another process go on with the stream."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._settle()
            os.close(self._file)
            self._file = None
        os.close(self._lock)

    def _write(self, data: bytes) -> None:
        self._settle()
        if self._file is None or self._size >= self._segment:
            self._begin_segment()
        assert self._file is not None  # noqa: S101 - the segment that was begun
        found = os.fstat(self._file)
        if not found.st_nlink or found.st_size != self._size:
            raise AuditNotWritten(
                f"the audit: {self._path} was removed or changed by another process"
            )
        self._doubtful = True
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._file, rest) :]
        os.fdatasync(self._file)
        self._doubtful = False
        self._size += len(data)

    def _settle(self) -> None:
        """Take back what a failed attempt has left."""
        if self._doubtful and self._file is not None:
            os.ftruncate(self._file, self._size)
            self._doubtful = False

    def _begin_segment(self) -> None:
        path = self._folder / f"{self._head.sequence + 1:016d}{_SUFFIX}"
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        file = os.open(path, flags, 0o600)
        _sync(self._folder)
        if self._file is not None:
            os.close(self._file)
        self._file, self._path, self._size, self._doubtful = file, path, 0, False

    def _resume(self) -> tuple[Head, dict[str, Any]]:
        """Find where the chain ends, and how whoever went before ended."""
        segments = _segments(self._folder)
        if not segments:
            return BEGINNING, {}
        self._path = segments[-1]
        self._file = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
        line, torn = _end(self._file, self._path)
        # What is torn goes when it is on record, with the first append.
        self._size = os.fstat(self._file).st_size - len(torn)
        self._doubtful = bool(torn)
        line = line or _last_line(segments[:-1])
        facts: dict[str, Any] = {}
        if line is not None and b'"kind":"closed"' not in line.body:
            facts["after"] = "a process that did not end in order"
        if torn:
            kept = torn[:_LONGEST_FRAGMENT].decode("ascii", "backslashreplace")
            facts["torn"] = {"bytes": len(torn), "text": kept}
        return (line.head if line else BEGINNING), facts


class FileSource:
    """Reads a directory, while others write there or not.

    Raises:
        AuditUnusable: There is no such directory, or it may not be read.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        if not directory.is_dir():
            raise AuditUnusable(f"the audit: there is no directory {directory}")

    def streams(self) -> list[str]:
        """Name the streams that have begun."""
        with _readable():
            folders = [each for each in self._directory.iterdir() if each.name.isdecimal()]
            named = [each.name for each in folders if _segments(each)]
        return sorted(named, key=int)

    def head(self, stream: str) -> Head:
        """Say where a stream ends, going by its last whole line."""
        with _readable():
            line = _last_line(_segments(self._directory / stream))
        return line.head if line else BEGINNING

    def lines(self, stream: str, *, after: int = 0) -> Iterator[Placed]:
        """Read a stream, from the segment on that has the line after the one numbered `after`."""
        with _readable():
            segments = _segments(self._directory / stream)
            begun = [each for each in segments if int(each.stem) <= after + 1]
            for path in segments[max(len(begun) - 1, 0) :]:
                with path.open("rb") as file:
                    for number, text in enumerate(file, 1):
                        yield Placed(f"{stream}/{path.name}:{number}", text)


def _take_folder(directory: Path) -> tuple[Path, int]:
    for number in range(1, _MOST_STREAMS + 1):
        folder = directory / str(number)
        if not folder.exists():
            with contextlib.suppress(FileExistsError):
                folder.mkdir(mode=0o700)
                _sync(directory)
        try:
            lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except PermissionError:
            continue  # another user's
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            continue
        return folder, lock
    raise AuditUnusable(f"the audit: all {_MOST_STREAMS} streams in {directory} are in use")


def _others(directory: Path, own: str) -> dict[str, Any]:
    """Where the other streams end, as far as they can be read."""
    source = FileSource(directory)
    heads = {}
    for stream in source.streams():
        # Another user's cannot be.
        with contextlib.suppress(AuditUnusable):
            head = BEGINNING if stream == own else source.head(stream)
            if head != BEGINNING:
                heads[stream] = [head.sequence, head.digest.hex()]
    return heads


def _segments(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob(f"*{_SUFFIX}") if path.stem.isdecimal())


def _last_line(segments: Sequence[Path]) -> Line | None:
    for path in reversed(segments):
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            line, _ = _end(file, path)
        finally:
            os.close(file)
        if line is not None:
            return line
    return None


def _end(file: int, path: Path) -> tuple[Line | None, bytes]:
    """The last whole line, if there is one, and what comes after it."""
    position = os.fstat(file).st_size
    tail = b""
    while position and tail.count(b"\n") <= 1:
        step = min(_BLOCK, position)
        position -= step
        tail = os.pread(file, step, position) + tail
    whole, newline, torn = tail.rpartition(b"\n")
    if not newline:
        return None, tail
    line = chain.parse(whole.rpartition(b"\n")[2])
    if line is None:
        raise AuditUnusable(
            f"the audit: the last record in {path} is none; "
            "`ephemera audit verify` says what is wrong, and another directory begins anew"
        )
    return line, torn


@contextlib.contextmanager
def _readable() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise AuditUnusable(f"the audit: {_words(error)}") from error


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _words(error: OSError, path: Path | None = None) -> str:
    return f"{error.filename or path}: {error.strerror}"
