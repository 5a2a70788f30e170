"""`private_key_jwt`: a JWT that the client signed for this one request (RFC 7523 §3)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ephemera_client import compact
from ephemera_client.errors import TokenRefused
from ephemera_client.jwk import ALGORITHMS
from ephemera_client.replay import Claim
from ephemera_issuer.errors import RequestRefused

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ephemera_client.compact import Compact

    Refused = Callable[[str], RequestRefused]

LONGEST = 60
"""Seconds that an assertion may have ahead of it."""

LEEWAY = 5
"""Seconds by which a client's clock may differ from this one."""

TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_TYPES = frozenset({"jwt", "client-authentication+jwt"})
REFUSED_HEADERS = frozenset({"jwk", "jku", "x5c", "x5u", "crit", "b64", "zip"})
_LONGEST_JTI = 256
_LATEST = 2**53


class Assertion(NamedTuple):
    """An assertion as it came in: nothing of it is true before its signature is verified.

    `client_id` is whose it says it is, `kid` is None where it names no key.
    """

    parts: Compact
    alg: str
    kid: str | None
    client_id: str

    def __repr__(self) -> str:
        return "Assertion()"


def parse(
    parameters: Mapping[str, str], headers: Mapping[bytes, dict[str, Any]] = compact.NO_HEADERS
) -> Assertion:
    """Take the assertion of a form apart; `headers` are those decoded before, see `compact.parse`.

    Raises:
        ValueError: There is none, or none that a signature could make good.
    """
    if parameters.get("client_assertion_type") != TYPE:
        raise ValueError("another type of assertion, or none")
    raw = parameters.get("client_assertion", "")
    return take_apart(raw, headers, otherwise=parameters.get("client_id"))


def take_apart(
    raw: str,
    headers: Mapping[bytes, dict[str, Any]] = compact.NO_HEADERS,
    *,
    otherwise: str | None = None,
) -> Assertion:
    """Take an assertion apart, which is `otherwise`'s where it does not say whose.

    Raises:
        ValueError: It is none that a signature could make good.
    """
    try:
        parts = compact.parse(raw, headers)
    except TokenRefused as error:
        raise ValueError(str(error)) from None
    alg, kid = parts.header.get("alg"), parts.header.get("kid")
    if alg not in ALGORITHMS or not (kid is None or isinstance(kid, str)):
        raise ValueError("no algorithm of ours, or a kid that is not text")
    for client_id in (parts.claims.get("sub"), parts.claims.get("iss"), otherwise):
        if isinstance(client_id, str):
            return Assertion(parts, alg, kid, client_id)
    raise ValueError("nobody's")


def administration(issuer: str) -> str:
    """The audience of the assertions by which an issuer is administered, and of no others."""
    return f"{issuer}/admin"


def accept_from_admin(assertion: Assertion, *, issuer: str, now: float) -> Claim:
    """Do as `accept` for an administrator of the issuer.

    What is spent never meets what clients spend: no client has the name of an audience.
    """
    audience = administration(issuer)
    return _accept(assertion, audience, now, among=audience)


def accept(assertion: Assertion, *, issuer: str, now: float) -> Claim:
    """Check what a genuine assertion says, and return what is to be spent of it.

    To be called once its signature has been verified with a key of its client, and not before:
    the refusals say precisely what to mend.

    Args:
        assertion: Signed by its client.
        issuer: The issuer identifier, which must be its only audience (RFC 7523bis).
        now: Unix seconds.

    Raises:
        RequestRefused: `invalid_client`.
    """
    return _accept(assertion, issuer, now, among=assertion.client_id)


def _accept(assertion: Assertion, audience: str, now: float, *, among: str) -> Claim:
    header, claims = assertion.parts.header, assertion.parts.claims
    if not REFUSED_HEADERS.isdisjoint(header):
        raise refused(f"the header must not carry {min(REFUSED_HEADERS & header.keys())}")
    typ = header.get("typ", "JWT")
    if not isinstance(typ, str) or typ.lower() not in _TYPES:
        raise refused("typ must be client-authentication+jwt, JWT or absent")
    for name in ("iss", "sub"):
        if name not in claims:
            raise refused(f"{name} is missing: it must be the client_id")
        if claims[name] != assertion.client_id:
            raise refused("iss and sub must both be the client_id")
    if claims.get("aud") != audience:
        _check_audience(claims, audience)
    issued_at, expires_at = _check_times(claims, now)
    jti = _jti(claims)
    return Claim("assertion", among, assertion.client_id, jti, issued_at, expires_at)


def refused(why: str) -> RequestRefused:
    """Make the refusal of a genuine assertion."""
    return RequestRefused("invalid_client", f"assertion {why}")


def audience_of(claims: Mapping[str, Any]) -> str | None:
    """Return the one audience of a JWT, which may stand in a list of one (RFC 7519 §4.1.3)."""
    match claims.get("aud"):
        case str(audience) | [str(audience)]:
            return audience
        case _:
            return None


def second(claims: Mapping[str, Any], name: str, refused: Refused) -> int:
    """Return a moment in Unix seconds; `refused` makes the refusal of what is none.

    Raises:
        RequestRefused: It is missing, or no whole number.
    """
    if name not in claims:
        raise refused(f"{name} is missing")
    moment = claims[name]
    if type(moment) is not int or not 0 <= moment <= _LATEST:
        raise refused(f"{name} must be a whole number of Unix seconds")
    return moment


def _check_audience(claims: dict[str, Any], issuer: str) -> None:
    if "aud" not in claims:
        raise refused(f"aud is missing: it must be {issuer}")
    audience = audience_of(claims)
    if audience == issuer:
        return
    if audience is None:
        raise refused(f"aud must be {issuer} alone")
    if audience == f"{issuer}/":
        raise refused(f"aud must be {issuer}, without the slash at its end")
    if audience.startswith(f"{issuer}/"):
        raise refused(f"aud must be {issuer}, not the token endpoint")
    raise refused(f"aud must be {issuer}")


def _check_times(claims: dict[str, Any], now: float) -> tuple[int, int]:
    issued_at, expires_at = claims.get("iat"), claims.get("exp")
    if not (type(issued_at) is type(expires_at) is int and 0 <= issued_at < expires_at <= _LATEST):
        issued_at, expires_at = second(claims, "iat", refused), second(claims, "exp", refused)
    if issued_at > now + LEEWAY:
        raise refused("iat lies ahead: compare the clocks")
    if "nbf" in claims and second(claims, "nbf", refused) > now + LEEWAY:
        raise refused("nbf lies ahead: compare the clocks")
    if expires_at <= issued_at:
        raise refused("exp must lie after iat")
    if now >= expires_at + LEEWAY:
        raise refused("has expired: make a new one for each request")
    # By the client's own clock, as far as that may differ.
    if expires_at > max(now, issued_at) + LONGEST:
        raise refused(f"exp must lie {LONGEST} seconds ahead at most")
    return issued_at, expires_at


def _jti(claims: dict[str, Any]) -> str:
    if "jti" not in claims:
        raise refused("jti is missing")
    jti = claims["jti"]
    if not isinstance(jti, str) or not 0 < len(jti) <= _LONGEST_JTI:
        raise refused(f"jti must be a string of 1 to {_LONGEST_JTI} characters")
    return jti
