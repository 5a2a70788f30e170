import itertools
from collections.abc import Callable, Mapping

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ephemera_keys import Algorithm, PrivateKey, public_jwk

_PRIVATE_VALUES = itertools.count(1)

NewJWK = Callable[[], dict[str, str]]


@pytest.fixture(scope="session")
def new_jwk() -> NewJWK:
    """A public key that no test has seen yet; its private value is a running number."""

    def make() -> dict[str, str]:
        key = ec.derive_private_key(next(_PRIVATE_VALUES), ec.SECP256R1())
        return public_jwk(key, alg="ES256")

    return make


@pytest.fixture(scope="session")
def rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


@pytest.fixture(scope="session")
def private_keys(rsa_key: rsa.RSAPrivateKey) -> Mapping[Algorithm, PrivateKey]:
    return {
        "ES256": ec.generate_private_key(ec.SECP256R1()),
        "EdDSA": Ed25519PrivateKey.generate(),
        "RS256": rsa_key,
    }


@pytest.fixture(params=["ES256", "EdDSA", "RS256"])
def alg(request: pytest.FixtureRequest) -> Algorithm:
    chosen: Algorithm = request.param
    return chosen


@pytest.fixture
def private_key(private_keys: Mapping[Algorithm, PrivateKey], alg: Algorithm) -> PrivateKey:
    return private_keys[alg]
