"""A public JWK that signatures are verified with (RFC 7517), and its thumbprint (RFC 7638)."""

import base64
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from ephemera_client.compact import decode_base64url
from ephemera_client.errors import JwkInvalid

ALGORITHMS = ("ES256", "EdDSA", "RS256")

MAX_KID_LENGTH = 256
MIN_RSA_BITS = 2048
MAX_RSA_BITS = 8192
MIN_RSA_EXPONENT = 65537

PublicKey = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey

# Hashed by hashlib, which sets out quicker: together with the DER below a twentieth of the bare
# verification, and a fifth of what all other checks cost.
_ECDSA = ec.ECDSA(Prehashed(hashes.SHA256()))


class _ES256Algorithm(ECAlgorithm):
    """PyJWT's, but for the way from a signature of 64 bytes to DER, and the hash.

    PyJWT's goes by hexadecimal text, and cryptography's `encode_dss_signature` by two integers.
    """

    def verify(self, msg: bytes, key: Any, sig: bytes) -> bool:
        if len(sig) != 64:  # noqa: PLR2004 - RFC 7518 §3.4
            return False
        r, s = _der_integer(sig[:32]), _der_integer(sig[32:])
        der = b"\x30%c\x02%c%b\x02%c%b" % (len(r) + len(s) + 4, len(r), r, len(s), s)
        try:
            key.verify(der, hashlib.sha256(msg).digest(), _ECDSA)
        except InvalidSignature:
            return False
        return True


def _der_integer(octets: bytes) -> bytes:
    # X.690 §8.3: as short as can be, and not negative.
    if octets[0] & 0x80:
        return b"\x00" + octets
    if octets[0]:
        return octets
    shortest = octets.lstrip(b"\x00")
    return shortest if shortest and shortest[0] < 0x80 else b"\x00" + shortest  # noqa: PLR2004 - the sign


_ES256 = _ES256Algorithm(ECAlgorithm.SHA256, ec.SECP256R1)
_EDDSA = OKPAlgorithm()
_RS256 = RSAAlgorithm(RSAAlgorithm.SHA256)
ENGINES = {"ES256": _ES256, "EdDSA": _EDDSA, "RS256": _RS256}
_REQUIRED = {
    "EC": ("crv", "kty", "x", "y"),
    "OKP": ("crv", "kty", "x"),
    "RSA": ("e", "kty", "n"),
    "oct": ("k", "kty"),
}
_PRIVATE = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
_VERIFYING = ({"verify"}, {"sign", "verify"})

_P = 2**255 - 19
_D = -121665 * pow(121666, -1, _P) % _P


class VerificationKey:
    """A public key with the one algorithm it verifies."""

    __slots__ = ("_engine", "_public", "alg", "kid")

    def __init__(self, kid: str, alg: str, public: PublicKey) -> None:
        self.kid = kid
        self.alg = alg
        self._public = public
        self._engine: Any = ENGINES[alg]

    def __repr__(self) -> str:
        return f"VerificationKey(kid={self.kid!r}, alg={self.alg!r})"

    def verify(self, signing_input: bytes, signature: bytes) -> bool:
        """Say whether `signature` is this key's over `signing_input`."""
        return bool(self._engine.verify(signing_input, self._public, signature))


def parse(jwk: Mapping[str, Any]) -> VerificationKey:
    """Make a key of a public JWK.

    Raises:
        JwkInvalid: a member is missing or malformed; the key is private or symmetric; `use`,
            `key_ops` or `alg` says that it is for something else; RSA under 2048 bits or with an
            unusual exponent; a point that is off its curve or of low order.
    """
    kid = jwk.get("kid")
    if not isinstance(kid, str) or not 0 < len(kid) <= MAX_KID_LENGTH:
        raise JwkInvalid(f"kid is not a string of 1 to {MAX_KID_LENGTH} characters")
    if jwk.get("kty") == "oct":
        raise JwkInvalid("the key is symmetric: whoever verifies with it could sign")
    if not _PRIVATE.isdisjoint(jwk):
        raise JwkInvalid("the key is private: it has been given away, replace it")
    if jwk.get("use", "sig") != "sig":
        raise JwkInvalid('use is not "sig"')
    _check_operations(jwk.get("key_ops", ["verify"]))
    alg, public = _public_key(jwk)
    if jwk.get("alg", alg) != alg:
        raise JwkInvalid(f"alg contradicts the key, which is for {alg}")
    return VerificationKey(kid, alg, public)


