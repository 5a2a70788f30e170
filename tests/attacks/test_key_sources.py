"""The token brings its own key, or says where to find one: never followed."""

import pytest
from client.fixtures_verifying import assert_refused, mint, signing_key

from ephemera_client import HeaderRefused, KeyUnknown

MINE = signing_key("ES256", 666)

SOURCES = {
    "jwk": MINE.jwk,
    "jku": "https://tokens.internal/.well-known/jwks.json",
    "x5u": "https://tokens.internal/key.pem",
    "x5c": ["MIIB"],
}


@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize("key", [MINE, signing_key("ES256")], ids=["attacker", "issuer"])
def test_a_header_that_brings_a_key_is_refused_whoever_signed(name: str, key: object) -> None:
    header = {name: SOURCES[name], "kid": signing_key("ES256").kid}
    assert_refused(mint(MINE if key is MINE else None, header=header), HeaderRefused)


@pytest.mark.parametrize("name", SOURCES)
def test_even_an_empty_one_is_refused(name: str) -> None:
    assert_refused(mint(header={name: None}), HeaderRefused)


@pytest.mark.parametrize(
    "kid",
    [
        "../../../../dev/null",
        "/dev/null",
        "x' UNION SELECT 'secret' --",
        "| whoami",
        "https://attacker.example/jwks.json",
        "*",
        "\u0000",
        "constructor",
        "__class__",
        "k" * 256,
    ],
)
def test_a_kid_is_a_name_and_nothing_else(kid: str) -> None:
    assert_refused(mint(header={"kid": kid}), KeyUnknown)


@pytest.mark.parametrize("kid", [..., None, "", 0, True, [], {}, ["k"], "k" * 257], ids=repr)
def test_a_kid_that_is_no_name_is_refused(kid: object) -> None:
    assert_refused(mint(header={"kid": kid}), HeaderRefused)


def test_a_kid_in_other_letters_is_another_kid() -> None:
    assert_refused(mint(header={"kid": signing_key("ES256").kid.swapcase()}), KeyUnknown)
