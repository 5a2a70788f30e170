"""The sealing keys' file: made once, and read only where nobody else can read it. POSIX."""

import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final

from ephemera_keys.errors import SealingKeyInvalid
from ephemera_keys.sealing_key import SealingKey

MOST_BYTES: Final = 65536
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL
_EXISTING = os.O_RDONLY | os.O_NONBLOCK  # a pipe must not hold up the start


def read(path: Path) -> list[SealingKey]:
    """Read the keys in the order of their lines; `SealingKeys.load` says what is refused."""
    try:
        content = _content(path)
    except OSError as error:
        raise SealingKeyInvalid(f"{path}: {error.strerror}") from error
    # Decoded without an error of Python's, which would hold the keys.
    text = content.decode(errors="replace")
    if text.encode() != content:
        raise SealingKeyInvalid(f"{path}: not a UTF-8 text")
    keys = []
    for number, line in enumerate(map(str.strip, text.split("\n")), start=1):
        if line and not line.startswith("#"):
            try:
                keys.append(SealingKey.parse(line))
            except SealingKeyInvalid as error:
                raise SealingKeyInvalid(f"{path}, line {number}: {error}") from None
    return keys


def write(path: Path, key: SealingKey) -> None:
    """Make the file, mode 0600; a file that is there already stays as it is."""
    try:
        descriptor = os.open(path, _NEW, 0o600)
    except OSError as error:
        raise SealingKeyInvalid(f"{path}: {error.strerror}") from error
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(f"# Keep apart from the database and its backups.\n{key.reveal()}\n")
            file.flush()
            os.fsync(descriptor)
        _flush_directory(path.parent)
    except OSError as error:
        with suppress(OSError):
            path.unlink()
        raise SealingKeyInvalid(f"{path}: {error.strerror}") from error


def exposure(status: os.stat_result, *, reader: int) -> str | None:
    """Say who else may read or change the file, or None.

    Its owner must be the reader or root. A group may read what root owns and another user reads:
    that is how Kubernetes hands a secret to a process that is not root.
    """
    if status.st_uid not in {reader, 0}:
        return "it belongs to another user"
    given_out = status.st_uid == 0 and reader != 0
    if status.st_mode & (0o037 if given_out else 0o077):
        return f"its mode is {stat.S_IMODE(status.st_mode):04o}; chmod it to 0600"
    return None


def _content(path: Path) -> bytes:
    descriptor = os.open(path, _EXISTING)
    try:
        status = os.fstat(descriptor)  # of what was opened, not of what the name means now
        if not stat.S_ISREG(status.st_mode):
            raise SealingKeyInvalid(f"{path}: not a regular file")
        if reason := exposure(status, reader=os.geteuid()):
            raise SealingKeyInvalid(f"{path}: others can get at it: {reason}")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            content = file.read(MOST_BYTES + 1)
    finally:
        os.close(descriptor)
    if len(content) > MOST_BYTES:
        raise SealingKeyInvalid(f"{path}: over {MOST_BYTES} bytes")
    return content


def _flush_directory(path: Path) -> None:
    """Make the new name itself survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