def thumbprint(jwk: Mapping[str, Any]) -> str:
    """Return the SHA-256 thumbprint (RFC 7638 §3) in base64url.

    Raises:
        JwkInvalid: a required member is missing or not a string, or `kty` is not known.
    """
    required = _REQUIRED.get(_text(jwk, "kty"))
    if required is None:
        raise JwkInvalid("kty is not EC, OKP, RSA or oct")
    members = {name: _text(jwk, name) for name in required}
    canonical = json.dumps(members, separators=(",", ":"), sort_keys=True).encode()
    return base64.urlsafe_b64encode(hashlib.sha256(canonical).digest()).rstrip(b"=").decode()


def _check_operations(key_ops: object) -> None:
    if (
        not isinstance(key_ops, list)
        or not all(isinstance(operation, str) for operation in key_ops)
        or len(key_ops) != len(set(key_ops))
        or set(key_ops) not in _VERIFYING
    ):
        raise JwkInvalid('key_ops does not say "verify" and nothing unrelated')


def _public_key(jwk: Mapping[str, Any]) -> tuple[str, PublicKey]:
    match jwk.get("kty"), jwk.get("crv"):
        case "EC", "P-256":
            return "ES256", _p256(_octets(jwk, "x"), _octets(jwk, "y"))
        case "OKP", "Ed25519":
            return "EdDSA", _ed25519(_octets(jwk, "x"))
        case "RSA", None:
            return "RS256", _rsa(_integer(jwk, "n"), _integer(jwk, "e"))
        case _:
            raise JwkInvalid("kty and crv are not EC with P-256, OKP with Ed25519, or RSA")


def _p256(x: bytes, y: bytes) -> ec.EllipticCurvePublicKey:
    if len(x) != 32 or len(y) != 32:  # noqa: PLR2004 - RFC 7518 §6.2.1.2, for P-256
        raise JwkInvalid("x and y are not 32 bytes each")
    try:
        return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), b"\x04" + x + y)
    except ValueError:
        raise JwkInvalid("the point is not on P-256") from None


def _ed25519(encoded: bytes) -> ed25519.Ed25519PublicKey:
    if len(encoded) != 32:  # noqa: PLR2004 - RFC 8032 §5.1.5
        raise JwkInvalid("x is not 32 bytes")
    y = int.from_bytes(encoded, "little") & (2**255 - 1)
    if y >= _P:
        raise JwkInvalid("x is not a canonical point of Ed25519")
    # With such a key there are signatures that fit any message. Of order 1, 2 and 4 are the points
    # of y = 1, -1 and 0; twice a point of order 8 has y = 0, which its own y solves so:
    if y in {0, 1, _P - 1} or (_D * y**4 + 2 * y**2 - 1) % _P == 0:
        raise JwkInvalid("the point is of low order: signatures by it prove nothing")
    # RFC 8032 §5.1.3: x² = (y² - 1) / (dy² + 1) must have a root.
    if pow((y * y - 1) * (_D * y * y + 1), (_P - 1) // 2, _P) != 1:
        raise JwkInvalid("the point is not on Ed25519")
    return ed25519.Ed25519PublicKey.from_public_bytes(encoded)


def _rsa(n: int, e: int) -> rsa.RSAPublicKey:
    if not MIN_RSA_BITS <= n.bit_length() <= MAX_RSA_BITS or n % 2 == 0:
        raise JwkInvalid(f"the RSA modulus is not of {MIN_RSA_BITS} to {MAX_RSA_BITS} bits")
    if not MIN_RSA_EXPONENT <= e < 2**32 or e % 2 == 0:
        raise JwkInvalid(f"the RSA exponent is not an odd number from {MIN_RSA_EXPONENT}")
    return rsa.RSAPublicNumbers(e, n).public_key()


def _integer(jwk: Mapping[str, Any], name: str) -> int:
    octets = _octets(jwk, name)
    if octets[0] == 0:
        raise JwkInvalid(f"{name} has leading zeros")  # RFC 7518 §2, Base64urlUInt
    return int.from_bytes(octets, "big")


def _octets(jwk: Mapping[str, Any], name: str) -> bytes:
    try:
        return decode_base64url(_text(jwk, name))
    except JwkInvalid:
        raise
    except ValueError as error:
        raise JwkInvalid(f"{name}: {error}") from None


def _text(jwk: Mapping[str, Any], name: str) -> str:
    value = jwk.get(name)
    if not isinstance(value, str):
        raise JwkInvalid(f"{name} is missing or not a string")
    return value
