"""A client's new key pair, as the two files that its team and the issuer's operators need."""

import json
import os
import re
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from ephemera_client.errors import ConfigurationError
from ephemera_client.private_key import PrivateKey

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL


class Written(NamedTuple):
    """The private key as PEM, mode 0600; the public key in a JWK Set; and the name of both."""

    private: Path
    public: Path
    kid: str


def write(name: str, directory: Path, *, algorithm: str) -> Written:
    """Make a key and write `NAME.pem` and `NAME.jwks.json`, both or neither.

    Files that are there already stay as they are.

    Raises:
        ConfigurationError: a file is there or cannot be written, or the name or algorithm is none.
    """
    if not _NAME.fullmatch(name):
        raise ConfigurationError("the name must be of letters, digits, _, . and -")
    key = PrivateKey.generate(algorithm)
    private, public = directory / f"{name}.pem", directory / f"{name}.jwks.json"
    _create(private, key.pem(), mode=0o600)
    try:
        jwks = json.dumps({"keys": [key.public_jwk()]}, indent=2)
        _create(public, f"{jwks}\n".encode(), mode=0o644)
    except ConfigurationError:
        private.unlink()
        raise
    return Written(private, public, key.kid)


def _create(path: Path, content: bytes, *, mode: int) -> None:
    try:
        descriptor = os.open(path, _NEW, mode)
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}; nothing was written") from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(descriptor)
    except OSError as error:
        with suppress(OSError):
            path.unlink()
        raise ConfigurationError(f"{path}: {error.strerror}; nothing was written") from error
