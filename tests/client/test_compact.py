import json
import string

import pytest
from client.fixtures_verifying import encode, mint, signing_key
from hypothesis import given
from hypothesis import strategies as st

from ephemera_client.compact import decode_base64url, parse, strict_json
from ephemera_client.errors import EphemeraError, TokenMalformed, TokenTooLarge

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**64), 2**64) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
ANY_TEXT = st.text(st.characters(exclude_categories=()))


def test_a_token_comes_apart_into_what_it_was_made_of() -> None:
    token = mint(scope="a b")
    parts = parse(token)
    assert parts.header["alg"] == "ES256"
    assert parts.claims["scope"] == "a b"
    assert parts.signing_input == token.rpartition(".")[0].encode()
    assert len(parts.signature) == 64
    assert parts.header_segment == token.partition(".")[0].encode()


def test_a_header_seen_before_is_not_decoded_again() -> None:
    token = mint()
    known = {token.partition(".")[0].encode(): {"alg": "remembered"}}
    assert parse(token, headers=known).header == {"alg": "remembered"}
    assert parse(mint(header={"more": 1}), headers=known).header["more"] == 1


@given(st.binary(max_size=100))
def test_base64url_decodes_to_what_was_encoded(data: bytes) -> None:
    if data:
        assert decode_base64url(encode(data)) == data


@given(st.text(string.ascii_letters + string.digits + "-_+/= \n", max_size=12))
def test_a_text_that_decodes_is_the_only_one_for_its_bytes(text: str) -> None:
    try:
        data = decode_base64url(text)
    except ValueError:
        return
    assert encode(data) == text


@given(JSON)
def test_strict_json_reads_what_json_writes(value: object) -> None:
    assert strict_json(json.dumps(value).encode()) == value
    assert strict_json(json.dumps(value, ensure_ascii=False).encode()) == value


@given(st.binary(max_size=60) | st.text('{}[]",:\\u0123456789abcdefNaInity.-+eE ').map(str.encode))
def test_strict_json_raises_nothing_but_value_errors(data: bytes) -> None:
    try:
        strict_json(data)
    except ValueError as error:
        assert data.decode("latin-1") not in str(error) or len(data) < 9  # noqa: PT017


@given(
    ANY_TEXT
    | st.lists(st.binary(max_size=40), min_size=1, max_size=5).map(
        lambda parts: ".".join(encode(part) for part in parts)
    )
    | st.lists(JSON, min_size=3, max_size=3).map(
        lambda parts: ".".join(encode(json.dumps(part).encode()) for part in parts)
    )
)
def test_no_text_raises_anything_but_our_own(raw: str) -> None:
    try:
        parse(raw)
    except EphemeraError as error:
        assert isinstance(error, TokenMalformed | TokenTooLarge)  # noqa: PT017


@given(st.data())
def test_a_token_with_one_character_changed_is_another_token(data: st.DataObject) -> None:
    token = mint(signing_key("EdDSA"), jti="fixed")
    place = data.draw(st.integers(0, len(token) - 1))
    other = data.draw(st.characters(codec="ascii").filter(lambda letter: letter != token[place]))
    altered = token[:place] + other + token[place + 1 :]
    try:
        parts = parse(altered)
    except TokenMalformed:
        return
    original = parse(token)
    assert (parts.signing_input, parts.signature) != (original.signing_input, original.signature)


@pytest.mark.parametrize("text", ["", "A", "AA=", "AB", "A A", "AA\n", "é", "+A", "/A"])
def test_what_is_not_canonical_base64url_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="base64url"):
        decode_base64url(text)
