"""Whether a file is the one that was written here last, or has been put back from a copy.

Copies bring the content of a file, at best its times and attributes, but never its inode's change
time. So a witness lies beside the file: rewritten now and then with a new number, which with the
witness's inode and change time is written into the file as well. Whatever is put back later, the
file, the witness or both, they no longer agree.
"""

import os
import secrets
from contextlib import suppress
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_NUMBER_BYTES = 16


def this_boot(source: Path = _BOOT_ID) -> str | None:
    """Return what names this boot of the machine, or None where the system does not say."""
    try:
        return source.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return None


def identity(path: Path) -> str | None:
    """Return which file the path means now, or None if none."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return f"{status.st_dev}:{status.st_ino}"


class Witness:
    """What lies beside the file at `path`, under its name and `-witness`."""

    def __init__(self, path: Path) -> None:
        self._path = path.with_name(f"{path.name}-witness")

    def testimony(self) -> str | None:
        """Return what the witness says now, or None if there is none."""
        with suppress(FileNotFoundError), self._path.open("rb") as file:
            return _said(file.read(2 * _NUMBER_BYTES), os.fstat(file.fileno()))
        return None

    def swear(self) -> str:
        """Make the witness say something new, and return that."""
        number = secrets.token_hex(_NUMBER_BYTES).encode()
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            os.write(descriptor, number)
            return _said(number, os.fstat(descriptor))
        finally:
            os.close(descriptor)


def _said(number: bytes, status: os.stat_result) -> str:
    return f"{number.decode('latin-1')}:{status.st_dev}:{status.st_ino}:{status.st_ctime_ns}"
