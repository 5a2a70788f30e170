"""One client changed, between two reviewed files: stopped, or its credentials rolled.

What is to change follows from the registry alone; `application.change` reads the one and writes
the other in one transaction.
"""

from __future__ import annotations

import difflib
from dataclasses import replace
from typing import TYPE_CHECKING, Literal, Protocol

from ephemera_issuer.errors import RollRefused, UnknownClient
from ephemera_issuer.registry.application import change
from ephemera_issuer.registry.diff import Change
from ephemera_issuer.registry.entries import MOST_CREDENTIALS
from ephemera_issuer.registry.secrets import settling
from ephemera_issuer.registry.store import read_registry, write_changes

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from ephemera_issuer.database import Database
    from ephemera_issuer.registry.entries import Client, ClientKey, Registry
    from ephemera_issuer.registry.secrets import SecretsDirectory


class NextSecret(Protocol):
    """Where another secret of a client is made."""

    def prepare_next(self, client: str, live: Collection[bytes]) -> bytes:
        """Make it, and return its SHA-256; `live` are the digests that there are."""
        ...


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


def disabling(registry: Registry, client: str, *, disabled: bool) -> list[Change]:
    """Disable or enable a client, unless it is so already.

    Raises:
        UnknownClient: There is no such client.
    """
    before = find_client(registry, client)
    return _changed(before, replace(before, disabled=disabled))


def rolling_secret(registry: Registry, client: str, secrets: NextSecret) -> list[Change]:
    """Give a client a second secret beside its first.

    Raises:
        UnknownClient: There is no such client.
        RollRefused: It has no secret, or has two live credentials already.
        SecretFileProblem: There is no place for the secret.
    """
    before = find_client(registry, client)
    if not before.secret_hashes:
        raise RollRefused(f"{client} has no secret; its keys are rolled where they are declared")
    _require_room(before)
    hashes = (*before.secret_hashes, secrets.prepare_next(client, before.secret_hashes))
    return _changed(before, replace(before, secret_hashes=hashes))


def dropping_secret(
    registry: Registry, client: str, which: Literal["oldest", "newest"]
) -> list[Change]:
    """Take the older of a client's two secrets away, or the newer.

    Raises:
        UnknownClient: There is no such client.
        RollRefused: It has one secret at most.
    """
    before = find_client(registry, client)
    if len(before.secret_hashes) < MOST_CREDENTIALS:
        count = "one secret only" if before.secret_hashes else "no secret"
        raise RollRefused(
            f"{client} has {count}, so none is dropped; `ephemera clients disable` stops it"
        )
    hashes = before.secret_hashes[1:] if which == "oldest" else before.secret_hashes[:1]
    return _changed(before, replace(before, secret_hashes=hashes))


def adding_key(registry: Registry, client: str, key: ClientKey) -> list[Change]:
    """Give a client a second key beside its first, or a key beside its secret; it may have it.

    Raises:
        UnknownClient: There is no such client.
        RollRefused: Its keys are at a `jwks_uri`, another key of it has that kid, or it has two
            live credentials already.
    """
    before = find_client(registry, client)
    if key in before.keys:
        return []
    if before.jwks_uri is not None:
        raise RollRefused(f"{client} publishes its keys itself, at {before.jwks_uri}")
    if any(known.key.kid == key.key.kid for known in before.keys):
        raise RollRefused(f"{client} has another key of that kid")
    _require_room(before)
    return _changed(before, replace(before, keys=(*before.keys, key)))


def dropping_key(registry: Registry, client: str, kid: str) -> list[Change]:
    """Take a key away from a client that has another credential.

    Raises:
        UnknownClient: There is no such client.
        RollRefused: It has no key of that kid, or no other credential.
    """
    before = find_client(registry, client)
    kept = tuple(known for known in before.keys if known.key.kid != kid)
    if len(kept) == len(before.keys):
        raise RollRefused(f"{client} has no key of that kid in the registry")
    if before.credentials == 1:
        raise RollRefused(
            f"{client} has one credential only, so it is not dropped; "
            "`ephemera clients disable` stops it"
        )
    return _changed(before, replace(before, keys=kept))


def set_disabled(database: Database, client: str, *, disabled: bool) -> bool:
    """Disable or enable a client, and tell whether that changed anything.

    Raises:
        UnknownClient: There is no such client.
        DatabaseUnusable: Nothing could be written.
    """
    done = change(database, lambda registry: disabling(registry, client, disabled=disabled))
    return bool(done.changes)


def roll_secret(database: Database, client: str, secrets: SecretsDirectory) -> Path:
    """Give a client a second secret beside its first, and return the file that holds it.

    Raises:
        UnknownClient: There is no such client.
        RollRefused: It has no secret, or has two live credentials already.
        SecretFileProblem: There is no place for the secret.
        DatabaseUnusable: Nothing could be written.
    """
    with settling(database, secrets) as connection:
        write_changes(connection, rolling_secret(read_registry(connection), client, secrets))
    return secrets.file(client)


def drop_secret(database: Database, client: str, *, oldest: bool) -> None:
    """Take the older of a client's two secrets away, or the newer.

    Raises:
        UnknownClient: There is no such client.
        RollRefused: It has one secret at most.
        DatabaseUnusable: Nothing could be written.
    """
    which: Literal["oldest", "newest"] = "oldest" if oldest else "newest"
    change(database, lambda registry: dropping_secret(registry, client, which))


def _require_room(client: Client) -> None:
    if client.credentials >= MOST_CREDENTIALS:
        raise RollRefused(
            f"{client.id} has {MOST_CREDENTIALS} live credentials already, which is the most: "
            "drop one first"
        )


def _changed(before: Client, after: Client) -> list[Change]:
    return [] if after == before else [Change("change", after, before)]
