"""The checks on a token, and what an accepted one says.

Pure: the key is at hand, the replay cache comes after.
"""

from collections.abc import Collection, Mapping
from functools import lru_cache
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
from ephemera_client.expected import RFC9068, Expected, Profile
from ephemera_client.instant import Instant
from ephemera_client.jwk import MAX_KID_LENGTH, VerificationKey
from ephemera_client.revocations.revoked import Revoked
from ephemera_client.token import AccessToken, ForeignAccessToken

# Extensions that change what the signature covers, and keys that the token itself would bring.
_NEVER = frozenset({"crit", "b64", "zip", "jwk", "jku", "x5u", "x5c"})


def kid_of(header: Mapping[str, Any], *, expected: Expected) -> str:
    """Check a header before any key is looked up, and return its `kid`.

    Raises:
        AlgorithmRefused: `alg` is not one that is expected.
        TypeRefused: nor is `typ`: `at+jwt` or `application/at+jwt` (RFC 9068 §4).
        HeaderRefused: `kid` is missing, or a header is there that must not be.
    """
    if header.get("alg") not in expected.algorithms:
        raise AlgorithmRefused(f"alg is not {' or '.join(expected.algorithms)}")
    if header.get("typ") != "at+jwt" or expected.profile is not RFC9068:
        _check_type(header, expected.profile.types)
    kid = header.get("kid")
    if not isinstance(kid, str) or not 0 < len(kid) <= MAX_KID_LENGTH:
        raise HeaderRefused(f"kid is not a string of 1 to {MAX_KID_LENGTH} characters")
    if not _NEVER.isdisjoint(header):
        raise HeaderRefused("the header holds crit, b64, zip, jwk, jku, x5u or x5c")
    return kid


def check(compact: Compact, key: VerificationKey, expected: Expected, now: Instant) -> None:
    """Check everything from the signature to who it is that calls.

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
        _check_audience(claims, expected)
    _check_times(claims, expected, now.wall)
    profile = expected.profile
    sub, client, jti = claims.get("sub"), claims.get(profile.client_claim), claims.get("jti")
    if not (sub and client and jti) or not (type(sub) is type(client) is type(jti) is str):
        _check_text(claims, "sub")
        _check_text(claims, profile.client_claim)
        if "jti" in claims or not profile.jti_optional:
            _check_text(claims, "jti")


def withdrawn(compact: Compact, revoked: Revoked, *, expected: Expected) -> bool:
    """Say whether a token whose claims are checked is among what the issuer has revoked."""
    claims = compact.claims
    return revoked.revokes(
        kid=compact.header["kid"],
        client=claims[expected.profile.client_claim],
        audience=expected.audience,
        issued_at=claims["iat"],
        expires_at=claims["exp"],
        token_id=claims.get("jti", ""),
    )


def accept(
    compact: Compact,
    expected: Expected,
    scopes: Collection[str],
    now: Instant,
    *,
    proof_follows: bool,
) -> AccessToken:
    """Check the scopes and the sender constraint of a token whose other claims are checked.

    With `proof_follows`, it is the caller who checks that constraint next.

    Raises:
        InsufficientScope: it lacks one of `scopes`.
        ClaimInvalid: what it says of its scopes cannot be read.
        SenderConstraintUnverified: it is bound to its sender.
    """
    claims, profile = compact.claims, expected.profile
    scope = claims.get(profile.scope_claim, "")
    granted = _split(scope) if type(scope) is str else _listed(scope, profile)
    if not granted.issuperset(scopes):
        raise InsufficientScope(
            f"the call needs the scopes {' '.join(sorted(scopes))}", required=scopes
        )
    if "cnf" in claims and not proof_follows:
        raise SenderConstraintUnverified("the token is bound to its sender (cnf): no proof came")
    kid = compact.header["kid"]
    if profile is RFC9068:
        return AccessToken(claims, kid, granted, now)
    return ForeignAccessToken(
        claims,
        kid,
        granted,
        now,
        client_id=claims[profile.client_claim],
        audience=expected.audience,
    )


def expired(token: AccessToken, *, leeway: float, now: Instant) -> bool:
    """Say whether `exp` has passed, even if the wall clock was set back since `accepted_at`."""
    return past(token.expires_at, leeway, token.accepted_at, now)


def past(expires_at: int, leeway: float, since: Instant, now: Instant) -> bool:
    """Say whether `expires_at` has passed `now`, by whichever clock went on more `since` then."""
    wall, monotonic = now
    return (
        expires_at <= wall - leeway
        or expires_at <= since.wall + (monotonic - since.monotonic) - leeway
    )


def _check_type(header: Mapping[str, Any], types: tuple[str | None, ...]) -> None:
    # Media types are case-insensitive, and so is the prefix that may be left out (RFC 7515 §4.1.9).
    typ = header.get("typ")
    known = typ.lower().removeprefix("application/") if isinstance(typ, str) else None
    if known not in types or (known is None and "typ" in header):
        raise TypeRefused(f"typ is not {' or '.join(name or 'absent' for name in types)}")


def _check_audience(claims: Mapping[str, Any], expected: Expected) -> None:
    audiences = claims.get("aud")
    if not expected.profile.audience_list or not isinstance(audiences, list):
        _check_text(claims, "aud")
    elif not all(isinstance(audience, str) for audience in audiences):
        raise ClaimInvalid("aud is not a list of strings")
    elif expected.audience in audiences:
        return
    raise AudienceMismatch(f"aud is not {expected.audience}: the token is for another API")


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


def _listed(scope: object, profile: Profile) -> frozenset[str]:
    name = profile.scope_claim
    if not isinstance(scope, list) or not profile.scope_list:
        raise ClaimInvalid(f"{name} is not a string")
    if not all(isinstance(one, str) and one and " " not in one for one in scope):
        raise ClaimInvalid(f"{name} is not a list of scopes")
    return frozenset(scope)


@lru_cache(maxsize=1024)
def _split(scope: str) -> frozenset[str]:
    # Kept, since the callers of an API bring the same few; and all of them signed by the issuer.
    scopes = frozenset(scope.split(" ")) if scope else frozenset()
    if "" in scopes:
        raise ClaimInvalid("the scopes are not a list separated by single spaces")
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
