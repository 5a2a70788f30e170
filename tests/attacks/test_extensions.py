"""Headers that change what the signature covers or what the payload is."""

import pytest
from client.fixtures_verifying import (
    assert_refused,
    encode,
    header_of,
    mint,
    mint_bytes,
    signing_key,
)

from ephemera_client import HeaderRefused, TokenMalformed


@pytest.mark.parametrize(
    "header",
    [
        {"crit": ["exp"]},
        {"crit": []},
        {"crit": None},
        {"crit": ["b64"], "b64": False},
        {"crit": ["b64"], "b64": True},
        {"crit": ["http://example.com/UNDEFINED"], "http://example.com/UNDEFINED": True},
        {"b64": False},
        {"b64": True},
        {"b64": "false"},
        {"zip": "DEF"},
        {"zip": None},
    ],
    ids=repr,
)
def test_crit_b64_and_zip_are_refused(header: dict[str, object]) -> None:
    assert_refused(mint(header=header), HeaderRefused)


def test_an_unencoded_payload_is_refused() -> None:
    key = signing_key("ES256")
    head = encode(b'{"alg":"ES256","typ":"at+jwt","kid":"%s","b64":false}' % key.kid.encode())
    payload = '{"iss":"x"}'
    token = f"{head}.{payload}.{encode(key.sign(f'{head}.{payload}'.encode()))}"
    assert_refused(token, TokenMalformed)


def test_a_detached_payload_is_refused() -> None:
    head, _, signature = mint().split(".")
    assert_refused(f"{head}..{signature}", TokenMalformed)


def test_a_compressed_payload_is_refused() -> None:
    key = signing_key("ES256")
    header = str(header_of(key)).replace("'", '"').encode()
    assert_refused(mint_bytes(key, header, b"\x78\x9c\x03\x00\x00\x00\x00\x01"), TokenMalformed)
