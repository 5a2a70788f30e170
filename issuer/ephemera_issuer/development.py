"""A registry file and its clients' keys, followed while edited, for `ephemera serve --dev`."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, TypeAlias

import structlog

from ephemera_issuer.errors import IssuerError
from ephemera_issuer.registry.application import apply
from ephemera_issuer.registry.file import read_files
from ephemera_issuer.registry.secrets import SecretsDirectory

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from ephemera_issuer.database import Database

_Identity: TypeAlias = tuple[int, int, int] | None
LOOK_EVERY = 0.2
"""Seconds between two looks at the file."""


@contextlib.contextmanager
def following(file: Path, database: Database, *, secrets_dir: Path) -> Iterator[None]:
    """Make the registry match `file` now, and again whenever it or a `jwks_file` changes.

    What a later version of the file has wrong is logged, and the registry stays as it was.
    Secrets that are in `secrets_dir` from an earlier start stay good.

    Raises:
        IssuerError: The file cannot be applied as it is now.
    """
    ended = threading.Event()
    secrets = SecretsDirectory(secrets_dir, reuse=True)
    # What was looked at before it was read wins, so that a change in between is not missed.
    seen = _identities([file])
    seen = _load(file, database, secrets) | seen
    complaint = ""

    def follow() -> None:
        nonlocal seen, complaint
        while not ended.wait(LOOK_EVERY):
            identities = _identities(seen)
            # What is wrong may be a file that nobody has named yet: until all is well, try again.
            if identities == seen and not complaint:
                continue
            seen = identities
            try:
                seen = _load(file, database, secrets) | seen
                complaint = ""
            except IssuerError as error:
                if str(error) != complaint:
                    for line in str(error).splitlines():
                        structlog.get_logger().error("registry_not_applied", reason=line)
                complaint = str(error)

    thread = threading.Thread(target=follow, name="registry file", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _load(file: Path, database: Database, secrets: SecretsDirectory) -> dict[Path, _Identity]:
    declared = read_files(file)
    identities = _identities(
        file for client in declared.clients.values() for file in client.jwks_files
    )
    applied = apply(database, declared, prune=True, secrets=secrets)
    log = structlog.get_logger()
    log.info("registry_applied", changes=len(applied.changes), version=applied.version)
    for client, secret_file in applied.secret_files.items():
        log.info("secret_written", client=client, file=str(secret_file))
    return identities


def _identities(files: Iterable[Path]) -> dict[Path, _Identity]:
    return {file: _identity(file) for file in files}


def _identity(file: Path) -> _Identity:
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
