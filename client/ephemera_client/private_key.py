"""A client's private key: made, read from PEM or JWK, and signing.

The key is in no repr, pickle or copy, and no error quotes any of it.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, NoReturn, Self

from cryptography.exceptions import InternalError, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ec import generate_private_key as generate_ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key as generate_rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from jwt.exceptions import InvalidKeyError

from ephemera_client import jwk
from ephemera_client.compact import strict_json
from ephemera_client.errors import ConfigurationError, JwkInvalid

MAX_BYTES = 65_536
NEW_RSA_BITS = 3072

Key = EllipticCurvePrivateKey | Ed25519PrivateKey | RSAPrivateKey

_NEW: Mapping[str, Callable[[], Key]] = {
    "ES256": lambda: generate_ec(SECP256R1()),
    "EdDSA": Ed25519PrivateKey.generate,
    "RS256": lambda: generate_rsa(jwk.MIN_RSA_EXPONENT, NEW_RSA_BITS),
}
_PUBLIC = frozenset({"kty", "crv", "x", "y", "n", "e"})
_SIGNING = (["sign"], ["sign", "verify"], ["verify", "sign"])
_LABEL = re.compile(rb"-----BEGIN ([A-Z0-9 ]{0,64})-----")
_TO_PKCS8 = "`openssl pkcs8 -topk8 -nocrypt` writes it in the form needed"


class PrivateKey:
    """A signing key of one algorithm, under one `kid`; safe from any number of threads.

    Raises:
        ConfigurationError: the key is weak or of another kind, or the `kid` is empty or too long.
    """

    __slots__ = ("_key", "_public", "alg", "kid")

    def __init__(self, key: Key, *, kid: str | None = None) -> None:
        self.alg = _algorithm(key)
        self._key = key
        self._public = _public_members(self.alg, key)
        self.kid = jwk.thumbprint(self._public) if kid is None else kid
        try:
            jwk.parse(self.public_jwk())
        except JwkInvalid as error:
            raise ConfigurationError(f"the private key cannot be used: {error}") from None

    @classmethod
    def generate(cls, algorithm: str, *, kid: str | None = None) -> Self:
        """Make a key from the operating system's randomness.

        Raises:
            ConfigurationError: the algorithm is not ES256, EdDSA or RS256.
        """
        if algorithm not in _NEW:
            raise ConfigurationError(f"algorithm must be one of {', '.join(_NEW)}")
        return cls(_NEW[algorithm](), kid=kid)

    @classmethod
    def load(cls, data: bytes, *, algorithm: str | None = None, kid: str | None = None) -> Self:
        """Read the one private key of a PEM (PKCS#8, SEC 1, PKCS#1) or JWK file.

        Args:
            data: the file's content.
            algorithm: what the key must be for; without it, what it is for.
            kid: its name at the issuer; without it the JWK's own, or else its RFC 7638 thumbprint.

        Raises:
            ConfigurationError: there is no such key in it, or it is encrypted, damaged or weak.
        """
        if len(data) > MAX_BYTES:
            raise ConfigurationError(f"over {MAX_BYTES} bytes: no private key is")
        key, own_kid = _from_jwk(data) if data.lstrip()[:1] == b"{" else (_from_pem(data), None)
        loaded = cls(key, kid=own_kid if kid is None else kid)
        if algorithm not in {None, loaded.alg}:
            raise ConfigurationError(f"the private key is for {loaded.alg}, not for {algorithm}")
        return loaded

    def sign(self, message: bytes) -> bytes:
        """Sign in JWS form: for ES256 R and S side by side, not DER (RFC 7518 §3.4)."""
        return bytes(jwk.ENGINES[self.alg].sign(message, self._key))

    def public_jwk(self) -> dict[str, str]:
        """Return the public half, for the issuer's registry."""
        return self._public | {"use": "sig", "alg": self.alg, "kid": self.kid}

    def pem(self) -> bytes:
        """Return the private key as PKCS#8 PEM, in clear text: for a file of mode 0600."""
        return self._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    def __repr__(self) -> str:
        return f"PrivateKey(alg={self.alg!r}, kid={self.kid!r})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a private key is not pickled or copied")


def _algorithm(key: object) -> str:
    match key:
        case EllipticCurvePrivateKey(curve=SECP256R1()):
            return "ES256"
        case Ed25519PrivateKey():
            return "EdDSA"
        case RSAPrivateKey():
            return "RS256"
    raise ConfigurationError(
        "the private key is none of EC on P-256 (ES256), Ed25519 (EdDSA) and RSA (RS256)"
    )


def _public_members(alg: str, key: Key) -> dict[str, str]:
    members = jwk.ENGINES[alg].to_jwk(key.public_key(), as_dict=True)
    return {name: value for name, value in members.items() if name in _PUBLIC}


def _from_pem(data: bytes) -> Key:
    _require_one_private_key(data)
    try:
        key = load_pem_private_key(data, password=None)
    except TypeError:  # cryptography's word for a key that needs a password
        raise ConfigurationError(f"the private key is encrypted; {_TO_PKCS8}") from None
    except (ValueError, UnsupportedAlgorithm, InternalError):
        raise ConfigurationError("the private key is damaged or of an unknown kind") from None
    _algorithm(key)
    return key  # type: ignore[return-value]


def _require_one_private_key(pem: bytes) -> None:
    # The usual mistakes, told apart before the parser calls them all malformed.
    labels = _LABEL.findall(pem)
    private = [label for label in labels if label.endswith(b"PRIVATE KEY")]
    if not pem.strip():
        raise ConfigurationError("the file is empty")
    if not labels:
        raise ConfigurationError("neither PEM (there is no -----BEGIN line) nor a JWK")
    if not private:
        raise ConfigurationError("a public key or certificate, not a private key")
    if len(private) > 1:
        raise ConfigurationError("more than one private key")
    if private == [b"OPENSSH PRIVATE KEY"]:
        raise ConfigurationError(
            "the private key is in OpenSSH's form; `ssh-keygen -p -m PKCS8` is needed"
        )


def _from_jwk(data: bytes) -> tuple[Key, str | None]:
    try:
        members = strict_json(data)
    except ValueError:
        members = None  # a cause would hold the whole text
    if members is None:
        raise ConfigurationError("neither PEM nor the strict JSON of a JWK")
    match members.get("kty"), members.get("crv"):
        case "EC", "P-256":
            alg = "ES256"
        case "OKP", "Ed25519":
            alg = "EdDSA"
        case "RSA", None:
            alg = "RS256"
        case _:
            raise ConfigurationError(
                "not one JWK with kty EC and crv P-256, OKP and Ed25519, or RSA "
                "(the key of a JWK Set is wanted alone)"
            )
    if "d" not in members:
        raise ConfigurationError("the JWK is a public key, not a private key")
    if members.get("use", "sig") != "sig" or members.get("alg", alg) != alg:
        raise ConfigurationError(f"the JWK says that it is not for signing with {alg}")
    if members.get("key_ops", ["sign"]) not in _SIGNING:
        raise ConfigurationError("the JWK's key_ops does not say sign and nothing unrelated")
    return _private_key(alg, members), members.get("kid")


def _private_key(alg: str, members: Mapping[str, Any]) -> Key:
    try:
        key: Key = jwk.ENGINES[alg].from_jwk(dict(members))
        stated = {name: members.get(name) for name in _PUBLIC if name in members}
        fits = _public_members(alg, key) == stated
    except (InvalidKeyError, ValueError, TypeError, UnsupportedAlgorithm):
        fits = False
    if not fits:
        raise ConfigurationError("the JWK's members do not make one pair of keys")
    return key
