"""Federated identities: the token of another issuer, as a client assertion (RFC 7523 §3).

Kubernetes, CI systems and SPIFFE give their workloads such tokens; a client that has one needs no
secret. They are made for other rules than `private_key_jwt`: they may live for hours, `sub` is not
the client, their audience may be a list of one, a `jti` is rare.
"""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING, Any, NamedTuple

from ephemera_client.replay import Claim
from ephemera_issuer.authentication.assertion import LEEWAY, REFUSED_HEADERS, audience_of, second
from ephemera_issuer.errors import RequestRefused

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ephemera_client.compact import Compact
    from ephemera_issuer.authentication.assertion import Assertion
    from ephemera_issuer.registry.entries import Client, Identity, TrustedIssuer

_TYPES = frozenset({"jwt", "jose"})
_SPIFFE = "spiffe://"
_LONGEST_SUBJECT = 1024


class Federated(NamedTuple):
    """What a genuine token of a trusted issuer says.

    `spending` is what is to be spent of it; None where it may be presented again.
    """

    subject: str
    claims: Mapping[str, Any]
    spending: Claim | None

    def __repr__(self) -> str:
        return "Federated()"


def issuer_of(
    presented: Assertion, issuers: Mapping[str, TrustedIssuer], *, ours: str
) -> TrustedIssuer | None:
    """Find the trusted issuer that an assertion says it is of; None where it is the client's own.

    A SPIFFE JWT-SVID may have no `iss`: its `sub` begins with the trust domain that issued it. Of
    `ours` nothing is a credential, whatever the registry says.
    """
    claims = presented.parts.claims
    issuer, subject = claims.get("iss"), claims.get("sub")
    if issuer is None and isinstance(subject, str) and subject.startswith(_SPIFFE):
        issuer = _SPIFFE + subject.removeprefix(_SPIFFE).partition("/")[0]
    return issuers.get(issuer) if isinstance(issuer, str) and issuer != ours else None


def accept(parts: Compact, trusted: TrustedIssuer, *, issuer: str, now: float) -> Federated:
    """Check what a genuine token of a trusted issuer says, whoever presents it.

    To be called once its signature has been verified with a key of that issuer. What is wrong is
    said precisely: it is true of any client, so it tells nothing of this one.

    Args:
        parts: Signed by the trusted issuer.
        trusted: That issuer.
        issuer: Our own identifier, which is the audience unless the registry names another.
        now: Unix seconds.

    Raises:
        RequestRefused: `invalid_client`.
    """
    header, claims = parts.header, parts.claims
    if not REFUSED_HEADERS.isdisjoint(header):
        raise refused(f"the header must not carry {min(REFUSED_HEADERS & header.keys())}")
    typ = header.get("typ", "JWT")
    if not isinstance(typ, str) or typ.lower() not in _TYPES:
        # Above all no access token: whoever is called with one could present it here.
        raise refused("typ must be JWT or absent")
    subject = claims.get("sub")
    if not isinstance(subject, str) or not 0 < len(subject) <= _LONGEST_SUBJECT:
        raise refused("sub must be a string")
    audience = trusted.audience or issuer
    if audience_of(claims) != audience:
        raise refused(f"aud must be {audience} alone")
    issued_at, expires_at = _check_times(claims, trusted, now)
    spending = None if trusted.reusable else _spending(parts, trusted, issued_at, expires_at)
    return Federated(subject, claims, spending)


def speaks_for(token: Federated, client: Client, trusted: TrustedIssuer) -> bool:
    """Whether one of the client's identities is the one that the token has."""
    return any(
        identity.issuer == trusted.id and _fits(identity, token) for identity in client.identities
    )


def refused(why: str) -> RequestRefused:
    """Make the refusal of a genuine token of a trusted issuer."""
    return RequestRefused("invalid_client", f"the other issuer's token: {why}")


def _fits(identity: Identity, token: Federated) -> bool:
    if identity.prefix:
        # What follows must be something: the separator at its end alone names nobody.
        fits = token.subject.startswith(identity.subject) and token.subject != identity.subject
    else:
        fits = token.subject == identity.subject
    return fits and all(
        # True equals 1 in Python, and is another value in JSON.
        name in token.claims
        and type(token.claims[name]) is type(wanted)
        and token.claims[name] == wanted
        for name, wanted in identity.claims
    )


def _check_times(claims: dict[str, Any], trusted: TrustedIssuer, now: float) -> tuple[int, int]:
    expires_at = second(claims, "exp", refused)
    # SPIFFE requires no iat; then it cannot have been issued before its longest life began.
    issued_at = (
        second(claims, "iat", refused)
        if "iat" in claims
        else max(0, expires_at - trusted.max_lifetime)
    )
    if issued_at > now + LEEWAY:
        raise refused("iat lies ahead: compare the clocks")
    if "nbf" in claims and second(claims, "nbf", refused) > now + LEEWAY:
        raise refused("nbf lies ahead: compare the clocks")
    if now >= expires_at + LEEWAY:
        raise refused("has expired")
    if not 0 < expires_at - issued_at <= trusted.max_lifetime:
        raise refused(f"must live for {trusted.max_lifetime} seconds at most")
    if expires_at > now + trusted.max_lifetime + LEEWAY:
        raise refused(f"must expire within {trusted.max_lifetime} seconds")
    return issued_at, expires_at


def _spending(parts: Compact, trusted: TrustedIssuer, issued_at: int, expires_at: int) -> Claim:
    # Not the jti, which many issuers leave out and none must keep apart from all others: what was
    # signed is the token itself, however its signature is written.
    digest = base64.urlsafe_b64encode(hashlib.sha256(parts.signing_input).digest()).rstrip(b"=")
    return Claim("federated", trusted.id, "", digest.decode(), issued_at, expires_at)
