"""One client changed by a command, between two reviewed files: stopped, or its secret rolled."""

from __future__ import annotations

import difflib
from dataclasses import replace
from typing import TYPE_CHECKING

from ephemera_issuer.errors import RollRefused, UnknownClient
from ephemera_issuer.registry.diff import Change
from ephemera_issuer.registry.entries import MOST_CREDENTIALS
from ephemera_issuer.registry.secrets import settling
from ephemera_issuer.registry.store import read_registry, write_changes

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Connection

    from ephemera_issuer.database import Database
    from ephemera_issuer.registry.entries import Client, Registry
    from ephemera_issuer.registry.secrets import SecretsDirectory


def find_client(registry: Registry, client: str) -> Client:
    """Find a client by its id.

    Raises:
        UnknownClient: There is none of that id; the text names one that is near.
    """
    if client in registry.clients:
        return registry.clients[client]
    near = difflib.get_close_matches(client, registry.clients, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise UnknownClient(f"there is no client {client}{hint}")


def set_disabled(database: Database, client: str, *, disabled: bool) -> bool:
    """Disable or enable a client, and tell whether that changed anything.

    Raises:
        UnknownClient: There is no such client.
        DatabaseUnusable: Nothing could be written.
    """
    with database.write() as connection:
        before = find_client(read_registry(connection), client)
        if before.disabled == disabled:
            return False
        _write(connection, before, replace(before, disabled=disabled))
    return True


def roll_secret(database: Database, client: str, secrets: SecretsDirectory) -> Path:
    """Give a client a second secret beside its first, and return the file that holds it.

    Raises:
        UnknownClient: There is no such client.
        RollRefused: It has no secret, or has two live credentials already.
        SecretFileProblem: There is no place for the secret.
        DatabaseUnusable: Nothing could be written.
    """
    with settling(database, secrets) as connection:
        before = find_client(read_registry(connection), client)
        if not before.secret_hashes:
            raise RollRefused(
                f"{client} has no secret; its keys are rolled where they are declared"
            )
        if before.credentials >= MOST_CREDENTIALS:
            raise RollRefused(
                f"{client} has {MOST_CREDENTIALS} live credentials already, which is the most: "
                "drop one first"
            )
        hashes = (*before.secret_hashes, secrets.prepare_next(client, before.secret_hashes))
        _write(connection, before, replace(before, secret_hashes=hashes))
    return secrets.file(client)


def drop_secret(database: Database, client: str, *, oldest: bool) -> None:
    """Take the older of a client's two secrets away, or the newer.

    Raises:
        UnknownClient: There is no such client.
        RollRefused: It has one secret at most.
        DatabaseUnusable: Nothing could be written.
    """
    with database.write() as connection:
        before = find_client(read_registry(connection), client)
        if len(before.secret_hashes) < MOST_CREDENTIALS:
            count = "one secret only" if before.secret_hashes else "no secret"
            raise RollRefused(
                f"{client} has {count}, so none is dropped; `ephemera clients disable` stops it"
            )
        hashes = before.secret_hashes[1:] if oldest else before.secret_hashes[:1]
        _write(connection, before, replace(before, secret_hashes=hashes))


def _write(connection: Connection, before: Client, after: Client) -> None:
    write_changes(connection, [Change("change", after, before)])
