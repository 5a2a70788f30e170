"""A registry file that is followed while it is being edited, for `ephemera serve --dev`."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

import structlog

from ephemera_issuer.errors import IssuerError
from ephemera_issuer.registry.application import apply
from ephemera_issuer.registry.file import read_files
from ephemera_issuer.registry.secrets import SecretsDirectory

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ephemera_issuer.database import Database

LOOK_EVERY = 0.2
"""Seconds between two looks at the file."""


@contextlib.contextmanager
def following(file: Path, database: Database, *, secrets_dir: Path) -> Iterator[None]:
    """Make the registry match `file` now, and again whenever the file changes.

    What a later version of the file has wrong is logged, and the registry stays as it was.
    Secrets that are in `secrets_dir` from an earlier start stay good.

    Raises:
        IssuerError: The file cannot be applied as it is now.
    """
    ended = threading.Event()
    secrets = SecretsDirectory(secrets_dir, reuse=True)
    seen = _identity(file)
    _load(file, database, secrets)

    def follow() -> None:
        nonlocal seen
        while not ended.wait(LOOK_EVERY):
            identity = _identity(file)
            if identity == seen:
                continue
            seen = identity
            try:
                _load(file, database, secrets)
            except IssuerError as error:
                for line in str(error).splitlines():
                    structlog.get_logger().error("registry_not_applied", reason=line)

    thread = threading.Thread(target=follow, name="registry file", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _load(file: Path, database: Database, secrets: SecretsDirectory) -> None:
    applied = apply(database, read_files(file), prune=True, secrets=secrets)
    log = structlog.get_logger()
    log.info("registry_applied", changes=len(applied.changes), version=applied.version)
    for client, secret_file in applied.secret_files.items():
        log.info("secret_written", client=client, file=str(secret_file))


def _identity(file: Path) -> tuple[int, int, int] | None:
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
