"""`/audiences`: the called APIs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from ephemera_issuer.admin import documents
from ephemera_issuer.admin.api.call import Answer, Answering, Body, Operation, Trying
from ephemera_issuer.admin.api.conditions import entry_tag
from ephemera_issuer.admin.api.lists import Paged, page
from ephemera_issuer.admin.api.registry import (
    AUDIENCES,
    CREATED_OR_CHANGED,
    REMOVED,
    Changed,
    NewSecrets,
    answer,
    declaring,
    find,
    named,
    put,
    remove,
)
from ephemera_issuer.admin.api.rules import PLACE, Binding, Clients, Flag, Lifetime, Scopes
from ephemera_issuer.policy import MAXIMUM_LIFETIME
from ephemera_issuer.registry import syntax
from ephemera_issuer.registry.declarations import AudienceDeclaration

if TYPE_CHECKING:
    from ephemera_issuer.admin.api.call import Call

_ONE = "/audiences/{audience:path}"


class AudienceBody(Body):
    """What an `[[audiences]]` entry of a registry file says, but for its id."""

    scopes: Scopes
    max_lifetime: Lifetime = MAXIMUM_LIFETIME
    single_use: Flag = True
    introspected_by: Clients = frozenset()
    dpop: Binding = False
    disabled: Flag = None
    """Left as it is where it is not said."""


class AudienceDocument(Answering):
    """An audience."""

    id: str
    scopes: list[str]
    max_lifetime: int
    single_use: bool
    introspected_by: list[str]
    dpop: Literal["required", "optional"]
    disabled: bool


class AudiencePage(Answering):
    """Audiences by id."""

    registry_version: int
    items: list[AudienceDocument]
    next: str | None


def _list(call: Call) -> Answer:
    registry = call.issuer.registry()
    entries, further = page(registry.audiences, call.query)
    items = [AudienceDocument(**documents.entry(entry)) for entry in entries]
    return Answer(AudiencePage(registry_version=registry.version, items=items, next=further))


def _show(call: Call) -> Answer:
    entry = find(AUDIENCES, call.issuer.registry(), call.path["audience"])
    return Answer(AudienceDocument(**documents.entry(entry)), tag=entry_tag(entry))


def _put(call: Call) -> Answer:
    id_ = named(syntax.audience_id, "audience", call)
    body: AudienceBody = call.body
    declaration = AudienceDeclaration(
        id=id_,
        scopes=body.scopes,
        max_lifetime=body.max_lifetime,
        single_use=body.single_use,
        introspected_by=body.introspected_by,
        dpop_required=body.dpop,
        disabled=body.disabled,
        place=PLACE,
    )
    declared = declaring(audiences={id_: declaration})
    done, status, tag = put(call, AUDIENCES, id_, declared, NewSecrets())
    return answer(call, done, tag)._replace(status=status)


def _remove(call: Call) -> Answer:
    return remove(call, AUDIENCES, call.path["audience"])


OPERATIONS = (
    Operation(
        method="GET",
        path="/audiences",
        name="listAudiences",
        summary="List the audiences.",
        do=_list,
        query=Paged,
        answer=AudiencePage,
    ),
    Operation(
        method="GET",
        path=_ONE,
        name="showAudience",
        summary="Show an audience.",
        do=_show,
        answer=AudienceDocument,
        refusals=frozenset({404}),
        tagged=True,
    ),
    Operation(
        method="PUT",
        path=_ONE,
        name="putAudience",
        summary="Make an audience, or make it what the body says.",
        do=_put,
        query=Trying,
        body=AudienceBody,
        example={"scopes": ["invoices:read", "invoices:write"], "max_lifetime": 300},
        answer=Changed,
        answers=CREATED_OR_CHANGED,
        conditional="must",
        tagged=True,
    ),
    Operation(
        method="DELETE",
        path=_ONE,
        name="removeAudience",
        summary="Remove an audience that no grant names.",
        do=_remove,
        query=Trying,
        answer=Changed,
        answers=REMOVED,
        refusals=frozenset({404, 409}),
        conditional="must",
    ),
)
