"""New private keys."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ephemera_keys.algorithm import SMALLEST_RSA_EXPONENT, Algorithm, PrivateKey
from ephemera_keys.errors import AlgorithmUnsupported

NEW_RSA_BITS: Final = 3072  # 128 bits of strength, as P-256 and Ed25519 have (SP 800-57 part 1)

_NEW: Final[Mapping[Algorithm, Callable[[], PrivateKey]]] = MappingProxyType(
    {
        "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
        "EdDSA": Ed25519PrivateKey.generate,
        "RS256": lambda: rsa.generate_private_key(SMALLEST_RSA_EXPONENT, NEW_RSA_BITS),
    }
)


def generate(algorithm: Algorithm) -> PrivateKey:
    """Make a private key from the operating system's randomness.

    ES256 and EdDSA keys are made in microseconds, an RSA key takes a good part of a second.

    Raises:
        AlgorithmUnsupported: The name is not one of the three, case included.
    """
    if algorithm not in _NEW:
        raise AlgorithmUnsupported(f"the algorithm must be one of {', '.join(_NEW)}")
    return _NEW[algorithm]()
