"""Who may have what: the one decision behind every token. Whatever is not granted is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ephemera_issuer.errors import RequestRefused
from ephemera_keys.ring import LONGEST_LIFETIME

if TYPE_CHECKING:
    from ephemera_issuer.form import TokenRequest
    from ephemera_issuer.registry.entries import Client
    from ephemera_issuer.snapshot import Snapshot

DEFAULT_LIFETIME = 120
MAXIMUM_LIFETIME = LONGEST_LIFETIME
"""Seconds. The retention of retired keys counts on it, so no setting raises it."""


class Decision(NamedTuple):
    """What a token may say; `scope` is in alphabetical order, `lifetime` in seconds."""

    client_id: str
    audience: str
    scope: str
    lifetime: int
    single_use: bool


def decide(snapshot: Snapshot, client: Client, request: TokenRequest) -> Decision:
    """Decide what an authenticated client gets: all that it asked for, or nothing.

    Raises:
        RequestRefused: `invalid_target` where the client has no grant for the audience (existing
            or not), `invalid_scope` where the grant lacks one of the scopes.
    """
    grant = snapshot.grants.get((client.id, request.audience))
    if grant is None:
        raise RequestRefused("invalid_target", "this client has no grant for that audience")
    audience = snapshot.audiences[grant.audience]
    if audience.disabled:
        raise RequestRefused("invalid_target", f"{audience.id} is disabled")
    if request.scopes is None:
        scopes = grant.scopes
    elif request.scopes <= grant.scopes:
        scopes = request.scopes
    else:
        raise RequestRefused(
            "invalid_scope",
            f"granted for {audience.id}: {' '.join(sorted(grant.scopes))}",
        )
    asked = DEFAULT_LIFETIME if request.lifetime is None else request.lifetime
    return Decision(
        client.id,
        audience.id,
        " ".join(sorted(scopes)),
        min(asked, grant.max_lifetime, audience.max_lifetime, MAXIMUM_LIFETIME),
        audience.single_use,
    )
