"""`/keys`: the signing keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from ephemera_issuer.admin import documents
from ephemera_issuer.admin.api.call import Answer, Answering, Body, Operation, Trying
from ephemera_issuer.admin.api.conditions import ring_tag
from ephemera_issuer.timeline import timeline

if TYPE_CHECKING:
    from ephemera_issuer.admin.api.call import Call
    from ephemera_issuer.rotation import StoredRing
    from ephemera_keys import KeyRing


class RotationBody(Body):
    """How to rotate."""

    emergency: bool = False
    """Before the pending key has been published for long enough: some verifiers lack it then."""


class SigningKey(Answering):
    """A signing key; times are null for what has not happened."""

    kid: str
    alg: Literal["ES256", "EdDSA", "RS256"]
    state: Literal["pending", "active", "retired", "revoked"]
    published_at: str
    activated_at: str | None
    retired_at: str | None
    revoked_at: str | None


class KeysDocument(Answering):
    """The signing keys, oldest first, and when they rotate."""

    issuer: str
    earliest_rotation: str
    next_rotation: str | None
    keys: list[SigningKey]


class Event(Answering):
    """What happens to a key when; a new key has no kid yet."""

    at: str
    event: str
    kid: str | None
    alg: str


class Gap(Answering):
    """What caches would lack if the pending key signed now."""

    kid: str
    published_at: str
    missing_until: str
    missing_at_most_until: str


class TimelineDocument(Answering):
    """What a rotation would do, and when; `sooner` is null where it is safe now."""

    issuer: str
    now: str
    earliest_rotation: str
    safe_now: bool
    timeline: list[Event]
    sooner: Gap | None


class KeysChanged(Answering):
    """The signing keys after a change; for a dry run as they are, and what would become of them."""

    dry_run: bool
    keys: KeysDocument
    timeline: TimelineDocument | None


def _list(call: Call) -> Answer:
    stored = call.issuer.ring()
    return Answer(_document(call, stored.ring), tag=ring_tag(stored))


def _timeline(call: Call) -> Answer:
    return Answer(_told(call, call.issuer.ring()))


def _rotate(call: Call) -> Answer:
    call.condition.require_given()
    if call.query.dry_run:
        stored = call.issuer.ring()
        call.condition.require(ring_tag(stored))
        return _answer(call, stored.ring, _told(call, stored))
    ring = call.issuer.keeper.keys.rotate(
        call.issuer.algorithm,
        now=call.issuer.clock().wall,
        emergency=call.body.emergency,
        seen=lambda stored: call.condition.require(ring_tag(stored)),
    )
    return _answer(call, ring)


def _revoke(call: Call) -> Answer:
    kid = call.path["kid"]
    if call.query.dry_run:
        stored = call.issuer.ring()
        stored.ring.record(kid)
        call.condition.require(ring_tag(stored))
        return _answer(call, stored.ring)
    ring = call.issuer.keeper.keys.revoke(
        kid,
        call.issuer.algorithm,
        now=call.issuer.clock().wall,
        seen=lambda stored: call.condition.require(ring_tag(stored)),
    )
    return _answer(call, ring)


def _answer(call: Call, ring: KeyRing, told: TimelineDocument | None = None) -> Answer:
    dry_run = call.query.dry_run
    document = KeysChanged(dry_run=dry_run, keys=_document(call, ring), timeline=told)
    return Answer(document, changed=not dry_run)


def _document(call: Call, ring: KeyRing) -> KeysDocument:
    return KeysDocument(**documents.ring(call.issuer.issuer, ring, every=call.issuer.rotate_every))


def _told(call: Call, stored: StoredRing) -> TimelineDocument:
    now = call.issuer.clock().wall
    told = timeline(stored.ring, algorithm=call.issuer.algorithm, now=now)
    return TimelineDocument(**documents.timeline(stored.issuer, told))


OPERATIONS = (
    Operation(
        method="GET",
        path="/keys",
        name="listKeys",
        summary="List the signing keys.",
        do=_list,
        answer=KeysDocument,
        tagged=True,
    ),
    Operation(
        method="GET",
        path="/keys/timeline",
        name="showTimeline",
        summary="Tell what a rotation would do to each key, and when.",
        do=_timeline,
        answer=TimelineDocument,
    ),
    Operation(
        method="POST",
        path="/keys/rotations",
        name="rotateKeys",
        summary="Let the pending key sign, and publish the next one.",
        do=_rotate,
        query=Trying,
        body=RotationBody,
        example={"emergency": True},
        answer=KeysChanged,
        refusals=frozenset({409}),
        conditional="must",
    ),
    Operation(
        method="PUT",
        path="/keys/{kid}/revocation",
        name="revokeKey",
        summary="Withdraw a key for good: in the place of the active one the pending one signs.",
        do=_revoke,
        query=Trying,
        answer=KeysChanged,
        refusals=frozenset({404, 409}),
        conditional="may",
    ),
)
