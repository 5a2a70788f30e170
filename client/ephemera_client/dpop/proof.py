"""The proof that a caller holds a key (RFC 9449 section 4.3), checked: pure, for every server."""

import base64
import hashlib
from typing import Any, NamedTuple

from ephemera_client import compact, jwk
from ephemera_client.compact import Compact
from ephemera_client.dpop.nonces import DPoPNonces
from ephemera_client.dpop.target import target
from ephemera_client.errors import (
    JwkInvalid,
    ProofInvalid,
    ProofKeyMismatch,
    ProofMismatch,
    ProofNonceRequired,
    ProofStale,
    TokenRefused,
)
from ephemera_client.jwk import VerificationKey

TYPE = "dpop+jwt"
MAX_LENGTH = 4096
MAX_AGE = 60
"""Seconds after which a proof without a nonce is too old."""
LEEWAY = 5
"""Seconds by which a caller's clock may be ahead."""

# By RFC 9864, Ed25519 is what RFC 8037 calls EdDSA; of the two, callers write either.
ALGORITHMS = {"ES256": "ES256", "Ed25519": "EdDSA", "EdDSA": "EdDSA", "RS256": "RS256"}
"""What proofs may be signed with, and the algorithm of the key that it takes."""

_TYPES = frozenset({TYPE, f"application/{TYPE}"})
_NEVER = frozenset({"crit", "b64", "zip", "jku", "x5u", "x5c"})
_MOST_TEXT = 256
_LATEST = 2**53
_REMEMBERED = 1024


class Proven(NamedTuple):
    """What a good proof shows: the key, and for how long the `jti` must not come again.

    Times are Unix seconds; `issued_at` is that of the nonce, where the server gives such.
    """

    thumbprint: str
    jti: str
    issued_at: int
    expires_at: int


class KnownKeys:
    """Headers that good proofs had, with their keys: a caller writes the same one each time."""

    __slots__ = ("headers", "keys")

    def __init__(self) -> None:
        self.headers: dict[bytes, dict[str, Any]] = {}
        self.keys: dict[bytes, tuple[VerificationKey, str]] = {}

    def keep(self, parts: Compact, key: VerificationKey, thumbprint: str) -> None:
        """Remember the header of a good proof; of too many, none."""
        if len(self.keys) >= _REMEMBERED:
            self.keys.clear()
            self.headers.clear()
        self.keys[parts.header_segment] = key, thumbprint
        self.headers[parts.header_segment] = parts.header


def check(  # noqa: PLR0913 - what a proof is compared with, each by its name
    raw: str,
    *,
    method: str,
    url: str,
    token: str | None,
    thumbprint: str | None,
    nonces: DPoPNonces | None,
    now: float,
    max_age: int = MAX_AGE,
    known: KnownKeys,
) -> Proven:
    """Check a proof against the request that it came with.

    Whether its `jti` came before is for the replay cache to say, afterwards.

    Args:
        raw: the value of the one DPoP header.
        method: of the request.
        url: of the request, as the caller sees it; its query counts for nothing.
        token: the access token that came along; None at a token endpoint.
        thumbprint: of the key that the token is bound to; None where it is about to be.
        nonces: those of this server, where proofs must hold one. The age of a proof is then that of
            its nonce, by this server's clock alone.
        now: Unix seconds.
        max_age: seconds for which a proof is good, where there are no nonces.
        known: keeps the keys of good proofs.

    Raises:
        ProofRefused: the class of the first check that fails.
    """
    parts = _parse(raw, known)
    key, of_key = known.keys.get(parts.header_segment) or _key(parts.header)
    if thumbprint is not None and of_key != thumbprint:
        raise ProofKeyMismatch("the proof is by another key than the one the token is bound to")
    claims = parts.claims
    _check_request(claims, method, url)
    if token is not None and claims.get("ath") != token_hash(token):
        raise ProofMismatch("ath is not the hash of the token that came along")
    jti, issued_at = claims.get("jti"), claims.get("iat")
    if not isinstance(jti, str) or not 0 < len(jti) <= _MOST_TEXT:
        raise ProofInvalid(f"jti of the proof is not a string of 1 to {_MOST_TEXT} characters")
    if type(issued_at) is not int or not 0 <= issued_at <= _LATEST:
        raise ProofInvalid("iat of the proof is not a whole number of Unix seconds")
    if nonces is None:
        _check_age(issued_at, max_age, now)
    if not key.verify(parts.signing_input, parts.signature):
        raise ProofInvalid("the signature is not that of the key in the proof")
    if nonces is not None:
        made_at = nonces.made_at(claims.get("nonce"), now=now)
        if made_at is None:
            raise nonce_required(nonces, now)
        issued_at, max_age = made_at, nonces.max_age
    known.keep(parts, key, of_key)
    return Proven(of_key, jti, issued_at, issued_at + max_age + LEEWAY)


