"""Keys for which signatures can be made without the other half."""

import json
from typing import Any

import pytest
from client.fixtures_publishing import publishing
from client.fixtures_requesting import Reply
from client.fixtures_verifying import (
    assert_refused,
    claims_of,
    encode,
    header_of,
    mint,
    signing_key,
    verifier_of,
)
from cryptography.hazmat.primitives.asymmetric import ec

from ephemera_client import JwkInvalid, KeyUnsuitable, RemoteKeys
from ephemera_client.jwk import parse

P = 2**255 - 19
ORDER_8 = [
    int.from_bytes(bytes.fromhex(encoded), "little")
    for encoded in (
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    )
]
SIGN = 1 << 255
LOW_ORDER = [0, 1, P - 1, *ORDER_8]
NOT_CANONICAL = [P, P + 1, P + 2, P + 18, 2**255 - 1]


def _okp(number: int) -> dict[str, Any]:
    return {"kty": "OKP", "crv": "Ed25519", "kid": "k", "x": encode(number.to_bytes(32, "little"))}


def _document(*jwks: dict[str, Any]) -> bytes:
    return json.dumps({"keys": jwks}).encode()


def _rsa(n: int, e: int) -> dict[str, Any]:
    return {"kty": "RSA", "kid": "k"} | {
        name: encode(value.to_bytes((value.bit_length() + 7) // 8 or 1, "big"))
        for name, value in {"n": n, "e": e}.items()
    }


@pytest.mark.parametrize("sign", [0, SIGN], ids=["positive", "negative"])
@pytest.mark.parametrize("y", LOW_ORDER, ids=hex)
def test_a_point_of_low_order_is_refused(y: int, sign: int) -> None:
    with pytest.raises(JwkInvalid, match="low order"):
        parse(_okp(y | sign))


@pytest.mark.parametrize("sign", [0, SIGN], ids=["positive", "negative"])
@pytest.mark.parametrize("y", NOT_CANONICAL, ids=hex)
def test_a_point_that_is_not_canonical_is_refused(y: int, sign: int) -> None:
    with pytest.raises(JwkInvalid, match="canonical"):
        parse(_okp(y | sign))


def test_a_point_off_ed25519_is_refused() -> None:
    refused = 0
    for y in range(2, 40):
        try:
            parse(_okp(y))
        except JwkInvalid as error:
            assert "not on" in str(error)  # noqa: PT017
            refused += 1
    assert 0 < refused < 38


def test_the_signature_that_fits_any_message_gets_nothing_in() -> None:
    # With the neutral point for a key, R neutral and S zero solve the equation whatever is signed.
    neutral = (1).to_bytes(32, "little")
    good = signing_key("EdDSA")
    header = header_of(good, kid="weak")
    parts = [encode(json.dumps(part).encode()) for part in (header, claims_of())]
    token = ".".join([*parts, encode(neutral + bytes(32))])
    with publishing() as publisher:
        publisher.reply = Reply(200, _document(good.jwk, _okp(1) | {"kid": "weak"}))
        verifier = verifier_of(keys=RemoteKeys(publisher.url), algorithm="EdDSA")
        assert_refused(token, KeyUnsuitable, by=verifier)


@pytest.mark.parametrize("bits", [512, 1024, 2040, 2047])
def test_an_rsa_modulus_under_2048_bits_is_refused(bits: int) -> None:
    with pytest.raises(JwkInvalid, match="modulus"):
        parse(_rsa((1 << (bits - 1)) | 1, 65537))


@pytest.mark.parametrize("bits", [8193, 16384, 65536])
def test_an_rsa_modulus_made_to_cost_is_refused(bits: int) -> None:
    with pytest.raises(JwkInvalid, match="modulus"):
        parse(_rsa((1 << (bits - 1)) | 1, 65537))


@pytest.mark.parametrize("e", [0, 1, 2, 3, 17, 65536, 65538, 2**32 + 1, 2**2000 + 1])
def test_an_unusual_rsa_exponent_is_refused(e: int) -> None:
    n = signing_key("RS256").private.public_key().public_numbers().n
    with pytest.raises(JwkInvalid, match=r"exponent|leading zeros"):
        parse(_rsa(n, e))


def test_an_even_modulus_is_refused() -> None:
    with pytest.raises(JwkInvalid, match="modulus"):
        parse(_rsa(1 << 2047, 65537))


@pytest.mark.parametrize(
    ("x", "y"),
    [
        (bytes(32), bytes(32)),
        (b"\xff" * 32, b"\xff" * 32),
        (bytes(31) + b"\x01", bytes(31) + b"\x01"),
        (bytes(31), bytes(32)),
        (bytes(33), bytes(32)),
        (b"", b""),
    ],
    ids=["origin", "past the field", "off the curve", "short", "long", "empty"],
)
def test_a_point_that_is_not_on_p_256_is_refused(x: bytes, y: bytes) -> None:
    with pytest.raises(JwkInvalid):
        parse({"kty": "EC", "crv": "P-256", "kid": "k", "x": encode(x), "y": encode(y)})


def test_a_point_of_another_curve_is_refused() -> None:
    numbers = ec.generate_private_key(ec.SECP256K1()).public_key().public_numbers()
    x, y = (encode(number.to_bytes(32, "big")) for number in (numbers.x, numbers.y))
    for crv in ("P-256", "secp256k1", "P-384", "P-521", "X25519", "Ed448"):
        with pytest.raises(JwkInvalid):
            parse({"kty": "EC", "crv": crv, "kid": "k", "x": x, "y": y})


@pytest.mark.parametrize("alg", ["ES256", "EdDSA", "RS256"])
@pytest.mark.parametrize("spoil", ["=", "\n", "+", "é", "AAAAA"], ids=ascii)
def test_a_member_that_is_not_canonical_base64url_is_refused(alg: str, spoil: str) -> None:
    jwk = signing_key(alg).jwk
    for name in {"x", "y", "n", "e"} & set(jwk):
        with pytest.raises(JwkInvalid):
            parse(jwk | {name: jwk[name] + spoil})


@pytest.mark.parametrize("alg", ["ES256", "EdDSA", "RS256"])
@pytest.mark.parametrize("value", [None, 1, True, [], {}, ""], ids=repr)
def test_a_member_that_is_no_text_is_refused(alg: str, value: object) -> None:
    jwk = signing_key(alg).jwk
    for name in {"kty", "x", "y", "n", "e", "kid"} & set(jwk):
        with pytest.raises(JwkInvalid):
            parse(jwk | {name: value})


def test_leading_zeros_make_no_second_spelling_of_an_rsa_key() -> None:
    numbers = signing_key("RS256").private.public_key().public_numbers()
    padded = b"\x00" + numbers.n.to_bytes(256, "big")
    with pytest.raises(JwkInvalid, match="leading zeros"):
        parse(_rsa(numbers.n, numbers.e) | {"n": encode(padded)})


def test_a_published_weak_key_is_refused_and_the_token_learns_why() -> None:
    strong = signing_key("RS256")
    weak = strong.jwk | {"kid": "weak", "e": "Aw"}
    with publishing() as publisher:
        publisher.reply = Reply(200, _document(strong.jwk, weak))
        verifier = verifier_of(keys=RemoteKeys(publisher.url), algorithm="RS256")
        with pytest.raises(KeyUnsuitable, match="exponent"):
            verifier.verify(mint(strong, header={"kid": "weak"}))
        verifier.verify(mint(strong))
