"""What is recorded, as the JSON object that becomes a line; pure.

Every record says when (`at`, Unix seconds) and of what kind it is. Of a token it has the SHA-256 of
its `jti` and nothing else that would help to use it; of a client's secret a fingerprint; and
nothing that a caller merely claimed.
"""

from __future__ import annotations

import json
from dataclasses import fields
from functools import lru_cache
from hashlib import sha256
from json.encoder import encode_basestring_ascii as quote
from typing import TYPE_CHECKING, Any, NamedTuple

from ephemera_issuer.backup import BackedUp
from ephemera_issuer.database.migration import Migrated
from ephemera_issuer.registry.diff import Change
from ephemera_issuer.registry.entries import ClientKey, Grant
from ephemera_issuer.restoration import Restored
from ephemera_issuer.revocation.entries import CutOff, Revocation, RevokedKey, RevokedToken
from ephemera_issuer.rotation import KeysWritten

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from ephemera_issuer.errors import RequestRefused
    from ephemera_issuer.policy import Decision
    from ephemera_issuer.registry.entries import Entry
    from ephemera_keys import KeyRing

_KINDS: Mapping[type, str] = {
    Migrated: "migrated",
    BackedUp: "backed_up",
    Restored: "restored",
}
KINDS = (
    "minted",
    "refused",
    "turned_away",
    "registry",
    "keys",
    "revoked",
    *_KINDS.values(),
    "undone",
    "opened",
    "closed",
)
_FINGERPRINT = 12
"""Hexadecimal digits: enough to tell the secrets of one client apart."""


class Request(NamedTuple):
    """What is known of a refused request, and may be kept for longer than the request itself."""

    at: float
    address: str | None
    request_id: str | None
    client: str | None
    audience: str | None


def minted(  # noqa: PLR0913, PLR0917 - what is on record of a mint
    at: float,
    address: str | None,
    request_id: str | None,
    decision: Decision,
    kid: str,
    ids: list[bytes],
) -> bytes:
    """Write that tokens were signed, and for whom; made for every mint, so without `json`."""
    digests = '","'.join([sha256(jti).hexdigest() for jti in ids])
    return (
        f'{{"at":{at:.3f},"kind":"minted",{_decided(decision)},"kid":"{kid}",'
        f'"jti":["{digests}"],"address":{_text(address)},"request_id":{_text(request_id)}}}'
    ).encode()


@lru_cache(maxsize=1024)
def _decided(decision: Decision) -> str:
    return (
        f'"client":{quote(decision.client_id)},"audience":{quote(decision.audience)},'
        f'"scope":{quote(decision.scope)},"lifetime":{decision.lifetime},'
        f'"rule":"{decision.rule.value}"'
    )


def refused(request: Request, error: RequestRefused) -> bytes:
    """Write that a token request was refused, of whom as far as that is proven, and why."""
    return _object(
        "refused",
        request.at,
        {
            "client": request.client,
            "audience": request.audience,
            "error": error.error,
            "reason": error.reason,
            "description": error.description,
            "address": request.address,
            "request_id": request.request_id,
        },
    )


def turned_away(*, at: float, since: float, count: int) -> bytes:
    """Write that token requests were turned away unread, since the audit could not keep up."""
    return _object("turned_away", at, {"since": round(since, 3), "count": count})


def opened(*, at: float, by: str, facts: Mapping[str, Any]) -> bytes:
    """Write that a process goes on with the chain, and what it found."""
    return _object("opened", at, {"by": by, **facts})


def closed(*, at: float, by: str) -> bytes:
    """Write that a process ended in order: everything that it had to record came before."""
    return _object("closed", at, {"by": by})


def done(event: object, *, at: float, by: str) -> bytes:
    """Write what somebody does to registry, keys, revocations or the database as a whole."""
    kind, members = _described(event)
    return _object(kind, at, {"by": by, **members})


def undone(events: Collection[object], *, at: float, by: str) -> bytes:
    """Write that the last changes on record, of these kinds, were not made after all."""
    kinds = [_described(event)[0] for event in events]
    return _object("undone", at, {"by": by, "kinds": kinds})


def jti_digest(jti: str) -> str:
    """What stands for a `jti` in every record."""
    return sha256(jti.encode()).hexdigest()


def _described(event: object) -> tuple[str, dict[str, Any]]:
    match event:
        case Change():
            return "registry", _change(event)
        case KeysWritten():
            return "keys", {"changes": _transitions(event.before, event.after)}
        case RevokedToken() | CutOff() | RevokedKey():
            return "revoked", _revocation(event)
        case Migrated() | BackedUp() | Restored():
            return _KINDS[type(event)], event._asdict()
        case _:
            raise TypeError(f"{type(event).__name__} has no words in the audit")


def _revocation(entry: Revocation) -> dict[str, Any]:
    match entry:
        case RevokedToken():
            return {"client": entry.client, "jti": [jti_digest(entry.jti)]}
        case CutOff():
            pair = {"client": entry.client, "audience": entry.audience}
            return {**pair, "cut_off": entry.moment}
        case RevokedKey():
            return {"kid": entry.kid}


def _change(change: Change) -> dict[str, Any]:
    entry = change.entry
    members: dict[str, Any] = {"action": change.action, "entry": type(entry).__name__.lower()}
    if isinstance(entry, Grant):
        members |= {"client": entry.client, "audience": entry.audience}
    else:
        members["id"] = entry.id
    before = _values(change.before) if change.before else {}
    after = {} if change.action == "remove" else _values(entry)
    changed = {
        name: value if change.action == "add" else [before.get(name), value]
        for name, value in after.items()
        if name not in before or before[name] != value
    }
    return members | ({"values": changed} if changed else {})


def _values(entry: Entry) -> dict[str, Any]:
    return {
        each.name: _plain(getattr(entry, each.name))
        for each in fields(entry)
        if each.name not in {"id", "client", "audience"}
    }


def _plain(value: Any) -> Any:
    match value:
        case frozenset():
            return sorted(map(_plain, value))
        case tuple():
            return [_plain(item) for item in value]
        case ClientKey():
            return value.key.kid
        case bytes():
            # Only secrets' digests are bytes here.
            return sha256(value).hexdigest()[:_FINGERPRINT]
        case _:
            return value


def _transitions(before: KeyRing | None, after: KeyRing) -> list[dict[str, Any]]:
    was = {} if before is None else {record.kid: record.state.value for record in before.records}
    now = {record.kid: record.state.value for record in after.records}
    return [
        {"kid": kid, "before": was.get(kid), "after": now.get(kid)}
        for kid in {**was, **now}
        if was.get(kid) != now.get(kid)
    ]


def _object(kind: str, at: float, members: Mapping[str, Any]) -> bytes:
    return json.dumps({"at": round(at, 3), "kind": kind, **members}, separators=(",", ":")).encode()


def _text(value: str | None) -> str:
    return "null" if value is None else quote(value)
