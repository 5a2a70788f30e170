"""Tokens that come back: is it one that this issuer signed, and what does it say."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ephemera_client import compact, jwk
from ephemera_client.errors import TokenRefused

if TYPE_CHECKING:
    from ephemera_keys import KeyRing


class IssuedToken(NamedTuple):
    """What an own token says. Times are Unix seconds.

    `thumbprint` is of the key that it is bound to, or None.
    """

    kid: str
    issuer: str
    client_id: str
    audience: str
    scope: str
    issued_at: int
    expires_at: int
    jti: str
    thumbprint: str | None = None


def recognise(raw: str, *, issuer: str, ring: KeyRing) -> IssuedToken | None:
    """Read a token that one of the published keys signed for `issuer`; None for anything else.

    What a revoked or removed key signed is nothing any more. Whether the token has expired or is
    revoked is not looked at here.
    """
    try:
        parts = compact.parse(raw)
    except TokenRefused:
        return None
    for record in ring.published:
        # The mint writes this header and no other.
        if parts.header == {"alg": record.alg, "typ": "at+jwt", "kid": record.kid}:
            key = jwk.parse(record.jwk)
            break
    else:
        return None
    if not key.verify(parts.signing_input, parts.signature) or parts.claims.get("iss") != issuer:
        return None
    claims = parts.claims
    return IssuedToken(
        key.kid,
        issuer,
        claims["client_id"],
        claims["aud"],
        claims["scope"],
        claims["iat"],
        claims["exp"],
        claims["jti"],
        claims["cnf"]["jkt"] if "cnf" in claims else None,
    )
