"""What a client proves itself with: shown, and rolled one by one, two of them at most."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from ephemera_client.compact import strict_json
from ephemera_issuer.admin.api.call import Answer, Answering, Body, Operation, Trying
from ephemera_issuer.admin.api.clients import ClientChanged
from ephemera_issuer.admin.api.conditions import entry_tag
from ephemera_issuer.admin.api.problems import not_found
from ephemera_issuer.admin.api.registry import (
    CLIENTS,
    Changed,
    NewSecrets,
    alter,
    answer,
    find,
    told,
)
from ephemera_issuer.admin.api.rules import EXAMPLE_JWK, Jwk
from ephemera_issuer.registry.clients import (
    adding_key,
    dropping_key,
    dropping_secret,
    rolling_secret,
)
from ephemera_issuer.registry.entries import Client

if TYPE_CHECKING:
    from ephemera_issuer.admin.api.call import Call

_CLIENT = "/clients/{client}"
_REFUSALS = frozenset({404, 409})
_WHICH: dict[str, Literal["oldest", "newest"]] = {"oldest": "oldest", "newest": "newest"}


class CredentialsDocument(Answering):
    """The live credentials of a client: secrets counted, keys as they are."""

    client: str
    secrets: int
    jwks: dict[str, list[dict[str, Any]]]
    jwks_uri: str | None


class KeyBody(Body):
    """A public key."""

    jwk: Jwk


def _show(call: Call) -> Answer:
    client = find(CLIENTS, call.issuer.registry(), call.path["client"])
    assert isinstance(client, Client)  # noqa: S101 - what clients are
    document = CredentialsDocument(
        client=client.id,
        secrets=len(client.secret_hashes),
        jwks={"keys": [strict_json(key.text.encode()) for key in client.keys]},
        jwks_uri=client.jwks_uri,
    )
    return Answer(document, tag=entry_tag(client))


def _roll(call: Call) -> Answer:
    call.condition.require_given()
    client, secrets = call.path["client"], NewSecrets()
    done, tag = alter(call, client, lambda registry: rolling_secret(registry, client, secrets))
    secret = None if call.query.dry_run else secrets.made.get(client)
    document = ClientChanged(**told(call, done), client_secret=secret)
    status = 200 if call.query.dry_run else 201
    return answer(call, done, tag)._replace(document=document, status=status)


def _drop(call: Call) -> Answer:
    call.condition.require_given()
    client, which = call.path["client"], _WHICH.get(call.path["which"])
    if which is None:
        raise not_found("secret: there are oldest and newest")
    done, tag = alter(call, client, lambda registry: dropping_secret(registry, client, which))
    return answer(call, done, tag)


def _add_key(call: Call) -> Answer:
    call.condition.require_given()
    client = call.path["client"]
    done, tag = alter(
        call, client, lambda registry: adding_key(registry, client, call.body.jwk), idempotent=True
    )
    created = done.changes and not call.query.dry_run
    return answer(call, done, tag)._replace(status=201 if created else 200)


def _drop_key(call: Call) -> Answer:
    call.condition.require_given()
    client, kid = call.path["client"], call.path["kid"]
    return answer(call, *alter(call, client, lambda registry: dropping_key(registry, client, kid)))


OPERATIONS = (
    Operation(
        method="GET",
        path=f"{_CLIENT}/credentials",
        name="showCredentials",
        summary="Show a client's credentials.",
        do=_show,
        answer=CredentialsDocument,
        refusals=frozenset({404}),
        tagged=True,
    ),
    Operation(
        method="POST",
        path=f"{_CLIENT}/secrets",
        name="rollSecret",
        summary="Make a second secret; both are good until one is dropped.",
        do=_roll,
        query=Trying,
        answer=ClientChanged,
        answers={200: "It could be made; a dry run.", 201: "Made."},
        refusals=_REFUSALS,
        conditional="must",
        tagged=True,
    ),
    Operation(
        method="DELETE",
        path=f"{_CLIENT}/secrets/{{which}}",
        name="dropSecret",
        summary="Take the oldest or the newest of two secrets away.",
        do=_drop,
        query=Trying,
        answer=Changed,
        refusals=_REFUSALS,
        conditional="must",
        tagged=True,
    ),
    Operation(
        method="POST",
        path=f"{_CLIENT}/keys",
        name="addKey",
        summary="Add a second key; both are good until one is dropped.",
        do=_add_key,
        query=Trying,
        body=KeyBody,
        example={"jwk": EXAMPLE_JWK},
        answer=Changed,
        answers={200: "It is there already, or could be added; a dry run.", 201: "Added."},
        refusals=_REFUSALS,
        conditional="must",
        tagged=True,
    ),
    Operation(
        method="DELETE",
        path=f"{_CLIENT}/keys/{{kid:path}}",
        name="dropKey",
        summary="Take one of two credentials away, a key.",
        do=_drop_key,
        query=Trying,
        answer=Changed,
        refusals=_REFUSALS,
        conditional="must",
        tagged=True,
    ),
)
