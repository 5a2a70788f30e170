"""A private key in a file that may be replaced while it is in use."""

import logging
import os
from pathlib import Path
from typing import NamedTuple

from ephemera_client.errors import ConfigurationError
from ephemera_client.private_key import MAX_BYTES, PrivateKey

_log = logging.getLogger("ephemera_client")


class _Stamp(NamedTuple):
    modified: int
    size: int
    device: int
    inode: int


class KeyFile:
    """The key that a file holds now, or held when it was last whole."""

    __slots__ = ("_algorithm", "_complained", "_held", "_kid", "_path")

    def __init__(self, path: Path, *, algorithm: str | None, kid: str | None) -> None:
        self._path = path
        self._algorithm = algorithm
        self._kid = kid
        self._complained = False
        # One attribute, so that threads never see the stamp of one file with another's key.
        self._held = self._read()

    def current(self) -> PrivateKey:
        """Return the key, read anew if the file is not the one it was read from."""
        try:
            if _stamp(self._path.stat()) != self._held[0]:
                self._held = self._read()
                self._complained = False
        except OSError as error:
            self._complain(f"client key file {self._path}: {error.strerror}")
        except ConfigurationError as error:
            self._complain(str(error))
        return self._held[1]

    def __repr__(self) -> str:
        return f"{os.fspath(self._path)!r}, {self._held[1]!r}"

    def _read(self) -> tuple[_Stamp, PrivateKey]:
        try:
            with self._path.open("rb") as file:
                stamp = _stamp(os.fstat(file.fileno()))
                data = file.read(MAX_BYTES + 1)
            return stamp, PrivateKey.load(data, algorithm=self._algorithm, kid=self._kid)
        except OSError as error:
            raise ConfigurationError(f"client key file {self._path}: {error.strerror}") from error
        except ConfigurationError as error:
            raise ConfigurationError(f"client key file {self._path}: {error}") from None

    def _complain(self, why: str) -> None:
        if not self._complained:
            self._complained = True
            _log.warning("%s; going on with the key that was there before", why)


def _stamp(status: os.stat_result) -> _Stamp:
    return _Stamp(status.st_mtime_ns, status.st_size, status.st_dev, status.st_ino)
