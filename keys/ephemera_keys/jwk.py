"""The public half of a signing key as a JWK (RFC 7517, 7518, 8037) and its name (RFC 7638)."""

import json
import re
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from hashlib import sha256
from types import MappingProxyType
from typing import Final

from ephemera_keys.algorithm import JOSE, Algorithm, PrivateKey, require_fit
from ephemera_keys.errors import JWKInvalid

# Per key type, what its thumbprint covers: the members that are required, and no others.
_REQUIRED: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {"EC": ("kty", "crv", "x", "y"), "OKP": ("kty", "crv", "x"), "RSA": ("kty", "n", "e")}
)
_KEY_OF: Final[Mapping[Algorithm, tuple[str, str | None]]] = MappingProxyType(
    {"ES256": ("EC", "P-256"), "EdDSA": ("OKP", "Ed25519"), "RS256": ("RSA", None)}
)
_VALUE = re.compile(r"[A-Za-z0-9_-]+")


def public_jwk(key: PrivateKey, *, alg: Algorithm) -> dict[str, str]:
    """Describe the public half: the key's own members, then `use`, `alg` and `kid`.

    Raises:
        AlgorithmUnsupported: The key does not sign with `alg`.
    """
    require_fit(key, alg)
    encoded = JOSE[alg].to_jwk(key.public_key(), as_dict=True)
    jwk: dict[str, str] = {member: encoded[member] for member in _REQUIRED[encoded["kty"]]}
    return jwk | {"use": "sig", "alg": alg, "kid": thumbprint(jwk)}


def thumbprint(jwk: Mapping[str, object]) -> str:
    """Name a key by the SHA-256 of its required members, base64url (RFC 7638 §3).

    Other members change nothing, so a key keeps its name whatever is said about it. Symmetric
    keys (`oct`) are refused: the name of a guessable secret gives it away (RFC 7638 §7).

    Raises:
        JWKInvalid: `kty` is none of EC, OKP and RSA, or a required member is absent or is not of
            base64url characters.
    """
    kty = jwk.get("kty")
    if not isinstance(kty, str) or kty not in _REQUIRED:
        raise JWKInvalid(f"a JWK's kty must be one of {', '.join(_REQUIRED)}")
    members = {}
    for member in sorted(_REQUIRED[kty]):
        value = jwk.get(member)
        if not isinstance(value, str) or not _VALUE.fullmatch(value):
            raise JWKInvalid(f"the JWK's member {member} is absent or not of base64url characters")
        members[member] = value
    digest = sha256(json.dumps(members, separators=(",", ":")).encode()).digest()
    return urlsafe_b64encode(digest).rstrip(b"=").decode()


def check(jwk: Mapping[str, object]) -> Algorithm:
    """Name the algorithm of a JWK that is just what `public_jwk` makes: no more members, no fewer.

    Only the JWK's form is looked at. That the point is on its curve is the verifier's to ask.

    Raises:
        JWKInvalid: It is something else: it has a private member, say, or another key's kid.
    """
    kid = thumbprint(jwk)
    kind = (jwk.get("alg"), jwk["kty"], jwk.get("crv"))
    fits = [alg for alg, key in _KEY_OF.items() if (alg, *key) == kind]
    if not fits:
        raise JWKInvalid("the JWK's alg is none of ours, or does not go with its kty and crv")
    if jwk.get("use") != "sig":
        raise JWKInvalid("the JWK's use must be sig")
    if jwk.get("kid") != kid:
        raise JWKInvalid(f"the JWK's kid must be its thumbprint, {kid}")
    if jwk.keys() != {*_REQUIRED[str(jwk["kty"])], "use", "alg", "kid"}:
        raise JWKInvalid("the JWK has members that a published key must not have")
    return fits[0]
