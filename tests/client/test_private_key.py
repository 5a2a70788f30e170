import base64
import copy
import json
import pickle
from collections.abc import Callable
from typing import Any

import jwt
import pytest
from client.fixtures_verifying import SigningKey, encode, signing_key
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from ephemera_client import ConfigurationError, PrivateKeyJWT
from ephemera_client.private_key import PrivateKey

ALGORITHMS = ["ES256", "EdDSA", "RS256"]


def pem_of(key: SigningKey, form: PrivateFormat = PrivateFormat.PKCS8) -> bytes:
    pem: bytes = key.private.private_bytes(Encoding.PEM, form, NoEncryption())
    return pem


def jwk_of(key: SigningKey, **changes: object) -> bytes:
    jwk = key.engine.to_jwk(key.private, as_dict=True)
    jwk.pop("key_ops", None)
    return json.dumps({name: v for name, v in (jwk | changes).items() if v is not None}).encode()


def assert_signs_for(loaded: PrivateKey, key: SigningKey) -> None:
    published = jwt.PyJWK(key.jwk)
    assert loaded.alg == key.alg
    assert published.Algorithm.verify(b"message", published.key, loaded.sign(b"message"))


@pytest.mark.parametrize("alg", ALGORITHMS)
def test_a_pem_or_a_jwk_is_the_same_key(alg: str) -> None:
    key = signing_key(alg)
    for data in (pem_of(key), jwk_of(key), b"\n " + jwk_of(key)):
        loaded = PrivateKey.load(data)
        assert_signs_for(loaded, key)
        assert loaded.public_jwk() == key.jwk


@pytest.mark.parametrize("alg", ["ES256", "RS256"])
def test_the_older_pem_forms_are_read(alg: str) -> None:
    key = signing_key(alg)
    assert_signs_for(PrivateKey.load(pem_of(key, PrivateFormat.TraditionalOpenSSL)), key)


def test_the_kid_is_the_one_given_or_the_jwks_own_or_the_thumbprint() -> None:
    key = signing_key("ES256")
    assert PrivateKey.load(jwk_of(key)).kid == key.kid
    assert PrivateKey.load(jwk_of(key, kid="orders-1")).kid == "orders-1"
    assert PrivateKey.load(jwk_of(key, kid="orders-1"), kid="orders-2").kid == "orders-2"
    assert PrivateKey.load(pem_of(key), kid="orders-2").public_jwk()["kid"] == "orders-2"


@pytest.mark.parametrize("alg", ALGORITHMS)
def test_a_generated_key_can_be_written_and_read_again(alg: str) -> None:
    made = PrivateKey.generate(alg)
    again = PrivateKey.load(made.pem(), algorithm=alg)
    assert (again.alg, again.kid, again.public_jwk()) == (alg, made.kid, made.public_jwk())
    assert "d" not in made.public_jwk()


def test_a_jwk_may_say_what_it_is_for() -> None:
    key = signing_key("ES256")
    said = {"use": "sig", "alg": "ES256", "key_ops": ["sign", "verify"]}
    assert_signs_for(PrivateKey.load(jwk_of(key, **said)), key)
    assert_signs_for(PrivateKey.load(jwk_of(key, key_ops=["sign"])), key)


EC, OKP, RSA = (signing_key(alg) for alg in ("ES256", "EdDSA", "RS256"))
OTHER = signing_key("ES256", 1)


