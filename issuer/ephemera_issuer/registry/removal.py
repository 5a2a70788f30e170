"""Taking one audience, client or grant out of the registry, where nothing else needs it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ephemera_issuer.errors import EntryInUse
from ephemera_issuer.registry.diff import Change

if TYPE_CHECKING:
    from ephemera_issuer.registry.entries import Audience, Client, Grant, Registry


def removing(registry: Registry, entry: Audience | Client | Grant) -> list[Change]:
    """Remove an entry of the registry; grants go before the client and the audience they join.

    Raises:
        EntryInUse: Others refer to it; the text names them.
    """
    users = sorted(_users(registry, entry))
    if users:
        raise EntryInUse(f"is needed by {', '.join(users)}; remove that first")
    return [Change("remove", entry)]


def _users(registry: Registry, entry: Audience | Client | Grant) -> set[str]:
    # A grant has no id; a client's is never an audience's.
    name = getattr(entry, "id", None)
    return {
        f"the grant {client} -> {audience}"
        for client, audience in registry.grants
        if name in {client, audience}
    } | {
        f"the audience {audience.id}, which {name} introspects for"
        for audience in registry.audiences.values()
        if name in audience.introspected_by
    }
