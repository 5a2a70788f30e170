"""`/revocations`: what no longer counts although it has not expired."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import ConfigDict, PlainValidator, RootModel, WithJsonSchema, model_validator

from ephemera_issuer.admin.api.call import Answer, Answering, Body, Operation, Trying
from ephemera_issuer.admin.api.lists import Paged, cursor, read_cursor
from ephemera_issuer.admin.api.problems import malformed
from ephemera_issuer.admin.api.rules import AudienceId, ClientId
from ephemera_issuer.admin.documents import moment, unix_seconds
from ephemera_issuer.admin.revoking import LONGEST_JTI, revoke_many, revoke_one
from ephemera_issuer.revocation.entries import CutOff, RevokedKey, RevokedToken
from ephemera_issuer.revocation.store import list_revocations

if TYPE_CHECKING:
    from ephemera_issuer.admin.api.call import Call
    from ephemera_issuer.revocation.entries import Revocation


def _jti(value: object) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= LONGEST_JTI or not value.isprintable():
        raise ValueError(f"must be 1 to {LONGEST_JTI} printable characters")
    return value


def _time(value: object) -> float:
    return unix_seconds(value if isinstance(value, str) else "")


Jti = Annotated[
    Any,
    PlainValidator(_jti),
    WithJsonSchema({"type": "string", "pattern": f"^[\\x20-\\x7e]{{1,{LONGEST_JTI}}}$"}),
]
Time = Annotated[
    Any, PlainValidator(_time), WithJsonSchema({"type": "string", "format": "date-time"})
]


class RevokeToken(Body):
    """One token, by the `jti` that logs show."""

    jti: Jti


class RevokeTokens(Body):
    """All tokens of a client, for an audience, or of the one for the other.

    Those that were minted up to now; or before a time.
    """

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"anyOf": [{"required": ["client"]}, {"required": ["audience"]}]},
    )

    client: ClientId = None
    audience: AudienceId = None
    issued_before: Time = None

    @model_validator(mode="after")
    def _names_whose(self) -> Self:
        if self.client is None and self.audience is None:
            raise ValueError("name a client, an audience, or both")
        return self


class RevocationBody(RootModel[RevokeToken | RevokeTokens]):
    """What to revoke. Keys are revoked where they are listed."""


class RevocationDocument(Answering):
    """What was revoked: a token, or what was minted up to `cut_off`, or a key's."""

    sequence: int | None = None
    jti: str | None = None
    client: str | None = None
    audience: str | None = None
    cut_off: str | None = None
    minted_again_from: str | None = None
    kid: str | None = None
    expires_at: str | None = None


class RevocationPage(Answering):
    """Revocations, in the order in which they were made."""

    epoch: str
    items: list[RevocationDocument]
    next: str | None


class Revoked(Answering):
    """What was revoked, or would be."""

    dry_run: bool
    revocation: RevocationDocument


def _list(call: Call) -> Answer:
    after = 0
    if call.query.after is not None:
        place = read_cursor(call.query.after)
        if type(place) is not int or not 0 <= place < 2**53:
            raise malformed("after is not the next of another page")
        after = place
    limit = call.query.limit
    with call.issuer.database.read() as connection:
        epoch, found = list_revocations(
            connection, after=after, most=limit + 1, now=call.issuer.clock().wall
        )
    items = [_document(sequence, entry) for sequence, entry in found[:limit]]
    further = cursor(found[limit - 1][0]) if len(found) > limit else None
    return Answer(RevocationPage(epoch=epoch, items=items, next=further))


def _revoke(call: Call) -> Answer:
    body, database, clock = call.body.root, call.issuer.database, call.issuer.clock
    dry_run = call.query.dry_run
    if isinstance(body, RevokeToken):
        made = revoke_one(database, body.jti, clock=clock, dry_run=dry_run)
    else:
        before = body.issued_before
        made = revoke_many(
            database,
            client=body.client,
            audience=body.audience,
            until=None if before is None else math.ceil(before) - 1,
            clock=clock,
            dry_run=dry_run,
        )
    document = Revoked(dry_run=dry_run, revocation=RevocationDocument(**made))
    return Answer(document, status=200 if dry_run else 201, changed=not dry_run)


def _document(sequence: int, entry: Revocation) -> RevocationDocument:
    match entry:
        case RevokedToken():
            told: dict[str, Any] = {"jti": entry.jti, "client": entry.client}
            told |= {"expires_at": moment(entry.expires_at)}
        case CutOff():
            told = {"client": entry.client, "audience": entry.audience}
            told |= {"cut_off": moment(entry.moment), "expires_at": moment(entry.expires_at)}
        case RevokedKey():
            told = {"kid": entry.kid}
    return RevocationDocument(sequence=sequence, **told)


OPERATIONS = (
    Operation(
        method="GET",
        path="/revocations",
        name="listRevocations",
        summary="List what is revoked.",
        do=_list,
        query=Paged,
        answer=RevocationPage,
    ),
    Operation(
        method="POST",
        path="/revocations",
        name="revoke",
        summary="Revoke one token, or many.",
        do=_revoke,
        query=Trying,
        body=RevocationBody,
        example={"client": "orders", "audience": "https://billing.internal"},
        answer=Revoked,
        answers={200: "It could be; a dry run.", 201: "Revoked."},
        refusals=frozenset({404}),
    ),
)
