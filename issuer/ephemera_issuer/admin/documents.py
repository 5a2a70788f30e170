"""What an operator is shown, as documents: the command prints them, and the API sends them.

Their members keep their names and meaning from version to version.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeAlias

from ephemera_issuer.registry.entries import Admin, Audience, Client, Entry, Grant, TrustedIssuer
from ephemera_issuer.schedule import next_rotation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ephemera_issuer.registry.diff import Change
    from ephemera_issuer.registry.entries import ClientKey, Registry
    from ephemera_issuer.timeline import Gap, Timeline
    from ephemera_keys import KeyRecord, KeyRing

Document: TypeAlias = dict[str, Any]


def moment(seconds: float | None) -> str | None:
    """Unix seconds as an RFC 3339 timestamp in UTC, to the second."""
    if seconds is None:
        return None
    return f"{datetime.fromtimestamp(int(seconds), UTC):%Y-%m-%dT%H:%M:%SZ}"


def unix_seconds(text: str) -> float:
    """Read a time that somebody wrote (RFC 3339), to Unix seconds.

    Raises:
        ValueError: It is none, or does not say in which zone. The message says what it must be.
    """
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        time = None
    if time is None or time.tzinfo is None:
        raise ValueError("must be a time with its zone, such as 2026-01-31T12:00:00Z")
    return time.timestamp()


def second(seconds: float) -> str | None:
    """The first whole second from then on."""
    return moment(math.ceil(seconds))


def kind(entry: Entry) -> str:
    """What kind of entry it is, in a word."""
    return "issuer" if isinstance(entry, TrustedIssuer) else type(entry).__name__.lower()


def values(entry: Entry) -> Document:
    """An entry without its name; of credentials only what may be shown."""
    match entry:
        case Audience():
            return {
                "scopes": sorted(entry.scopes),
                "max_lifetime": entry.max_lifetime,
                "single_use": entry.single_use,
                "introspected_by": sorted(entry.introspected_by),
                "dpop": "required" if entry.dpop_required else "optional",
                "disabled": entry.disabled,
            }
        case Client():
            return {
                "secrets": len(entry.secret_hashes),
                "keys": keys(entry.keys),
                "jwks_uri": entry.jwks_uri,
                "identities": [one.document() for one in entry.identities],
                "disabled": entry.disabled,
            }
        case TrustedIssuer():
            return {
                "keys": keys(entry.keys),
                "jwks_uri": entry.jwks_uri,
                "audience": entry.audience,
                "max_lifetime": entry.max_lifetime,
                "reusable": entry.reusable,
            }
        case Grant():
            return {"scopes": sorted(entry.scopes), "max_lifetime": entry.max_lifetime}
        case Admin():
            return {"keys": keys(entry.keys)}


def name(entry: Entry) -> Document:
    """The name of an entry, which a grant has in two parts."""
    if isinstance(entry, Grant):
        return {"client": entry.client, "audience": entry.audience}
    return {"id": entry.id}


def entry(held: Entry) -> Document:
    """An entry, whole."""
    return name(held) | values(held)


def keys(held: Sequence[ClientKey]) -> list[Document]:
    """The keys of a client or an administrator, by what names them."""
    return [{"kid": key.key.kid, "alg": key.key.alg} for key in held]


def client_with_grants(client: Client, granted: Sequence[Document]) -> Document:
    """A client as a person wants to see it: `granted` are the documents of its grants."""
    return {"id": client.id} | _as_printed(values(client), granted)


def client_of(document: Document, granted: Sequence[Document]) -> Document:
    """The same, of the document of the client."""
    return {"id": document["id"]} | _as_printed(document, granted)


def _as_printed(held: Document, granted: Sequence[Document]) -> Document:
    members = "disabled", "secrets", "keys", "jwks_uri", "identities"
    shown = {member: held[member] for member in members}
    grants = [
        {member: grant[member] for member in ("audience", "scopes", "max_lifetime")}
        for grant in granted
    ]
    return shown | {"grants": grants}


def grants_of(registry: Registry, client: str) -> list[Document]:
    """The grants of a client, by audience."""
    return [entry(grant) for key, grant in sorted(registry.grants.items()) if key[0] == client]


def change(made: Change) -> Document:
    """A change of the registry; `before` and `after` are None where there was or is nothing."""
    before = made.entry if made.action == "remove" else made.before
    return {
        "action": made.action,
        "kind": kind(made.entry),
        **name(made.entry),
        "before": None if before is None else values(before),
        "after": None if made.action == "remove" else values(made.entry),
    }


def ring(issuer: str, held: KeyRing, *, every: float | None) -> Document:
    """The signing keys, oldest first; `every` is the period of their rotation in seconds."""
    due = next_rotation(held, every=every)
    return {
        "issuer": issuer,
        "earliest_rotation": second(held.earliest_rotation()),
        "next_rotation": None if due is None else second(due),
        "keys": [_key(record) for record in held.records],
    }


def _key(record: KeyRecord) -> Document:
    return {
        "kid": record.kid,
        "alg": record.alg,
        "state": record.state.value,
        "published_at": moment(record.published_at),
        "activated_at": moment(record.activated_at),
        "retired_at": moment(record.retired_at),
        "revoked_at": moment(record.revoked_at),
    }


def timeline(issuer: str, told: Timeline) -> Document:
    """What a rotation would do; `sooner` says what would be missing if it were done now."""
    return {
        "issuer": issuer,
        "now": moment(told.now),
        "earliest_rotation": second(told.earliest),
        "safe_now": told.gap is None,
        "timeline": [
            {"at": second(event.at), "event": event.what, "kid": event.kid, "alg": event.alg}
            for event in told.events
        ],
        "sooner": None if told.gap is None else _gap(told.gap),
    }


def _gap(gap: Gap) -> Document:
    return {
        "kid": gap.kid,
        "published_at": moment(gap.published_at),
        "missing_until": second(gap.heeding_until),
        "missing_at_most_until": second(gap.at_most_until),
    }
