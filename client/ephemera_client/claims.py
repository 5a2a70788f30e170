"""The checks on a token, and what an accepted one says.

Pure: the key is at hand, the replay cache comes after.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from ephemera_client.compact import Compact
from ephemera_client.errors import (
    AlgorithmRefused,
    AudienceMismatch,
    ClaimInvalid,
    ClaimMissing,
    HeaderRefused,
    InsufficientScope,
    IssuerMismatch,
    KeyUnsuitable,
    LifetimeTooLong,
    SenderConstraintUnverified,
    SignatureInvalid,
    TokenExpired,
    TokenNotYetValid,
    TypeRefused,
)
from ephemera_client.instant import Instant
from ephemera_client.jwk import MAX_KID_LENGTH, VerificationKey
from ephemera_client.token import AccessToken

# Extensions that change what the signature covers, and keys that the token itself would bring.
_NEVER = frozenset({"crit", "b64", "zip", "jwk", "jku", "x5u", "x5c"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What a verifier accepts; `leeway` and `max_lifetime` in seconds."""

    issuer: str
    audience: str
    algorithms: tuple[str, ...]
    leeway: float
    max_lifetime: int


def kid_of(header: Mapping[str, Any], *, algorithms: tuple[str, ...]) -> str:
    """Check a header before any key is looked up, and return its `kid`.

    Raises:
        AlgorithmRefused: `alg` is not among `algorithms`.
        TypeRefused: `typ` is not `at+jwt` or `application/at+jwt` (RFC 9068 §4).
        HeaderRefused: `kid` is missing, or a header is there that must not be.
    """
    if header.get("alg") not in algorithms:
        raise AlgorithmRefused(f"alg is not {' or '.join(algorithms)}")
    typ = header.get("typ")
    if typ != "at+jwt" and not _is_access_token(typ):
        raise TypeRefused("typ is not at+jwt")
    kid = header.get("kid")
    if not isinstance(kid, str) or not 0 < len(kid) <= MAX_KID_LENGTH:
        raise HeaderRefused(f"kid is not a string of 1 to {MAX_KID_LENGTH} characters")
    if not _NEVER.isdisjoint(header):
        raise HeaderRefused("the header holds crit, b64, zip, jwk, jku, x5u or x5c")
    return kid


def accept(
    compact: Compact,
    key: VerificationKey,
    *,
    expected: Expected,
    scopes: Collection[str],
    now: Instant,
) -> AccessToken:
    """Check everything from the signature to the sender constraint.

    Raises:
        TokenRefused: the class of the first check that fails.
    """
    if key.alg != compact.header["alg"]:
        raise KeyUnsuitable(f"the key of this kid is for {key.alg}, the token says otherwise")
    if not key.verify(compact.signing_input, compact.signature):
        raise SignatureInvalid("the signature is not that of the issuer's key")
    claims = compact.claims
    if claims.get("iss") != expected.issuer:
        _check_text(claims, "iss")
        raise IssuerMismatch(f"iss is not {expected.issuer}")
    if claims.get("aud") != expected.audience:
        _check_text(claims, "aud")
        raise AudienceMismatch(f"aud is not {expected.audience}: the token is for another API")
    _check_times(claims, expected, now.wall)
    _check_text(claims, "sub")
    _check_text(claims, "client_id")
    _check_text(claims, "jti")
    granted = _scopes(claims)
    if not granted.issuperset(scopes):
        raise InsufficientScope(
            f"the call needs the scopes {' '.join(sorted(scopes))}", required=scopes
        )
    if "cnf" in claims:
        raise SenderConstraintUnverified("the token is bound to its sender (cnf): not checked here")
    return AccessToken(claims, scopes=granted, accepted_at=now)


def expired(token: AccessToken, *, leeway: float, now: Instant) -> bool:
    """Say whether `exp` has passed, even if the wall clock was set back since `accepted_at`."""
    return token.expires_at <= token.accepted_at.wall + now.since(token.accepted_at) - leeway


def _is_access_token(typ: object) -> bool:
    # Media types are case-insensitive, and so is the prefix that may be left out (RFC 7515 §4.1.9).
    return isinstance(typ, str) and typ.lower() in {"at+jwt", "application/at+jwt"}


def _check_times(claims: Mapping[str, Any], expected: Expected, wall: float) -> None:
    issued_at, expires_at = claims.get("iat"), claims.get("exp")
    if type(issued_at) is not int or type(expires_at) is not int:
        raise _whole_seconds(claims, "iat" if type(issued_at) is not int else "exp")
    # The leeway moves the clock and not the claims: those may be integers past any float.
    if expires_at <= wall - expected.leeway:
        raise TokenExpired("the token has expired")
    latest = wall + expected.leeway
    if issued_at > latest:
        raise TokenNotYetValid("the token was issued in the future: compare the clocks")
    if "nbf" in claims:
        not_before = claims["nbf"]
        if type(not_before) is not int:
            raise _whole_seconds(claims, "nbf")
        if not_before > latest:
            raise TokenNotYetValid("the token is not valid yet: compare the clocks")
    if expires_at <= issued_at:
        raise ClaimInvalid("exp is not after iat")
    if expires_at - issued_at > expected.max_lifetime:
        raise LifetimeTooLong(f"the token lives longer than {expected.max_lifetime} s")


def _scopes(claims: Mapping[str, Any]) -> frozenset[str]:
    scope = claims.get("scope", "")
    if not isinstance(scope, str):
        raise ClaimInvalid("scope is not a string")
    scopes = frozenset(scope.split(" ")) if scope else frozenset[str]()
    if "" in scopes:
        raise ClaimInvalid("scope is not a list separated by single spaces")
    return scopes


def _check_text(claims: Mapping[str, Any], name: str) -> None:
    value = claims.get(name)
    if isinstance(value, str) and value:
        return
    if name not in claims:
        raise ClaimMissing(f"{name} is missing")
    raise ClaimInvalid(f"{name} is not a string with something in it")


def _whole_seconds(claims: Mapping[str, Any], name: str) -> ClaimMissing | ClaimInvalid:
    if name in claims:
        return ClaimInvalid(f"{name} is not a whole number of seconds")
    return ClaimMissing(f"{name} is missing")
