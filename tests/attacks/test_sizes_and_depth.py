"""Tokens made to cost: long, deep, or slow to look at."""

import json
import time

import pytest
from client.fixtures_verifying import (
    assert_refused,
    claims_of,
    header_of,
    mint,
    mint_bytes,
    signing_key,
    verifier_of,
)

from ephemera_client import TokenMalformed, TokenTooLarge
from ephemera_client.compact import MAX_LENGTH, strict_json

KEY = signing_key("ES256")
HEADER = json.dumps(header_of(KEY)).encode()


def test_a_token_of_8_kib_is_accepted_and_none_longer() -> None:
    wide = 3 * (MAX_LENGTH - len(mint(more=""))) // 4
    sizes = {len(token): token for token in (mint(more="x" * (wide + n)) for n in range(-8, 8))}
    longest = max(size for size in sizes if size <= MAX_LENGTH)
    verifier_of().verify(sizes[longest])
    assert_refused(sizes[min(size for size in sizes if size > MAX_LENGTH)], TokenTooLarge)


@pytest.mark.parametrize("length", [MAX_LENGTH + 1, 10**6, 10**7])
def test_length_is_looked_at_before_anything_else(length: int) -> None:
    assert_refused("." * length, TokenTooLarge)


def _nested(depth: int, shape: str) -> bytes:
    opening, closing = ("[", "]") if shape == "array" else ('{"a":', "}")
    inner = depth - 1
    return f'{{"more": {opening * inner}1{closing * inner}, {json.dumps(claims_of())[1:]}'.encode()


@pytest.mark.parametrize("shape", ["array", "object"])
@pytest.mark.parametrize(("depth", "accepted"), [(8, True), (9, False), (500, False)])
def test_depth_eight_is_the_last(depth: int, shape: str, *, accepted: bool) -> None:
    token = mint_bytes(KEY, HEADER, _nested(depth, shape))
    if accepted:
        verifier_of().verify(token)
    else:
        assert_refused(token, TokenMalformed)


def test_many_brackets_side_by_side_or_in_strings_are_not_deep() -> None:
    verifier_of().verify(mint(more=[[], {}] * 20, text='[[[[[[[[[["\\"[[[' * 9))


@pytest.mark.parametrize("bracket", ["[", "{", '{"":', '["', "]", "[{"])
def test_an_endless_opening_raises_nothing_else(bracket: str) -> None:
    assert_refused(mint_bytes(KEY, HEADER, (bracket * 5800).encode()[:5800]), TokenMalformed)
    assert_refused(mint_bytes(KEY, (bracket * 5600).encode()[:5600], b"{}"), TokenMalformed)


@pytest.mark.parametrize("filling", [b'"', b"\\", b'\\"', b'"\\', b"[", b'["\\"', b'{"\\\\"'])
def test_no_filling_makes_the_parser_slow(filling: bytes) -> None:
    began = time.process_time()
    with pytest.raises(ValueError, match=r"^(not JSON|nested too deeply)$"):
        strict_json((b"[" * 9 + filling * 50_000)[:50_000])
    assert time.process_time() - began < 1


def test_a_number_with_thousands_of_digits_is_refused() -> None:
    payload = json.dumps(claims_of())[:-1] + ', "more": ' + "9" * 5000 + "}"
    assert_refused(mint_bytes(KEY, HEADER, payload.encode()), TokenMalformed)
