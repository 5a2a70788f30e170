"""The sealing key of this issuer: where its file is, and the one case in which it is made."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from sqlalchemy import exists, select

from ephemera_issuer.errors import SealingKeyProblem
from ephemera_issuer.registry.tables import signing_keys
from ephemera_keys import SealingKey, SealingKeyInvalid, SealingKeys

if TYPE_CHECKING:
    from pathlib import Path

    from ephemera_issuer.database import Database

SUFFIX = ".sealing-key"


def open_sealing_keys(database: Database, *, file: Path | None) -> SealingKeys:
    """Read the sealing keys; beside a database in which nothing is sealed yet, make them.

    Without `file` it is the one beside the database, `ephemera.sealing-key` for `ephemera.db`;
    for a database in memory the key is in memory too. A missing file is never made where keys are
    sealed already: another key could not open them. For a database on a server it is never made:
    each replica would make another. The server is not asked, so it may be away.

    Raises:
        SealingKeyProblem: The file is missing, malformed or open to others.
    """
    if database.remote:
        return _shared(database, file)
    if file is None:
        if database.path is None:
            return SealingKeys([SealingKey.generate()])
        file = database.path.with_suffix(SUFFIX)
    try:
        with database.read() as connection:
            sealed = connection.scalar(select(exists(signing_keys.select())))
        if sealed:
            return SealingKeys.load(file)
        # The write transaction makes processes that start together take turns.
        with database.write():
            return _make(file)
    except SealingKeyInvalid as error:
        raise SealingKeyProblem(f"the sealing key: {error}") from error
    except OSError as error:
        raise SealingKeyProblem(f"the sealing key: {file}: {error.strerror}") from error


def sealing_keys_for_new(database: Database, *, file: Path | None) -> SealingKeys:
    """Read or make the sealing keys where all signing keys are about to be new.

    What sealed the old ones may be lost. On a server it is not made here either.

    Raises:
        SealingKeyProblem: The file cannot be used or made.
    """
    if database.remote:
        return _shared(database, file)
    if file is None:
        if database.path is None:
            return SealingKeys([SealingKey.generate()])
        file = database.path.with_suffix(SUFFIX)
    try:
        return _make(file)
    except SealingKeyInvalid as error:
        raise SealingKeyProblem(f"the sealing key: {error}") from error
    except OSError as error:
        raise SealingKeyProblem(f"the sealing key: {file}: {error.strerror}") from error


def _shared(database: Database, file: Path | None) -> SealingKeys:
    advice = (
        "one sealing key is for all replicas, kept apart from the database; "
        "if there is none yet, make it once: ephemera keys new-sealing-key "
    )
    if file is None:
        raise SealingKeyProblem(
            f"EPHEMERA_SEALING_KEY_FILE: must be set for {database.location}; "
            f"{advice}ephemera.sealing-key"
        )
    if not file.exists():
        raise SealingKeyProblem(
            f"EPHEMERA_SEALING_KEY_FILE: there is no {file}; {advice}{shlex.quote(str(file))}"
        )
    try:
        return SealingKeys.load(file)
    except SealingKeyInvalid as error:
        raise SealingKeyProblem(f"the sealing key: {error}") from error


def _make(file: Path) -> SealingKeys:
    if file.exists():
        if file.stat().st_size:
            return SealingKeys.load(file)
        # Its maker was killed before the first byte; nothing can have been sealed with it.
        file.unlink()
    return SealingKeys.create(file)
