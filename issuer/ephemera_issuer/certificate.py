"""The certificate that a listener shows, read anew when its files change."""

from __future__ import annotations

import os
import ssl
import time
from typing import TYPE_CHECKING, TypeAlias

import structlog

from ephemera_issuer.errors import SettingsInvalid
from ephemera_keys.sealing_file import exposure

if TYPE_CHECKING:
    from pathlib import Path

    _Identity: TypeAlias = tuple[tuple[int, int, int] | None, ...]

LOOK_EVERY = 2.0
"""Seconds between two looks at the files."""


class Certificate:
    """A certificate chain and its private key, both PEM.

    `context` is what the next connection is to use: TLS 1.2 or 1.3, HTTP/1.1. Those that exist
    keep theirs.

    Raises:
        SettingsInvalid: The files cannot be read, do not belong together, or others can read the
            key.
    """

    def __init__(self, cert_file: Path, key_file: Path) -> None:
        self._cert_file = cert_file
        self._key_file = key_file
        self._seen = self._identity()
        self._looked = 0.0
        self._wrong = False
        self.context = self._read()

    def look(self) -> None:
        """Read the files if they have changed, at most every two seconds.

        Two files are not replaced in one moment, so a pair that is wrong gets a second look before
        the log says so. It is not used; the one before it is.
        """
        now = time.monotonic()
        if now - self._looked < LOOK_EVERY:
            return
        self._looked = now
        identity = self._identity()
        changed = identity != self._seen
        if not changed and not self._wrong:
            return
        self._seen = identity
        try:
            self.context = self._read()
        except SettingsInvalid as error:
            if not changed and self._wrong:
                structlog.get_logger().error("certificate_not_read", reason=str(error))
            # Said once, and tried again when there is another change.
            self._wrong = changed
        else:
            self._wrong = False
            structlog.get_logger().info("certificate_read", file=str(self._cert_file))

    def _read(self) -> ssl.SSLContext:
        self._require_private()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        try:
            context.load_cert_chain(self._cert_file, self._key_file, password=_no_password)
        except ssl.SSLError as error:
            reason = (error.reason or "").replace("_", " ").lower() or "not PEM"
            raise SettingsInvalid(
                f"EPHEMERA_TLS_CERT_FILE, EPHEMERA_TLS_KEY_FILE: {self._cert_file} and "
                f"{self._key_file} are no certificate and its key: {reason}"
            ) from None
        except OSError as error:
            raise SettingsInvalid(
                f"EPHEMERA_TLS_CERT_FILE: {self._cert_file}: {error.strerror}"
            ) from error
        except _Encrypted:
            raise SettingsInvalid(
                f"EPHEMERA_TLS_KEY_FILE: {self._key_file}: the key is encrypted; it must be in the "
                "clear, and readable by the issuer alone"
            ) from None
        return context

    def _require_private(self) -> None:
        try:
            with self._key_file.open("rb") as file:
                reason = exposure(os.fstat(file.fileno()), reader=os.geteuid())
        except OSError as error:
            raise SettingsInvalid(
                f"EPHEMERA_TLS_KEY_FILE: {self._key_file}: {error.strerror}"
            ) from error
        if reason:
            raise SettingsInvalid(
                f"EPHEMERA_TLS_KEY_FILE: {self._key_file}: others can get at it: {reason}"
            )

    def _identity(self) -> _Identity:
        identities: list[tuple[int, int, int] | None] = []
        for file in (self._cert_file, self._key_file):
            try:
                status = file.stat()
            except OSError:
                identities.append(None)
            else:
                identities.append((status.st_mtime_ns, status.st_size, status.st_ino))
        return tuple(identities)


class _Encrypted(Exception):
    """OpenSSL asks for a password, and would ask the terminal next."""


def _no_password() -> str:
    raise _Encrypted
