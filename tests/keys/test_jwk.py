import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from jwt import PyJWK

from ephemera_keys import Algorithm, AlgorithmUnsupported, JWKInvalid, PrivateKey
from ephemera_keys.jwk import check, public_jwk, thumbprint

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "thumbprints.json").read_text())
MEMBERS = {
    "ES256": ["kty", "crv", "x", "y", "use", "alg", "kid"],
    "EdDSA": ["kty", "crv", "x", "use", "alg", "kid"],
    "RS256": ["kty", "n", "e", "use", "alg", "kid"],
}


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["comment"])
def test_the_thumbprints_of_the_rfcs(vector: dict[str, Any]) -> None:
    assert set(vector) == {"comment", "jwk", "thumbprint"}
    assert thumbprint(vector["jwk"]) == vector["thumbprint"]


def test_a_public_jwk_has_these_members_and_no_others(
    private_key: PrivateKey, alg: Algorithm
) -> None:
    jwk = public_jwk(private_key, alg=alg)
    assert list(jwk) == MEMBERS[alg]
    assert (jwk["use"], jwk["alg"], jwk["kid"]) == ("sig", alg, thumbprint(jwk))
    assert check(jwk) == alg


def test_a_public_jwk_describes_the_public_half(private_key: PrivateKey, alg: Algorithm) -> None:
    assert PyJWK(public_jwk(private_key, alg=alg)).key == private_key.public_key()


def test_coordinates_keep_their_leading_zeros() -> None:
    keys = (ec.derive_private_key(value, ec.SECP256R1()) for value in range(1, 5000))
    key = next(key for key in keys if key.public_key().public_numbers().x < 2**248)
    assert len(public_jwk(key, alg="ES256")["x"]) == 43


def test_a_key_is_not_described_under_another_algorithm() -> None:
    with pytest.raises(AlgorithmUnsupported, match="signs with EdDSA, not with ES256"):
        public_jwk(Ed25519PrivateKey.generate(), alg="ES256")


def test_nothing_private_is_in_a_public_jwk(rsa_key: RSAPrivateKey) -> None:
    assert not {"d", "p", "q", "dp", "dq", "qi"} & public_jwk(rsa_key, alg="RS256").keys()


@pytest.mark.parametrize(
    "jwk",
    [
        {},
        {"kty": "oct", "k": "c2VjcmV0"},
        {"kty": None},
        {"kty": ["EC"]},
        {"kty": "ec", "crv": "P-256", "x": "AA", "y": "AA"},
        {"kty": "EC", "crv": "P-256", "x": "AA"},
        {"kty": "EC", "crv": "P-256", "x": "AA", "y": ""},
        {"kty": "EC", "crv": "P-256", "x": "AA", "y": 7},
        {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA\n"},
        {"kty": "EC", "crv": "P-256", "x": "AA", "y": "A+/="},
        {"kty": "OKP", "crv": "Ed25519", "x": "\ud800"},
        {"kty": "RSA", "n": "AQAB"},
    ],
)
def test_what_has_no_thumbprint_is_refused(jwk: dict[str, object]) -> None:
    with pytest.raises(JWKInvalid):
        thumbprint(jwk)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"d": "c2VjcmV0"}, "members that a published key must not have"),
        ({"key_ops": ["verify"]}, "members that a published key must not have"),
        ({"use": "enc"}, "use must be sig"),
        ({"use": None}, "use must be sig"),
        ({"alg": "RS256"}, "does not go with its kty and crv"),
        ({"alg": "none"}, "none of ours"),
        ({"alg": ["ES256"]}, "none of ours"),
        ({"crv": "P-384"}, "does not go with its kty and crv"),
        ({"kid": "another"}, "kid must be its thumbprint"),
        ({"x": "AAAA"}, "kid must be its thumbprint"),
        ({"x": ""}, "member x"),
    ],
)
def test_only_a_public_signing_key_of_ours_passes_the_check(
    change: dict[str, object], reason: str
) -> None:
    jwk = public_jwk(ec.derive_private_key(7, ec.SECP256R1()), alg="ES256")
    with pytest.raises(JWKInvalid, match=reason) as refusal:
        check({**jwk, **change})
    assert "c2VjcmV0" not in str(refusal.value)
