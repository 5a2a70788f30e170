"""JSON that two readers read differently."""

import json

import pytest
from client.fixtures_verifying import (
    assert_refused,
    claims_of,
    header_of,
    mint_bytes,
    signing_key,
    verifier_of,
)

from ephemera_client import EphemeraError, TokenMalformed
from ephemera_client.compact import strict_json

KEY = signing_key("ES256")
HEADER = json.dumps(header_of(KEY)).encode()


def _claims(text: str) -> bytes:
    """A good payload with this text in front of its members."""
    return b"{" + text.encode() + json.dumps(claims_of())[1:].encode()


@pytest.mark.parametrize("name", ["aud", "exp", "scope", "jti"])
@pytest.mark.parametrize("escaped", [False, True], ids=["plain", "escaped"])
def test_a_claim_that_appears_twice_is_refused(name: str, *, escaped: bool) -> None:
    again = "".join(f"\\u{ord(letter):04x}" for letter in name) if escaped else name
    doubled = _claims(f'"{again}": "{name}", ')
    assert_refused(mint_bytes(KEY, HEADER, doubled), TokenMalformed)
    nested = _claims(f'"more": {{"{name}": 1, "{again}": 1}}, ')
    assert_refused(mint_bytes(KEY, HEADER, nested), TokenMalformed)


@pytest.mark.parametrize("name", ["alg", "typ", "kid"])
def test_a_header_that_appears_twice_is_refused(name: str) -> None:
    header = b"{" + f'"{name}": "none", '.encode() + HEADER[1:]
    assert_refused(mint_bytes(KEY, header, _claims("")), TokenMalformed)


@pytest.mark.parametrize(
    "value",
    [
        "NaN",
        "Infinity",
        "-Infinity",
        "1e999",
        "-1e999",
        "0x10",
        "01",
        "+1",
        "1.",
        ".5",
        "'a'",
        "undefined",
        "True",
        '"\\x41"',
        '"a\nb"',
        '"\x00"',
        "1" * 5000,
        "[1,]",
        "/* */ 1",
    ],
    ids=ascii,
)
def test_what_only_some_parsers_take_for_a_value_is_refused(value: str) -> None:
    assert_refused(mint_bytes(KEY, HEADER, _claims(f'"more": {value}, ')), TokenMalformed)


@pytest.mark.parametrize(
    "payload",
    [b"", b"null", b"[]", b'""', b"0", b"{", b"}", b"{}{}", b"{} {}", b"{},", b"{}\x00", b"{}//"],
)
def test_a_payload_that_is_not_one_object_is_refused(payload: bytes) -> None:
    assert_refused(mint_bytes(KEY, HEADER, payload), TokenMalformed)
    assert_refused(mint_bytes(KEY, payload, _claims("")), TokenMalformed)


def test_json_whitespace_around_and_inside_is_no_offence() -> None:
    spaced = json.dumps(claims_of(), indent="\t").encode()
    verifier_of().verify(mint_bytes(KEY, b"\n" + HEADER + b"\r\n", b" " + spaced + b" \t"))


def test_the_text_of_the_error_quotes_nothing() -> None:
    with pytest.raises(EphemeraError) as caught:
        verifier_of().verify(mint_bytes(KEY, HEADER, b'{"password": hunter2}'))
    assert "hunter2" not in repr(caught.value)


@pytest.mark.parametrize(
    "text", [b'{"a":1,"a":1}', b'[{"b":{"a":1,"a":2}}]', b'{"a":1,"\\u0061":1}']
)
def test_duplicates_are_found_at_any_depth_and_in_any_spelling(text: bytes) -> None:
    with pytest.raises(ValueError, match="twice"):
        strict_json(text)
