"""`/grants`: what each client may ask for at each audience."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ephemera_issuer.admin import documents
from ephemera_issuer.admin.api.call import Answer, Answering, Body, Operation, Trying
from ephemera_issuer.admin.api.conditions import entry_tag
from ephemera_issuer.admin.api.lists import Paged, page
from ephemera_issuer.admin.api.registry import (
    CREATED_OR_CHANGED,
    GRANTS,
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
from ephemera_issuer.admin.api.rules import PLACE, AudienceId, ClientId, Lifetime, Scopes
from ephemera_issuer.policy import MAXIMUM_LIFETIME
from ephemera_issuer.registry import syntax
from ephemera_issuer.registry.declarations import GrantDeclaration

if TYPE_CHECKING:
    from ephemera_issuer.admin.api.call import Call

_ONE = "/grants/{client}/{audience:path}"


class GrantsQuery(Paged):
    """Which grants; all of them where nothing is said."""

    client: ClientId = None
    audience: AudienceId = None


class GrantBody(Body):
    """What a `[[grants]]` entry of a registry file says, but for whose it is."""

    scopes: Scopes
    max_lifetime: Lifetime = MAXIMUM_LIFETIME


class GrantDocument(Answering):
    """A grant."""

    client: str
    audience: str
    scopes: list[str]
    max_lifetime: int


class GrantPage(Answering):
    """Grants by client and audience."""

    registry_version: int
    items: list[GrantDocument]
    next: str | None


def _list(call: Call) -> Answer:
    registry = call.issuer.registry()
    wanted = {
        (client, audience): grant
        for (client, audience), grant in registry.grants.items()
        if call.query.client in {None, client} and call.query.audience in {None, audience}
    }
    entries, further = page(wanted, call.query)
    items = [GrantDocument(**documents.entry(entry)) for entry in entries]
    return Answer(GrantPage(registry_version=registry.version, items=items, next=further))


def _show(call: Call) -> Answer:
    entry = find(GRANTS, call.issuer.registry(), _key(call))
    return Answer(GrantDocument(**documents.entry(entry)), tag=entry_tag(entry))


def _put(call: Call) -> Answer:
    client = named(syntax.client_id, "client", call)
    audience = named(syntax.audience_id, "audience", call)
    declaration = GrantDeclaration(client=client, audience=audience, **dict(call.body), place=PLACE)
    declared = declaring(grants={(client, audience): declaration})
    done, status, tag = put(call, GRANTS, (client, audience), declared, NewSecrets())
    return answer(call, done, tag)._replace(status=status)


def _remove(call: Call) -> Answer:
    return remove(call, GRANTS, _key(call))


def _key(call: Call) -> tuple[str, str]:
    return call.path["client"], call.path["audience"]


OPERATIONS = (
    Operation(
        method="GET",
        path="/grants",
        name="listGrants",
        summary="List the grants, of a client or for an audience where one is named.",
        do=_list,
        query=GrantsQuery,
        answer=GrantPage,
    ),
    Operation(
        method="GET",
        path=_ONE,
        name="showGrant",
        summary="Show a grant.",
        do=_show,
        answer=GrantDocument,
        refusals=frozenset({404}),
        tagged=True,
    ),
    Operation(
        method="PUT",
        path=_ONE,
        name="putGrant",
        summary="Make a grant, or make it what the body says.",
        do=_put,
        query=Trying,
        body=GrantBody,
        example={"scopes": ["invoices:read"]},
        answer=Changed,
        answers=CREATED_OR_CHANGED,
        conditional="must",
        tagged=True,
    ),
    Operation(
        method="DELETE",
        path=_ONE,
        name="removeGrant",
        summary="Remove a grant.",
        do=_remove,
        query=Trying,
        answer=Changed,
        answers=REMOVED,
        refusals=frozenset({404, 409}),
        conditional="must",
    ),
)
