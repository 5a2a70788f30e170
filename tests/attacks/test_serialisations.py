"""JWE, the JSON serialisations, nested and joined tokens: only JWS compact is a token."""

import json
from collections.abc import Callable

import pytest
from client.fixtures_verifying import (
    assert_refused,
    encode,
    mint,
    mint_bytes,
    signing_key,
    verifier_of,
)

from ephemera_client import TokenMalformed


def _flattened(token: str) -> str:
    protected, payload, signature = token.split(".")
    return json.dumps({"protected": protected, "payload": payload, "signature": signature})


def _general(token: str) -> str:
    protected, payload, signature = token.split(".")
    signatures = [{"protected": protected, "signature": signature}]
    return json.dumps({"payload": payload, "signatures": signatures})


@pytest.mark.parametrize("spell", [_flattened, _general], ids=["flattened", "general"])
def test_a_json_serialisation_is_refused(spell: Callable[[str], str]) -> None:
    assert_refused(spell(mint()), TokenMalformed)
    assert_refused(encode(spell(mint()).encode()), TokenMalformed)


@pytest.mark.parametrize("alg", ["dir", "RSA-OAEP-256", "ECDH-ES", "PBES2-HS256+A128KW"])
def test_an_encrypted_token_is_refused_and_the_error_says_so(alg: str) -> None:
    head = encode(json.dumps({"alg": alg, "enc": "A256GCM", "p2c": 10**9}).encode())
    with pytest.raises(TokenMalformed, match="JWE"):
        verifier_of().verify(f"{head}.{'.'.join(['AAAA'] * 4)}")


@pytest.mark.parametrize("dots", [0, 1, 3, 4, 5, 8000])
def test_another_number_of_parts_is_refused(dots: int) -> None:
    assert_refused("." * dots, TokenMalformed)
    assert_refused(".".join(["AAAA"] * (dots % 100 + 1)), TokenMalformed)


def test_a_token_inside_a_token_is_refused() -> None:
    key = signing_key("ES256")
    header = f'{{"alg":"ES256","typ":"at+jwt","kid":"{key.kid}","cty":"JWT"}}'
    assert_refused(mint_bytes(key, header.encode(), mint().encode()), TokenMalformed)


@pytest.mark.parametrize("join", [",", " ", ".", "&", ", Bearer "])
def test_two_tokens_are_none(join: str) -> None:
    assert_refused(mint() + join + mint(), TokenMalformed)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_parts_of_two_tokens_do_not_make_a_third(place: int) -> None:
    one, other = (
        mint(header={"more": 1}, aud="https://billing.internal").split("."),
        mint(header={"more": 2}, scope="invoices:write").split("."),
    )
    one[place] = other[place]
    assert_refused(".".join(one))


@pytest.mark.parametrize("raw", [None, b"a.b.c", 0, True, [], {}, object(), ["a.b.c"]], ids=repr)
def test_what_is_no_text_is_refused(raw: object) -> None:
    assert_refused(raw, TokenMalformed)
