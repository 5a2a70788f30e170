import json
from pathlib import Path

import pytest
from client.fixtures_verifying import signing_key
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from hypothesis import example, given
from hypothesis import strategies as st

from ephemera_client.errors import JwkInvalid
from ephemera_client.jwk import _der_integer, parse, thumbprint

VECTORS = Path(__file__).parents[1] / "vectors" / "thumbprints.json"


@pytest.mark.parametrize("alg", ["ES256", "EdDSA", "RS256"])
def test_a_key_verifies_what_its_other_half_signed(alg: str) -> None:
    key = signing_key(alg)
    parsed = parse(key.jwk)
    assert (parsed.kid, parsed.alg) == (key.kid, alg)
    assert parsed.verify(b"message", key.sign(b"message"))
    assert not parsed.verify(b"another", key.sign(b"message"))
    assert not parsed.verify(b"message", b"")
    assert repr(parsed) == f"VerificationKey(kid={key.kid!r}, alg={alg!r})"


@pytest.mark.parametrize("alg", ["ES256", "EdDSA", "RS256"])
@pytest.mark.parametrize("absent", ["use", "alg", "key_ops"])
def test_what_a_key_need_not_say_may_be_absent(alg: str, absent: str) -> None:
    jwk = {name: value for name, value in signing_key(alg).jwk.items() if name != absent}
    assert parse(jwk).alg == alg


@pytest.mark.parametrize(
    "case", json.loads(VECTORS.read_text()), ids=lambda case: str(case["comment"])
)
def test_thumbprints_are_those_of_the_rfcs(case: dict[str, object]) -> None:
    assert set(case) == {"comment", "jwk", "thumbprint"}
    assert isinstance(case["jwk"], dict)
    assert thumbprint(case["jwk"]) == case["thumbprint"]


@pytest.mark.parametrize("jwk", [{}, {"kty": "AKP"}, {"kty": ["EC"]}, {"kty": "RSA", "n": 1}])
def test_a_thumbprint_of_what_is_no_key_is_refused(jwk: dict[str, object]) -> None:
    with pytest.raises(JwkInvalid):
        thumbprint(jwk)


@given(st.integers(0, 255).flatmap(lambda bits: st.integers(2**bits >> 1, 2**bits)))
@example(0)
@example(0x7F)
@example(0x80)
@example(2**255)
@example(2**256 - 1)
def test_half_of_a_signature_becomes_the_integer_that_cryptography_writes(number: int) -> None:
    half = _der_integer(number.to_bytes(32, "big"))
    written = b"\x02" + bytes([len(half)]) + half
    assert encode_dss_signature(number, number)[2:] == 2 * written


@pytest.mark.parametrize(
    "signature",
    [bytes(64), bytes(32) + b"\1" * 32, b"\xff" * 64, b""],
    ids=["zeros", "half of zeros", "too large", "empty"],
)
def test_what_no_key_can_have_signed_is_no_signature(signature: bytes) -> None:
    key = parse(signing_key("ES256").jwk)
    assert not key.verify(b"message", signature)
