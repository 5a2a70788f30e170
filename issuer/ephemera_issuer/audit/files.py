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
from ephemera_issuer.audit.chain import BEGINNING, Head
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
                self._head, torn = self._resume()
                self.facts: Mapping[str, Any] = _facts(directory, self._folder.name, torn)
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
        if self._file is None or self._size >= self._segment:
            self._begin_segment()
        self._settle()
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

    def _resume(self) -> tuple[Head, bytes]:
        """Find where the chain ends, and take away the line that a killed process left torn."""
        segments = _segments(self._folder)
        if not segments:
            return BEGINNING, b""
        self._path = segments[-1]
        self._file = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
        head, torn = _end(self._file, self._path)
        if torn:
            size = os.fstat(self._file).st_size - len(torn)
            os.ftruncate(self._file, size)
            os.fsync(self._file)
        self._size = os.fstat(self._file).st_size
        if head is None:
            head = _head_before(segments[:-1])
        return head, torn


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
            return _head_before(_segments(self._directory / stream))

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


def _facts(directory: Path, own: str, torn: bytes) -> dict[str, Any]:
    facts: dict[str, Any] = {}
    if torn:
        kept = torn[:_LONGEST_FRAGMENT].decode("ascii", "backslashreplace")
        facts["torn"] = {"bytes": len(torn), "text": kept}
    others = {}
    for stream in FileSource(directory).streams():
        # Another user's cannot be told of.
        with contextlib.suppress(AuditUnusable):
            if stream != own and (head := FileSource(directory).head(stream)) != BEGINNING:
                others[stream] = [head.sequence, head.digest.hex()]
    if others:
        facts["others"] = others
    return facts


def _segments(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob(f"*{_SUFFIX}") if path.stem.isdecimal())


def _head_before(segments: Sequence[Path]) -> Head:
    """Where the chain in these segments ends."""
    for path in reversed(segments):
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            head, _ = _end(file, path)
        finally:
            os.close(file)
        if head is not None:
            return head
    return BEGINNING


def _end(file: int, path: Path) -> tuple[Head | None, bytes]:
    """The head by the last whole line, if there is one, and what comes after that line."""
    size = position = os.fstat(file).st_size
    tail = b""
    while position and tail.count(b"\n") < 2:  # noqa: PLR2004 - the ends of the last line and of the one before
        step = min(_BLOCK, position)
        position -= step
        tail = os.pread(file, step, position) + tail
    whole, newline, torn = tail.rpartition(b"\n")
    if not newline:
        return None, tail[:size]
    line = chain.parse(whole.rpartition(b"\n")[2])
    if line is None:
        raise AuditUnusable(
            f"the audit: the last record in {path} is none; "
            "`ephemera audit verify` says what is wrong, and another directory begins anew"
        )
    return line.head, torn


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
