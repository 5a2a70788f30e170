"""`/clients`: the calling services."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ephemera_issuer.admin import documents
from ephemera_issuer.admin.api.call import Answer, Answering, Body, Operation, Trying
from ephemera_issuer.admin.api.conditions import entry_tag
from ephemera_issuer.admin.api.lists import Paged, page
from ephemera_issuer.admin.api.registry import (
    CLIENTS,
    CREATED_OR_CHANGED,
    REMOVED,
    Changed,
    NewSecrets,
    alter,
    answer,
    declaring,
    find,
    named,
    put,
    remove,
    require,
    told,
)
from ephemera_issuer.admin.api.rules import PLACE, Flag, Identities, Jwks, JwksUri, Secret
from ephemera_issuer.registry import syntax
from ephemera_issuer.registry.clients import disabling
from ephemera_issuer.registry.declarations import ClientDeclaration
from ephemera_issuer.registry.schema import credential_problems, kid_problems

if TYPE_CHECKING:
    from ephemera_issuer.admin.api.call import Call

_ONE = "/clients/{client}"


class ClientBody(Body):
    """What a `[[clients]]` entry of a registry file says, but for its id; keys stand in it."""

    secret: Secret = False
    """One is made where the client has none yet, and is in the answer, once."""
    jwks: Jwks = ()
    jwks_uri: JwksUri = None
    identities: Identities = ()
    """Of trusted issuers, which files that are applied locally declare."""
    disabled: Flag = None
    """Left as it is where it is not said."""


class DisabledBody(Body):
    """Whether a client is refused."""

    disabled: Flag


class Key(Answering):
    """What names a public key."""

    kid: str
    alg: str


class IdentityDocument(Answering):
    """Whom tokens of a trusted issuer must speak of: `subject`, or with `prefix` how it begins."""

    issuer: str
    subject: str
    prefix: bool
    claims: dict[str, str | int | bool]


class ClientDocument(Answering):
    """A client; of its secrets only how many there are."""

    id: str
    disabled: bool
    secrets: int
    keys: list[Key]
    jwks_uri: str | None
    identities: list[IdentityDocument]


class ClientPage(Answering):
    """Clients by id."""

    registry_version: int
    items: list[ClientDocument]
    next: str | None


class ClientChanged(Changed):
    """What was changed, and the secret that was made for it: it is told here, and never again."""

    client_secret: str | None


def _list(call: Call) -> Answer:
    registry = call.issuer.registry()
    entries, further = page(registry.clients, call.query)
    items = [ClientDocument(**documents.entry(entry)) for entry in entries]
    return Answer(ClientPage(registry_version=registry.version, items=items, next=further))


def _show(call: Call) -> Answer:
    entry = find(CLIENTS, call.issuer.registry(), call.path["client"])
    return Answer(ClientDocument(**documents.entry(entry)), tag=entry_tag(entry))


def _put(call: Call) -> Answer:
    id_ = named(syntax.client_id, "client", call)
    body: ClientBody = call.body
    given = body.model_fields_set
    require(
        [
            *credential_problems(given, keys="jwks", place=PLACE),
            *kid_problems(body.jwks, name="jwks", place=PLACE),
        ]
    )
    declaration = ClientDeclaration(
        id=id_,
        secret=body.secret,
        jwks_files=(),
        keys=body.jwks,
        jwks_uri=body.jwks_uri,
        identities=body.identities,
        disabled=body.disabled,
        place=PLACE,
    )
    secrets = NewSecrets()
    done, status, tag = put(call, CLIENTS, id_, declaring(clients={id_: declaration}), secrets)
    document = ClientChanged(**told(call, done), client_secret=secrets.made.get(id_))
    return answer(call, done, tag)._replace(document=document, status=status)


def _remove(call: Call) -> Answer:
    return remove(call, CLIENTS, call.path["client"])


def _disable(call: Call) -> Answer:
    client = call.path["client"]
    done, tag = alter(
        call,
        client,
        lambda registry: disabling(registry, client, disabled=call.body.disabled),
        idempotent=True,
    )
    return answer(call, done, tag)


OPERATIONS = (
    Operation(
        method="GET",
        path="/clients",
        name="listClients",
        summary="List the clients.",
        do=_list,
        query=Paged,
        answer=ClientPage,
    ),
    Operation(
        method="GET",
        path=_ONE,
        name="showClient",
        summary="Show a client.",
        do=_show,
        answer=ClientDocument,
        refusals=frozenset({404}),
        tagged=True,
    ),
    Operation(
        method="PUT",
        path=_ONE,
        name="putClient",
        summary="Make a client, or make it what the body says.",
        do=_put,
        query=Trying,
        body=ClientBody,
        example={"secret": "generate"},
        answer=ClientChanged,
        answers=CREATED_OR_CHANGED,
        conditional="must",
        tagged=True,
    ),
    Operation(
        method="DELETE",
        path=_ONE,
        name="removeClient",
        summary="Remove a client that has no grant and introspects for no audience.",
        do=_remove,
        query=Trying,
        answer=Changed,
        answers=REMOVED,
        refusals=frozenset({404, 409}),
        conditional="must",
    ),
    Operation(
        method="PUT",
        path=f"{_ONE}/disabled",
        name="disableClient",
        summary="Refuse a client, or accept it again: whatever else was changed meanwhile.",
        do=_disable,
        query=Trying,
        body=DisabledBody,
        example={"disabled": True},
        answer=Changed,
        refusals=frozenset({404}),
        conditional="may",
        tagged=True,
    ),
)
