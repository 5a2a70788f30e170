"""Who may have what: the one decision behind every token. Whatever is not granted is refused."""

from __future__ import annotations

from enum import Enum
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from ephemera_issuer.errors import PolicyRefused, Unavailable
from ephemera_keys.ring import LONGEST_LIFETIME

if TYPE_CHECKING:
    from ephemera_issuer.form import TokenRequest
    from ephemera_issuer.registry.entries import Client, Registry
    from ephemera_issuer.revocation.entries import Revocations
    from ephemera_issuer.snapshot import Snapshot

DEFAULT_LIFETIME = 120
MAXIMUM_LIFETIME = LONGEST_LIFETIME
"""Seconds. The retention of retired keys counts on it, so no setting raises it."""


class Rule(Enum):
    """What decided: for a refusal what is in the way, else what set the lifetime."""

    CLIENT_DISABLED = "client_disabled"
    NO_GRANT = "no_grant"
    AUDIENCE_DISABLED = "audience_disabled"
    SCOPE_NOT_GRANTED = "scope_not_granted"
    ASKED_LIFETIME = "asked_lifetime"
    DEFAULT_LIFETIME = "default_lifetime"
    GRANT_LIFETIME = "grant_lifetime"
    AUDIENCE_LIFETIME = "audience_lifetime"
    MAXIMUM_LIFETIME = "maximum_lifetime"


class Decision(NamedTuple):
    """What a token may say; `scope` is in alphabetical order, `lifetime` in seconds.

    Where `dpop_required`, it must be bound to a key that the caller proves.
    """

    client_id: str
    audience: str
    scope: str
    lifetime: int
    single_use: bool
    rule: Rule
    dpop_required: bool = False


def decide(held: Snapshot | Registry, client: Client, request: TokenRequest) -> Decision:
    """Decide what an authenticated client gets: all that it asked for, or nothing.

    Raises:
        PolicyRefused: `unauthorized_client` where the client is disabled, `invalid_target` where
            it has no grant for the audience (existing or not) or the audience is disabled,
            `invalid_scope` where the grant lacks one of the scopes.
    """
    require_enabled(client)
    grant = held.grants.get((client.id, request.audience))
    if grant is None:
        raise PolicyRefused(
            "invalid_target", "this client has no grant for that audience", rule=Rule.NO_GRANT
        )
    audience = held.audiences[grant.audience]
    if audience.disabled:
        raise PolicyRefused(
            "invalid_target",
            f"{audience.id} is disabled: it gets no tokens until its operators enable it",
            rule=Rule.AUDIENCE_DISABLED,
        )
    if request.scopes is None:
        scopes = grant.scopes
    elif request.scopes <= grant.scopes:
        scopes = request.scopes
    else:
        raise PolicyRefused(
            "invalid_scope",
            f"granted for {audience.id}: {' '.join(sorted(grant.scopes))}",
            rule=Rule.SCOPE_NOT_GRANTED,
        )
    wanted = DEFAULT_LIFETIME if request.lifetime is None else request.lifetime
    lifetime = min(wanted, grant.max_lifetime, audience.max_lifetime, MAXIMUM_LIFETIME)
    if lifetime == wanted:
        rule = Rule.DEFAULT_LIFETIME if request.lifetime is None else Rule.ASKED_LIFETIME
    elif lifetime == grant.max_lifetime:
        rule = Rule.GRANT_LIFETIME
    elif lifetime == audience.max_lifetime:
        rule = Rule.AUDIENCE_LIFETIME
    else:
        rule = Rule.MAXIMUM_LIFETIME
    return Decision(
        client.id,
        audience.id,
        _spelled(scopes),
        lifetime,
        audience.single_use,
        rule,
        audience.dpop_required,
    )


@lru_cache(maxsize=1024)
def _spelled(scopes: frozenset[str]) -> str:
    return " ".join(sorted(scopes))


def require_enabled(client: Client) -> None:
    """Refuse a client that was disabled; to be said only to one that proved who it is.

    Raises:
        PolicyRefused: `unauthorized_client`.
    """
    if client.disabled:
        raise PolicyRefused(
            "unauthorized_client",
            f"{client.id} is disabled: nothing is issued to it until an operator enables it",
            rule=Rule.CLIENT_DISABLED,
        )


def require_settled(revocations: Revocations, decision: Decision, now: float) -> None:
    """Refuse to mint what would be born revoked; `now` is in Unix seconds.

    Raises:
        Unavailable: Until the moment of the pair's cut-off has passed.
    """
    seconds = revocations.unsettled(decision.client_id, decision.audience, now)
    if seconds:
        raise Unavailable("tokens of this client were revoked just now", retry_after=seconds)
