"""`ephemera explain`: what a client would get, and the rule that decides it."""

from __future__ import annotations

import difflib
from contextlib import closing
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlencode

import typer

from ephemera_client import instant
from ephemera_issuer import form
from ephemera_issuer.cli.clients import known_clients
from ephemera_issuer.cli.output import Json, moment, print_json
from ephemera_issuer.database import open_database
from ephemera_issuer.errors import PolicyRefused, RequestRefused, Unavailable
from ephemera_issuer.policy import MAXIMUM_LIFETIME, Decision, Rule, decide, require_settled
from ephemera_issuer.registry.clients import find_client
from ephemera_issuer.registry.store import read_registry
from ephemera_issuer.revocation.store import read_revocations
from ephemera_issuer.settings import Settings

if TYPE_CHECKING:
    from ephemera_issuer.form import TokenRequest
    from ephemera_issuer.registry.entries import Registry
    from ephemera_issuer.revocation.entries import Revocations

REFUSED = 3


def explain(
    *,
    client: Annotated[
        str, typer.Option(help="Who would ask.", metavar="ID", autocompletion=known_clients)
    ],
    audience: Annotated[str, typer.Option(help="The API that it would ask for.", metavar="URI")],
    scope: Annotated[
        list[str] | None,
        typer.Option(help="A scope that it would ask for, repeatable; all granted if left out."),
    ] = None,
    lifetime: Annotated[
        int | None, typer.Option(help="Seconds that it would ask for.", metavar="SECONDS")
    ] = None,
    as_json: Json = False,
) -> None:
    """Say what a token request would get, and the rule that decides it.

    It is decided by what decides at the issuer, on the registry as it is now. Status 3: refused.
    """
    if not all(text.isprintable() for text in (client, audience, *(scope or []))):
        raise typer.BadParameter("ids, URIs and scopes are printable text")
    registry, revocations, now = _read()
    document: dict[str, Any] = {"client": client, "audience": audience}
    try:
        request = _request(audience, scope or [], lifetime)
        decision = decide(registry, find_client(registry, client), request)
        require_settled(revocations, decision, now)
    except PolicyRefused as error:
        because = _why_not(registry, client, request, error.rule)
        document |= _refusal(error) | {"rule": error.rule.value, "because": because}
    except Unavailable as error:
        because = _why_later(revocations.cut_off(client, audience), error.retry_after)
        document |= _refusal(error) | {"rule": "cut_off", "because": because}
    except RequestRefused as error:
        because = "the request is malformed, whoever sends it"
        document |= _refusal(error) | {"rule": "request_malformed", "because": because}
    else:
        document |= _granted(decision) | {"because": _why(registry, decision)}
    document["registry_version"] = registry.version
    if as_json:
        print_json(document)
    else:
        typer.echo(_text(document))
    if not document["granted"]:
        raise typer.Exit(REFUSED)


def _read() -> tuple[Registry, Revocations, float]:
    """Read what decides, as one moment saw it."""
    with (
        closing(open_database(Settings().database_url, create=False)) as database,
        database.read() as connection,
    ):
        now = instant.read().wall
        return read_registry(connection), read_revocations(connection, now=now), now


def _request(audience: str, scopes: list[str], lifetime: int | None) -> TokenRequest:
    """Parse what the client would send, by the parser that would read it."""
    fields = {"grant_type": "client_credentials", "audience": audience, "scope": " ".join(scopes)}
    if lifetime is not None:
        fields["lifetime"] = str(lifetime)
    return form.parse(form.parameters(urlencode(fields).encode(), form.TOKEN_REQUEST))


def _granted(decision: Decision) -> dict[str, Any]:
    return {
        "granted": True,
        "scopes": decision.scope.split(),
        "lifetime": decision.lifetime,
        "single_use": decision.single_use,
        "dpop": "required" if decision.dpop_required else "optional",
        "rule": decision.rule.value,
    }


def _refusal(error: RequestRefused) -> dict[str, Any]:
    return {"granted": False, "error": error.error, "error_description": error.description}


def _why(registry: Registry, decision: Decision) -> str:
    grant = registry.grants[decision.client_id, decision.audience]
    limits = {
        Rule.ASKED_LIFETIME: "is what was asked for",
        Rule.DEFAULT_LIFETIME: "is the default, since none was asked for",
        Rule.GRANT_LIFETIME: "is the grant's max_lifetime",
        Rule.AUDIENCE_LIFETIME: "is the audience's max_lifetime",
        Rule.MAXIMUM_LIFETIME: f"is the most there is, {MAXIMUM_LIFETIME} s",
    }
    return (
        f"the grant {grant.client} -> {grant.audience} allows {' '.join(sorted(grant.scopes))}; "
        f"the lifetime {limits[decision.rule]}"
    )


def _why_not(registry: Registry, client: str, request: TokenRequest, rule: Rule) -> str:
    audience = request.audience
    match rule:
        case Rule.CLIENT_DISABLED:
            return f"{client} is disabled; `ephemera clients enable {client}` ends that"
        case Rule.AUDIENCE_DISABLED:
            return f"the audience {audience} is disabled by its registry file"
        case Rule.SCOPE_NOT_GRANTED:
            missing = (request.scopes or frozenset()) - registry.grants[client, audience].scopes
            return f"the grant {client} -> {audience} lacks {' '.join(sorted(missing))}"
        case _ if audience not in registry.audiences:
            near = difflib.get_close_matches(audience, registry.audiences, n=1)
            return f"there is no audience {audience}" + (
                f"; did you mean {near[0]}?" if near else ""
            )
        case _:
            return f"what is not granted is refused, and there is no grant {client} -> {audience}"


def _why_later(cut_off: int, seconds: int) -> str:
    return (
        f"what was minted up to {moment(cut_off)} was revoked, and a token of now would be too; "
        f"the same request is granted {seconds} s from now"
    )


def _text(document: dict[str, Any]) -> str:
    verdict = "gets a token" if document["granted"] else "gets no token"
    if document["granted"]:
        rows = {
            "scopes": " ".join(document["scopes"]),
            "lifetime": f"{document['lifetime']} s",
            "single use": "yes" if document["single_use"] else "no",
            "dpop": document["dpop"],
        }
    else:
        rows = {"answer": f"{document['error']}: {document['error_description']}"}
    rows |= {"because": document["because"], "rule": document["rule"]}
    lines = [f"{document['client']} {verdict} for {document['audience']}"]
    return "\n".join(lines + [f"  {name:<11} {value}" for name, value in rows.items()])
