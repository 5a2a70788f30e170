"""Secrets made for clients, each in a file of its own that only its owner can read.

A secret is written before the registry learns its digest, and gets its final name after: a process
killed in between leaves `CLIENT.secret.new`, and whether its digest was committed tells the next
one whether to keep it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
from typing import TYPE_CHECKING

from ephemera_issuer.errors import DatabaseUnusable, SecretFileProblem
from ephemera_issuer.registry.store import read_registry

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping
    from pathlib import Path

    from sqlalchemy import Connection

    from ephemera_issuer.database import Database
    from ephemera_issuer.registry.entries import Client

_SUFFIX = ".secret"
_NEW = ".secret.new"
_SECRET_BYTES = 32
_SECRET = re.compile(rb"[A-Za-z0-9_-]{43}")
_OPEN_TO_OTHERS = 0o077


class SecretsDirectory:
    """Where generated secrets land, as `CLIENT.secret`: 43 characters without a final newline.

    With `reuse` a file that is there already gives its secret to a client that has none. Without
    it such a file is refused: it may hold the secret of a client that was removed for a leak.
    """

    def __init__(self, path: Path, *, reuse: bool) -> None:
        self._path = path
        self._reuse = reuse

    def file(self, client: str) -> Path:
        """The file that holds the secret of `client`."""
        return self._path / f"{client}{_SUFFIX}"

    def prepare(self, client: str) -> bytes:
        """Make a secret, write it under a provisional name and return its SHA-256.

        Raises:
            SecretFileProblem: It cannot be written, or the client's file is there already.
        """
        file = self.file(client)
        try:
            self._path.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not file.exists():
                return self._write(client)
            if self._reuse:
                return self._adopt(file)
        except OSError as error:
            raise SecretFileProblem(f"{error.filename or file}: {error.strerror}") from error
        raise SecretFileProblem(
            f"{file}: is there already, perhaps from a former client of this name; "
            "move it away, or say --reuse-secrets to give this client the secret in it"
        )

    def prepare_next(self, client: str, live: Collection[bytes]) -> bytes:
        """Make another secret of a client, whose file may hold one of its `live` digests only.

        Once it is committed it takes the place of that file.

        Raises:
            SecretFileProblem: It cannot be written, or the file holds something else.
        """
        file = self.file(client)
        try:
            self._path.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not file.exists() or digest(file.read_bytes().strip()) in live:
                return self._write(client)
        except OSError as error:
            raise SecretFileProblem(f"{error.filename or file}: {error.strerror}") from error
        raise SecretFileProblem(f"{file}: holds no live secret of this client; move it away")

    @contextlib.contextmanager
    def receiving(self, client: str) -> Iterator[Callable[[str], Path]]:
        """Make room for a secret that an issuer elsewhere makes for a client.

        What the block is given writes it, in place of the client's file. Without that, everything
        is as it was.

        Raises:
            SecretFileProblem: There is no room, so that none should be made; or it cannot be
                written after all, and is in force all the same.
        """
        file, provisional = self.file(client), self._path / f"{client}{_NEW}"
        try:
            self._path.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(provisional, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        except OSError as error:
            raise SecretFileProblem(f"{provisional}: {error.strerror}") from error

        def write(secret: str) -> Path:
            try:
                os.write(descriptor, secret.encode())
                os.fsync(descriptor)
                provisional.replace(file)
            except OSError as error:
                raise SecretFileProblem(
                    f"{file}: {error.strerror}; the newest secret of {client} is lost: drop it"
                ) from error
            return file

        try:
            yield write
        finally:
            os.close(descriptor)
            provisional.unlink(missing_ok=True)

    def settle(self, clients: Mapping[str, Client]) -> None:
        """Keep the provisional files whose secrets were committed, and delete the others.

        To be called in a write transaction that `clients` were read in, since what another
        process is about to commit would look abandoned.

        Raises:
            SecretFileProblem: A file cannot be renamed or deleted; the next call tries again.
        """
        for provisional in self._path.glob(f"*{_NEW}"):
            client = clients.get(provisional.name.removesuffix(_NEW))
            committed = False
            try:
                committed = bool(
                    client and digest(provisional.read_bytes()) in client.secret_hashes
                )
                if client and committed:
                    provisional.replace(self.file(client.id))
                else:
                    provisional.unlink()
            except OSError as error:
                advice = "; it is in force, rename it to end in .secret" if committed else ""
                raise SecretFileProblem(f"{provisional}: {error.strerror}{advice}") from error

    def _write(self, client: str) -> bytes:
        secret = generate()
        descriptor = os.open(
            self._path / f"{client}{_NEW}", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600
        )
        with os.fdopen(descriptor, "wb") as file:
            file.write(secret)
            file.flush()
            os.fsync(descriptor)
        directory = os.open(self._path, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
        return digest(secret)

    def _adopt(self, file: Path) -> bytes:
        with file.open("rb") as stream:
            exposed = os.fstat(stream.fileno()).st_mode & _OPEN_TO_OTHERS
            secret = stream.read(1024).strip()
        if exposed:
            raise SecretFileProblem(f"{file}: others can read it; chmod it to 0600")
        if not _SECRET.fullmatch(secret):
            raise SecretFileProblem(f"{file}: does not hold a generated secret")
        return digest(secret)


def generate() -> bytes:
    """Make a secret of 256 bits."""
    return secrets.token_urlsafe(_SECRET_BYTES).encode()


def digest(secret: bytes) -> bytes:
    """What of a secret goes into the registry: its SHA-256."""
    return hashlib.sha256(secret).digest()


@contextlib.contextmanager
def settling(database: Database, directory: SecretsDirectory | None) -> Iterator[Connection]:
    """A write transaction in which secrets are made; whatever comes of it, no file is left over.

    Raises:
        SecretFileProblem: A file cannot be renamed or deleted. After the block this is about files
            alone: the change was made.
        DatabaseUnusable: Nothing could be written.
    """
    try:
        with database.write() as connection:
            if directory is not None:
                directory.settle(read_registry(connection).clients)
            yield connection
    except BaseException:
        # Whether a failed commit took place is the database's to say, if it still answers.
        with contextlib.suppress(DatabaseUnusable, SecretFileProblem):
            _settle(database, directory)
        raise
    _settle(database, directory)


def _settle(database: Database, directory: SecretsDirectory | None) -> None:
    if directory is not None:
        with database.write() as connection:
            directory.settle(read_registry(connection).clients)
