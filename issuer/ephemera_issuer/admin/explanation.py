"""Why a client would get a token, or would not: decided by what decides at the issuer."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from ephemera_issuer import form
from ephemera_issuer.admin.documents import moment
from ephemera_issuer.errors import PolicyRefused, RequestRefused, Unavailable
from ephemera_issuer.policy import MAXIMUM_LIFETIME, Decision, Rule, decide, require_settled
from ephemera_issuer.registry.clients import find_client
from ephemera_issuer.registry.store import read_registry
from ephemera_issuer.revocation.store import read_revocations

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ephemera_client.instant import Clock
    from ephemera_issuer.admin.documents import Document
    from ephemera_issuer.database import Database
    from ephemera_issuer.form import TokenRequest
    from ephemera_issuer.registry.entries import Registry


def explain(  # noqa: PLR0913 - what a request is made of
    database: Database,
    *,
    client: str,
    audience: str,
    scopes: Sequence[str],
    lifetime: int | None,
    clock: Clock,
) -> Document:
    """Decide a request on the registry as it is now, and name the rule that decides.

    Raises:
        UnknownClient: There is no such client.
        DatabaseUnusable: Nobody knows.
    """
    with database.read() as connection:
        now = clock().wall
        registry = read_registry(connection)
        revocations = read_revocations(connection, now=now)
    document: Document = {"client": client, "audience": audience}
    try:
        request = _request(audience, scopes, lifetime)
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
    return document | {"registry_version": registry.version}


def _request(audience: str, scopes: Sequence[str], lifetime: int | None) -> TokenRequest:
    """Parse what the client would send, by the parser that would read it."""
    fields = {"grant_type": "client_credentials", "audience": audience, "scope": " ".join(scopes)}
    if lifetime is not None:
        fields["lifetime"] = str(lifetime)
    return form.parse(form.parameters(urlencode(fields).encode(), form.TOKEN_REQUEST))


def _granted(decision: Decision) -> Document:
    return {
        "granted": True,
        "scopes": decision.scope.split(),
        "lifetime": decision.lifetime,
        "single_use": decision.single_use,
        "dpop": "required" if decision.dpop_required else "optional",
        "rule": decision.rule.value,
    }


def _refusal(error: RequestRefused) -> Document:
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
