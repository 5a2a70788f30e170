import copy
import pickle
from collections.abc import Callable
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ephemera_keys import (
    Algorithm,
    AlgorithmUnsupported,
    LocalSigner,
    PrivateKey,
    SecretNotPicklable,
    Signer,
    public_jwk,
)


def test_a_signature_verifies_under_the_public_jwk(private_key: PrivateKey, alg: Algorithm) -> None:
    signer: Signer = LocalSigner(private_key, alg)
    published = jwt.PyJWK(public_jwk(private_key, alg=alg))
    assert (signer.alg, signer.kid) == (alg, published.key_id)
    assert published.Algorithm.verify(b"message", published.key, signer.sign(b"message"))
    assert not published.Algorithm.verify(b"another", published.key, signer.sign(b"message"))


@pytest.mark.parametrize("alg", ["ES256", "EdDSA"])
def test_a_signature_is_64_bytes(private_keys: dict[Algorithm, PrivateKey], alg: Algorithm) -> None:
    signer = LocalSigner(private_keys[alg], alg)
    assert {len(signer.sign(bytes([number]))) for number in range(64)} == {64}


def test_a_key_does_not_sign_under_another_algorithm() -> None:
    with pytest.raises(AlgorithmUnsupported):
        LocalSigner(Ed25519PrivateKey.generate(), "ES256")


def test_a_repr_names_the_key_and_shows_no_more() -> None:
    signer = LocalSigner(Ed25519PrivateKey.from_private_bytes(bytes(32)), "EdDSA")
    assert repr(signer) == str(signer) == f"LocalSigner(alg='EdDSA', kid='{signer.kid}')"
    assert not hasattr(signer, "__dict__")


@pytest.mark.parametrize("carry", [pickle.dumps, copy.copy, copy.deepcopy])
def test_a_signer_is_neither_pickled_nor_copied(carry: Callable[[Any], Any]) -> None:
    with pytest.raises(SecretNotPicklable):
        carry(LocalSigner(Ed25519PrivateKey.generate(), "EdDSA"))


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_no_pickle_protocol_carries_a_signer(protocol: int) -> None:
    with pytest.raises(TypeError):
        pickle.dumps([LocalSigner(Ed25519PrivateKey.generate(), "EdDSA")], protocol)