def nonce_required(nonces: DPoPNonces, now: float) -> ProofNonceRequired:
    """Make the challenge that brings the caller a nonce."""
    return ProofNonceRequired("the proof must hold a nonce of this server", nonce=nonces.make(now))


def token_hash(token: str) -> str:
    """Return the `ath` of a token (section 4.2)."""
    digest = hashlib.sha256(token.encode("ascii", "replace")).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def _parse(raw: str, known: KnownKeys) -> Compact:
    if len(raw) > MAX_LENGTH:
        raise ProofInvalid(f"the proof is longer than {MAX_LENGTH} characters")
    try:
        return compact.parse(raw, headers=known.headers)
    except TokenRefused:
        pass
    # Raised out here, so that no cause goes along that speaks of a token.
    raise ProofInvalid("the proof is not a JWS in compact form with strict JSON objects")


def _key(header: dict[str, Any]) -> tuple[VerificationKey, str]:
    typ, alg, members = header.get("typ"), header.get("alg"), header.get("jwk")
    if not isinstance(typ, str) or typ.lower() not in _TYPES:
        raise ProofInvalid(f"typ of the proof is not {TYPE}")
    if not isinstance(alg, str) or alg not in ALGORITHMS:
        raise ProofInvalid(f"alg of the proof is not {', '.join(ALGORITHMS)}")
    if not _NEVER.isdisjoint(header):
        raise ProofInvalid("the header of the proof holds crit, b64, zip, jku, x5u or x5c")
    if not isinstance(members, dict):
        raise ProofInvalid("the header of the proof holds no jwk")
    try:
        of_key = jwk.thumbprint(members)
        key = jwk.parse(members | {"kid": of_key, "alg": members.get("alg", ALGORITHMS[alg])})
    except JwkInvalid as error:
        reason = str(error)
    else:
        if key.alg == ALGORITHMS[alg]:
            return key, of_key
        reason = f"it is for {key.alg}"
    raise ProofInvalid(f"the jwk of the proof cannot be used: {reason}")


def _check_age(issued_at: int, max_age: int, now: float) -> None:
    if issued_at > now + LEEWAY:
        raise ProofStale("the proof was made in the future: compare the clocks")
    if issued_at <= now - max_age:
        raise ProofStale(f"the proof is older than {max_age} s: one is made for each request")


def _check_request(claims: dict[str, Any], method: str, url: str) -> None:
    if claims.get("htm") != method:
        raise ProofMismatch("htm is not the method of the request")
    htu = claims.get("htu")
    if not isinstance(htu, str):
        raise ProofInvalid("htu of the proof is missing or not a string")
    if htu == url.partition("?")[0]:
        return  # as nearly always: spelled alike, they are alike
    try:
        same = target(htu) == target(url)
    except ValueError:
        same = False
    if not same:
        raise ProofMismatch("htu is not the URL of the request, as this server is reached")