def members(key: SigningKey) -> dict[str, Any]:
    jwk: dict[str, Any] = json.loads(jwk_of(key))
    return jwk


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "empty"),
        (b" \n", "empty"),
        (b"notes", "neither PEM"),
        (b"{", "neither PEM nor"),
        (b'{"kty": "EC", "kty": "EC"}', "neither PEM nor"),
        (b"{" * 70_000, "over 65536 bytes"),
        (b'{"keys": []}', "alone"),
        (jwk_of(EC, kty="oct"), "not one JWK"),
        (jwk_of(EC, kty=["EC"]), "not one JWK"),
        (jwk_of(EC, crv="P-384"), "not one JWK"),
        (jwk_of(EC, d=None), "public key"),
        (jwk_of(EC, use="enc"), "not for signing"),
        (jwk_of(EC, alg="EdDSA"), "not for signing"),
        (jwk_of(EC, key_ops=["verify"]), "key_ops"),
        (jwk_of(EC, key_ops="sign"), "key_ops"),
        (jwk_of(EC, key_ops=["sign", "sign"]), "key_ops"),
        (jwk_of(EC, key_ops=[{}]), "key_ops"),
        (jwk_of(EC, kid=7), "kid"),
        (jwk_of(EC, kid=""), "kid"),
        (jwk_of(EC, d=members(OTHER)["d"]), "one pair"),
        (jwk_of(EC, d=7), "one pair"),
        (jwk_of(EC, d=encode(bytes(32))), "one pair"),
        (jwk_of(EC, x=None), "one pair"),
        (jwk_of(EC, n="AQAB"), "one pair"),
        (jwk_of(OKP, x=encode(bytes(31) + b"\1")), "one pair"),
        (jwk_of(OKP, d="!"), "one pair"),
        (jwk_of(RSA, p=None), "one pair"),
        (jwk_of(RSA, e="AQ"), "one pair"),
        (pem_of(EC) + pem_of(OKP), "more than one"),
        (pem_of(EC)[:100] + pem_of(EC)[120:], "damaged"),
        (
            EC.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
            "public key or certificate",
        ),
        (
            EC.private.private_bytes(
                Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"password")
            ),
            "openssl pkcs8",
        ),
        (pem_of(EC, PrivateFormat.OpenSSH), "ssh-keygen"),
    ],
    ids=lambda part: part if isinstance(part, str) else "",
)
def test_a_file_of_anything_else_is_refused_with_the_reason(data: bytes, sentence: str) -> None:
    with pytest.raises(ConfigurationError, match=sentence) as refused:
        PrivateKey.load(data)
    assert "-----BEGIN P" not in str(refused.value)
    for key in (EC, OKP, RSA, OTHER):
        assert members(key)["d"] not in str(refused.value)


@pytest.mark.parametrize(
    ("key", "sentence"),
    [
        (ec.generate_private_key(ec.SECP384R1()), "none of EC on P-256"),
        (ed448.Ed448PrivateKey.generate(), "none of EC on P-256"),
        (dsa.generate_private_key(2048), "none of EC on P-256"),
        (rsa.generate_private_key(65537, 1024), "2048"),  # noqa: S505 - to be refused
        (rsa.generate_private_key(3, 2048), "exponent"),
    ],
)
def test_a_weak_key_or_one_of_another_kind_is_refused(key: Any, sentence: str) -> None:
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with pytest.raises(ConfigurationError, match=sentence):
        PrivateKey.load(pem)


def test_a_key_for_another_algorithm_than_wanted_is_refused() -> None:
    assert PrivateKey.load(pem_of(EC), algorithm="ES256").alg == "ES256"
    with pytest.raises(ConfigurationError, match="for ES256, not for EdDSA"):
        PrivateKey.load(pem_of(EC), algorithm="EdDSA")


@pytest.mark.parametrize("algorithm", ["HS256", "none", "es256", ""])
def test_a_key_is_made_for_the_three_algorithms_alone(algorithm: str) -> None:
    with pytest.raises(ConfigurationError, match="ES256, EdDSA, RS256"):
        PrivateKey.generate(algorithm)


@pytest.mark.parametrize("carry", [pickle.dumps, copy.copy, copy.deepcopy])
def test_a_key_is_neither_pickled_nor_copied(carry: Callable[[Any], Any]) -> None:
    with pytest.raises(TypeError, match="not pickled"):
        carry(PrivateKey.generate("EdDSA"))


def test_a_repr_names_the_key_and_shows_no_more() -> None:
    key = PrivateKey.load(pem_of(EC))
    assert repr(key) == str(key) == f"PrivateKey(alg='ES256', kid='{EC.kid}')"
    assert not hasattr(key, "__dict__")


def test_an_ed25519_key_with_a_seed_too_short_is_damaged_and_not_a_fault_of_ours() -> None:
    body = base64.b64encode(bytes.fromhex("302d020100300506032b65700421041f") + bytes(31))
    pem = b"-----BEGIN PRIVATE KEY-----\n" + body + b"\n-----END PRIVATE KEY-----\n"
    with pytest.raises(ConfigurationError, match="damaged"):
        PrivateKey.load(pem)


def test_text_that_is_no_unicode_is_no_key() -> None:
    with pytest.raises(ConfigurationError, match="PEM or a JWK"):
        PrivateKeyJWT("\ud800")
