"""The registry in the database: reading it whole or what changed, writing a difference."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import select

from ephemera_client.errors import JwkInvalid
from ephemera_issuer.database.transactions import note
from ephemera_issuer.errors import DatabaseUnusable
from ephemera_issuer.registry.entries import (
    Admin,
    Audience,
    Client,
    ClientKey,
    Entry,
    Grant,
    Identity,
    Registry,
    TrustedIssuer,
)
from ephemera_issuer.registry.tables import admins, audiences, clients, grants, issuers, state

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from sqlalchemy import Connection, Row, Table

    from ephemera_issuer.registry.diff import Change

K = TypeVar("K")
E = TypeVar("E")


def read_registry(connection: Connection, known: Registry | None = None) -> Registry:
    """Read the registry; of one that is `known` already, only what changed since its version.

    Where nothing changed, `known` itself comes back.

    Raises:
        DatabaseUnusable: A client's key is no key, so something else has written there.
    """
    version = connection.execute(select(state.c.registry_version)).scalar_one()
    if known is not None and known.version == version:
        return known
    if known is None or known.version > version:
        # A version that went back is a database that was restored: begin again.
        known = Registry(audiences={}, clients={}, grants={}, version=0)
    return Registry(
        audiences=_merge(connection, audiences, known.audiences, known.version, _audience),
        clients=_merge(connection, clients, known.clients, known.version, _client),
        grants=_merge(connection, grants, known.grants, known.version, _grant),
        admins=_merge(connection, admins, known.admins, known.version, _admin),
        version=version,
        issuers=_merge(connection, issuers, known.issuers, known.version, _issuer),
    )


def write_changes(connection: Connection, changes: Iterable[Change]) -> int:
    """Write a difference as the next registry version, and return that version.

    The connection must be in the write transaction that read what the difference is to.
    """
    version = int(connection.execute(select(state.c.registry_version)).scalar_one()) + 1
    connection.execute(state.update().values(registry_version=version))
    # Grants refer to the other two, so they come last.
    for change in sorted(changes, key=lambda change: isinstance(change.entry, Grant)):
        table, key, columns = row(change.entry)
        removed = change.action == "remove"
        columns |= {"removed": removed, "version": version}
        if removed and isinstance(change.entry, Client):
            columns |= {"secret_hashes": "", "jwks": "", "jwks_uri": None, "identities": ""}
        if removed and isinstance(change.entry, Admin):
            columns |= {"jwks": ""}
        # A removed entry may come back, so even a new one may have its row already.
        if not connection.execute(table.update().filter_by(**key).values(columns)).rowcount:
            connection.execute(table.insert().values(key | columns))
        note(connection, change)
    return version


def _merge(
    connection: Connection,
    table: Table,
    known: Mapping[K, E],
    since: int,
    entry: Callable[[Row[Any]], tuple[K, E]],
) -> dict[K, E]:
    merged = dict(known)
    for row in connection.execute(table.select().where(table.c.version > since)):
        key, value = entry(row)
        merged.pop(key, None)
        if not row.removed:
            merged[key] = value
    return merged


def _audience(row: Row[Any]) -> tuple[str, Audience]:
    return row.id, Audience(
        row.id,
        frozenset(row.scopes.split()),
        row.max_lifetime,
        row.single_use,
        row.disabled,
        frozenset(row.introspected_by.split()),
        row.dpop_required,
    )


def _issuer(row: Row[Any]) -> tuple[str, TrustedIssuer]:
    try:
        keys = _keys(row.jwks)
    except (JwkInvalid, ValueError) as error:
        raise DatabaseUnusable(f"issuer {row.id} has a damaged key: {error}") from error
    return row.id, TrustedIssuer(
        row.id, row.max_lifetime, row.reusable, row.audience, keys, row.jwks_uri
    )


def _client(row: Row[Any]) -> tuple[str, Client]:
    try:
        hashes = tuple(bytes.fromhex(digest) for digest in row.secret_hashes.split())
        keys = _keys(row.jwks)
        identities = tuple(_identity(line) for line in row.identities.splitlines())
    except (JwkInvalid, ValueError, LookupError, TypeError) as error:
        raise DatabaseUnusable(f"client {row.id} has a damaged credential: {error}") from error
    return row.id, Client(row.id, hashes, row.disabled, keys, row.jwks_uri, identities)


def _identity(line: str) -> Identity:
    members = json.loads(line)
    claims = tuple((name, value) for name, value in members["claims"].items())
    return Identity(members["issuer"], members["subject"], members["prefix"], claims)


def _admin(row: Row[Any]) -> tuple[str, Admin]:
    try:
        return row.id, Admin(row.id, _keys(row.jwks))
    except (JwkInvalid, ValueError) as error:
        raise DatabaseUnusable(f"admin {row.id} has a damaged key: {error}") from error


def _keys(lines: str) -> tuple[ClientKey, ...]:
    return tuple(ClientKey.parse(json.loads(line)) for line in lines.splitlines())


def _grant(row: Row[Any]) -> tuple[tuple[str, str], Grant]:
    scopes = frozenset(row.scopes.split())
    return (row.client, row.audience), Grant(row.client, row.audience, scopes, row.max_lifetime)


def row(entry: Entry) -> tuple[Table, dict[str, str], dict[str, Any]]:
    """The table, the primary key and the other columns of an entry, all but its version."""
    match entry:
        case Audience():
            columns = {
                "scopes": " ".join(sorted(entry.scopes)),
                "max_lifetime": entry.max_lifetime,
                "single_use": entry.single_use,
                "introspected_by": " ".join(sorted(entry.introspected_by)),
                "dpop_required": entry.dpop_required,
                "disabled": entry.disabled,
            }
            return audiences, {"id": entry.id}, columns
        case TrustedIssuer():
            columns = {
                "jwks": "\n".join(key.text for key in entry.keys),
                "jwks_uri": entry.jwks_uri,
                "audience": entry.audience,
                "max_lifetime": entry.max_lifetime,
                "reusable": entry.reusable,
            }
            return issuers, {"id": entry.id}, columns
        case Client():
            digests = " ".join(digest.hex() for digest in entry.secret_hashes)
            columns = {
                "secret_hashes": digests,
                "jwks": "\n".join(key.text for key in entry.keys),
                "jwks_uri": entry.jwks_uri,
                "identities": "\n".join(json.dumps(one.document()) for one in entry.identities),
                "disabled": entry.disabled,
            }
            return clients, {"id": entry.id}, columns
        case Grant():
            columns = {
                "scopes": " ".join(sorted(entry.scopes)),
                "max_lifetime": entry.max_lifetime,
            }
            return grants, {"client": entry.client, "audience": entry.audience}, columns
        case Admin():
            return admins, {"id": entry.id}, {"jwks": "\n".join(key.text for key in entry.keys)}
