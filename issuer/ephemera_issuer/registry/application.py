"""Making the registry match declarations, all or nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from ephemera_issuer.errors import SecretFileProblem
from ephemera_issuer.registry.diff import Change, difference
from ephemera_issuer.registry.entries import Client
from ephemera_issuer.registry.secrets import settling
from ephemera_issuer.registry.store import read_registry, write_changes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from ephemera_issuer.database import Database
    from ephemera_issuer.registry.declarations import Declarations
    from ephemera_issuer.registry.entries import Registry
    from ephemera_issuer.registry.secrets import SecretsDirectory


class Applied(NamedTuple):
    """What was done: the changes, the registry version after them, the new secrets' files."""

    changes: tuple[Change, ...]
    version: int
    secret_files: Mapping[str, Path]


def change(
    database: Database,
    plan: Callable[[Registry], Sequence[Change]],
    *,
    dry_run: bool = False,
) -> Applied:
    """Write what `plan` makes of the registry, in the transaction that it was read in.

    Whatever `plan` raises, nothing is written. A dry run reads, and asks `plan` as well.

    Raises:
        DatabaseUnusable: Nothing could be written.
    """
    with database.read() if dry_run else database.write() as connection:
        registry = read_registry(connection)
        changes = tuple(plan(registry))
        writing = changes and not dry_run
        version = write_changes(connection, changes) if writing else registry.version
    return Applied(changes, version, {})


def apply(
    database: Database,
    declared: Declarations,
    *,
    prune: bool,
    secrets: SecretsDirectory | None,
) -> Applied:
    """Compare and write in one transaction; killed at any moment it has done all or nothing.

    Raises:
        RegistryInvalid: The declarations do not fit together.
        SecretFileProblem: A client needs a secret, and there is no place for it. Only a failure to
            rename a secret's file can come after the change was made; the text says so.
        DatabaseUnusable: Nothing could be written.
    """
    with settling(database, secrets) as connection:
        registry = read_registry(connection)
        changes, without_secret = difference(declared, registry, prune=prune)
        hashes = _make_secrets(without_secret, secrets)
        changes = with_secrets(changes, hashes)
        version = write_changes(connection, changes) if changes else registry.version
    files = {client: secrets.file(client) for client in hashes} if secrets else {}
    return Applied(changes, version, files)


def _make_secrets(clients: Sequence[str], secrets: SecretsDirectory | None) -> Mapping[str, bytes]:
    if clients and secrets is None:
        raise SecretFileProblem(
            f"a secret must be made for {', '.join(clients)}: "
            "say where it should go with --secrets-dir"
        )
    return {client: secrets.prepare(client) for client in clients} if secrets else {}


def with_secrets(changes: Sequence[Change], hashes: Mapping[str, bytes]) -> tuple[Change, ...]:
    """Give the clients named in `hashes` their first secret, by its digest."""
    return tuple(_with_secret(change, hashes) for change in changes)


def _with_secret(change: Change, hashes: Mapping[str, bytes]) -> Change:
    entry = change.entry
    if not isinstance(entry, Client) or entry.id not in hashes:
        return change
    return change._replace(entry=replace(entry, secret_hashes=(hashes[entry.id],)))
