"""The three algorithms that an issuer may sign with, and the keys that fit them."""

from collections.abc import Mapping
from hashlib import sha256
from types import MappingProxyType
from typing import Final, Literal

import jwt.algorithms
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from ephemera_keys.errors import AlgorithmUnsupported

Algorithm = Literal["ES256", "EdDSA", "RS256"]
PrivateKey = EllipticCurvePrivateKey | Ed25519PrivateKey | RSAPrivateKey

_ECDSA = ECDSA(Prehashed(SHA256()))
_HALF = 32


class _ES256(ECAlgorithm):
    """PyJWT's, but for the digest, and for the way from DER to 64 bytes.

    PyJWT's goes by hexadecimal text, and makes a new ECDSA object each time: a fifth on top of what
    the signature itself costs. The digest by hashlib takes a tenth of it less than cryptography's.
    """

    def sign(self, msg: bytes, key: EllipticCurvePrivateKey) -> bytes:
        return joined(key.sign(sha256(msg).digest(), _ECDSA))


def joined(signature: bytes) -> bytes:
    """Write an ES256 signature as JWS does (RFC 7518 §3.4): 64 bytes, of its DER.

    That is a sequence of two integers, 30 LENGTH 02 LENGTH R 02 LENGTH S, none of them over 127
    bytes; each integer has a zero before it where its first bit is set, and no other.
    """
    end = 4 + signature[3]
    r, s = signature[4:end], signature[end + 2 :]
    return r[-_HALF:].rjust(_HALF, b"\0") + s[-_HALF:].rjust(_HALF, b"\0")


JOSE: Final[Mapping[Algorithm, jwt.algorithms.Algorithm]] = MappingProxyType(
    {
        "ES256": _ES256(ECAlgorithm.SHA256, SECP256R1),
        "EdDSA": OKPAlgorithm(),
        "RS256": RSAAlgorithm(RSAAlgorithm.SHA256),
    }
)
"""PyJWT's algorithm objects: they sign and encode, so that no JOSE detail is written here twice."""

SMALLEST_RSA_BITS: Final = 2048
LARGEST_RSA_BITS: Final = 8192
SMALLEST_RSA_EXPONENT: Final = 65537
LARGEST_RSA_EXPONENT: Final = 2**32 - 1


def fitting(key: object) -> Algorithm:
    """Name the algorithm that a private key signs with.

    Raises:
        AlgorithmUnsupported: The key is of another type, on another curve than P-256 and Ed25519,
            or an RSA key under 2048 bits (RFC 7518 §3.3), over 8192 or with an exponent under
            65537 (FIPS 186-5 §5.4) or of more than 32 bits, which verifiers refuse.
    """
    match key:
        case EllipticCurvePrivateKey(curve=SECP256R1()):
            return "ES256"
        case EllipticCurvePrivateKey(curve=curve):
            raise AlgorithmUnsupported(f"ES256 signs on P-256, and this key is on {curve.name}")
        case Ed25519PrivateKey():
            return "EdDSA"
        case RSAPrivateKey(key_size=size) if not SMALLEST_RSA_BITS <= size <= LARGEST_RSA_BITS:
            raise AlgorithmUnsupported(
                f"RS256 signs with {SMALLEST_RSA_BITS} to {LARGEST_RSA_BITS} bits, "
                f"and this key has {size}"
            )
        case RSAPrivateKey():
            exponent = key.private_numbers().public_numbers.e
            if not SMALLEST_RSA_EXPONENT <= exponent <= LARGEST_RSA_EXPONENT:
                raise AlgorithmUnsupported(
                    f"RS256 needs a public exponent of at least {SMALLEST_RSA_EXPONENT} "
                    "and at most 32 bits"
                )
            return "RS256"
        case _:
            raise AlgorithmUnsupported(
                "the key is none of EC on P-256 (ES256), Ed25519 (EdDSA) and RSA (RS256)"
            )


def require_fit(key: PrivateKey, algorithm: Algorithm) -> None:
    """Raise AlgorithmUnsupported unless the key signs with exactly this algorithm."""
    if (fits := fitting(key)) != algorithm:
        raise AlgorithmUnsupported(f"the key signs with {fits}, not with {algorithm}")
