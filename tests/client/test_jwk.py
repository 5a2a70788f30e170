import json
from pathlib import Path

import pytest
from client.fixtures_verifying import signing_key

from ephemera_client.errors import JwkInvalid
from ephemera_client.jwk import parse, thumbprint

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
