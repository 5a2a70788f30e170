"""A certificate and its key in two files, of a private authority, and what a server shows."""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from client.fixtures_authority import Authority
from cryptography import x509

if TYPE_CHECKING:
    from pathlib import Path
    from urllib.parse import SplitResult


@dataclass
class Pair:
    """`cert` and `key`, which `renew` replaces."""

    folder: Path
    authority: Authority = field(init=False)

    def __post_init__(self) -> None:
        self.authority = Authority(self.folder)
        self.cert = self.folder / "cert.pem"
        self.key = self.folder / "key.pem"
        self.renew()

    @property
    def settings(self) -> dict[str, str]:
        return {
            "EPHEMERA_TLS_CERT_FILE": str(self.cert),
            "EPHEMERA_TLS_KEY_FILE": str(self.key),
        }

    def renew(self) -> None:
        """Put another certificate, with another key, in the place of the two files."""
        cert, key = self.make()
        replace(self.key, key)
        replace(self.cert, cert)

    def make(self) -> tuple[bytes, bytes]:
        self.authority.server()
        cert, begin, key = (self.folder / "server.pem").read_bytes().partition(b"-----BEGIN PRIV")
        return cert, begin + key

    @property
    def serial(self) -> int:
        return x509.load_pem_x509_certificate(self.cert.read_bytes()).serial_number

    def trusting(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.authority.file)


def replace(file: Path, content: bytes) -> None:
    """Put a file with other content in the place of this one, which only its owner can read."""
    other = file.with_suffix(".new")
    other.touch(0o600)
    other.write_bytes(content)
    other.rename(file)


def connect(at: SplitResult, context: ssl.SSLContext) -> ssl.SSLSocket:
    """Connect to a server, trusting whom the context trusts."""

    assert at.hostname is not None
    raw = socket.create_connection((at.hostname, at.port or 0), timeout=30)
    return context.wrap_socket(raw, server_hostname=at.hostname)


def shown(connection: ssl.SSLSocket) -> int:
    """The serial number of the certificate that the server has shown."""
    binary = connection.getpeercert(binary_form=True)
    assert binary is not None
    return x509.load_der_x509_certificate(binary).serial_number
