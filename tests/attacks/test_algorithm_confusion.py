"""The token says how it is to be verified: never believed."""

import hashlib
import hmac
import json
from collections.abc import Callable

import pytest
from client.fixtures_verifying import (
    assert_refused,
    claims_of,
    encode,
    header_of,
    mint,
    signing_key,
    verifier_of,
)
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ephemera_client import AlgorithmRefused, KeyUnsuitable, SignatureInvalid, Verifier

ALGORITHMS = ["ES256", "EdDSA", "RS256"]
NONES = ["none", "None", "NONE", "nOnE", "", " none", "none\u0000"]
OTHERS = [
    "HS256",
    "HS384",
    "HS512",
    "ES384",
    "ES512",
    "ES256K",
    "PS256",
    "RS384",
    "es256",
    "ES256 ",
]
NOT_STRINGS = [None, True, 0, 1.5, [], ["ES256"], {}, {"ES256": "ES256"}]


def _with_mac(header: dict[str, object], secret: bytes) -> str:
    head, body = (encode(json.dumps(part).encode()) for part in (header, claims_of()))
    mac = hmac.digest(secret, f"{head}.{body}".encode(), hashlib.sha256)
    return f"{head}.{body}.{encode(mac)}"


@pytest.mark.parametrize("alg", NONES)
@pytest.mark.parametrize("signed", [True, False])
def test_a_token_that_says_it_is_not_signed_is_refused(alg: str, signed: bool) -> None:  # noqa: FBT001
    token = mint(header={"alg": alg})
    if not signed:
        # The empty part is malformed already; a part that decodes to nothing does not exist.
        token = token.rpartition(".")[0] + ".AA"
    assert_refused(token, AlgorithmRefused)


@pytest.mark.parametrize("alg", OTHERS)
def test_another_algorithm_is_refused_whatever_key_it_names(alg: str) -> None:
    assert_refused(mint(header={"alg": alg}), AlgorithmRefused)


@pytest.mark.parametrize("alg", NOT_STRINGS, ids=repr)
def test_an_alg_that_is_no_string_is_refused(alg: object) -> None:
    assert_refused(mint(header={"alg": alg}), AlgorithmRefused)


def test_a_token_without_alg_is_refused() -> None:
    assert_refused(mint(header={"alg": ...}), AlgorithmRefused)


@pytest.mark.parametrize("alg", ALGORITHMS)
@pytest.mark.parametrize(
    "spell",
    [
        lambda key: key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        lambda key: key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).strip(),
        lambda key: key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
    ],
    ids=["pem", "stripped pem", "der"],
)
def test_a_mac_with_the_public_key_as_its_secret_is_refused(
    alg: str, spell: Callable[..., bytes]
) -> None:
    key = signing_key(alg)
    secret = spell(key.private.public_key())
    verifier = verifier_of(key)
    assert_refused(_with_mac(header_of(key, alg="HS256"), secret), AlgorithmRefused, by=verifier)
    assert_refused(_with_mac(header_of(key), secret), SignatureInvalid, by=verifier)


@pytest.mark.parametrize("pinned", ALGORITHMS)
@pytest.mark.parametrize("said", ALGORITHMS)
@pytest.mark.parametrize("signed_with", ALGORITHMS)
def test_only_the_pinned_algorithm_with_its_own_key_gets_in(
    pinned: str, said: str, signed_with: str
) -> None:
    keys = [signing_key(alg) for alg in ALGORITHMS]
    verifier = verifier_of(*keys, algorithm=pinned)
    token = mint(signing_key(signed_with), header={"alg": said})
    if pinned == said == signed_with:
        verifier.verify(token)
    else:
        assert_refused(token, AlgorithmRefused if said != pinned else KeyUnsuitable, by=verifier)


@pytest.mark.parametrize("alg", ["ES256", "EdDSA"])
def test_while_two_algorithms_are_pinned_each_key_still_verifies_only_its_own(alg: str) -> None:
    keys = signing_key("ES256"), signing_key("EdDSA")
    verifier = verifier_of(*keys, algorithm=("ES256", "EdDSA"))
    verifier.verify(mint(signing_key(alg)))
    other = keys[alg == "ES256"]
    assert_refused(mint(signing_key(alg), header={"kid": other.kid}), KeyUnsuitable, by=verifier)


def _flip(signature: bytes) -> bytes:
    return signature[:-1] + bytes([signature[-1] ^ 1])


@pytest.mark.parametrize("alg", ALGORITHMS)
@pytest.mark.parametrize(
    "forge",
    [
        lambda signature: bytes(len(signature)),
        lambda signature: b"\xff" * len(signature),
        lambda signature: signature[:-1],
        lambda signature: signature + b"\x00",
        lambda signature: b"\x00" + signature,
        lambda signature: signature * 2,
        lambda signature: signature[::-1],
        lambda signature: signature[:1],
        _flip,
        lambda signature: signature[: len(signature) // 2] + bytes(len(signature) // 2),
    ],
    ids=[
        "zeros", "ones", "short", "long", "shifted", "twice", "reversed", "one byte", "a bit",
        "half zero",
    ],
)  # fmt: skip
def test_a_signature_of_another_shape_or_value_is_refused(
    alg: str, forge: Callable[[bytes], bytes]
) -> None:
    key = signing_key(alg)
    body = (
        f"{encode(json.dumps(header_of(key)).encode())}.{encode(json.dumps(claims_of()).encode())}"
    )
    forged = f"{body}.{encode(forge(key.sign(body.encode())))}"
    assert_refused(forged, SignatureInvalid, by=verifier_of(key))


def test_an_ecdsa_signature_in_der_is_refused() -> None:
    key = signing_key("ES256")
    body = (
        f"{encode(json.dumps(header_of(key)).encode())}.{encode(json.dumps(claims_of()).encode())}"
    )
    der = key.engine.sign(body.encode(), key.private)
    r, s = der[:32].lstrip(b"\x00"), der[32:].lstrip(b"\x00")
    halves = b"".join(
        b"\x02" + bytes([len(part) + (part[0] >> 7)]) + b"\x00" * (part[0] >> 7) + part
        for part in (r, s)
    )
    sequence = b"\x30" + bytes([len(halves)]) + halves
    assert_refused(f"{body}.{encode(sequence)}", SignatureInvalid)


def test_an_attackers_own_key_is_refused() -> None:
    mine = signing_key("ES256", 666)
    trusted: Verifier = verifier_of()
    token = mint(mine, header={"kid": signing_key("ES256").kid})
    assert_refused(token, SignatureInvalid, by=trusted)
