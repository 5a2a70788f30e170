"""Tokens made to cost: long, deep, or slow to look at."""

import time

import pytest
from client.fixtures_verifying import assert_refused, mint, verifier_of

from ephemera_client import TokenTooLarge
from ephemera_client.compact import MAX_LENGTH, strict_json


def test_a_token_of_8_kib_is_accepted_and_none_longer() -> None:
    wide = 3 * (MAX_LENGTH - len(mint(more=""))) // 4
    sizes = {len(token): token for token in (mint(more="x" * (wide + n)) for n in range(-8, 8))}
    longest = max(size for size in sizes if size <= MAX_LENGTH)
    verifier_of().verify(sizes[longest])
    assert_refused(sizes[min(size for size in sizes if size > MAX_LENGTH)], TokenTooLarge)


@pytest.mark.parametrize("filling", [b'"', b"\\", b'\\"', b'"\\', b"[", b'["\\"', b'{"\\\\"'])
def test_no_filling_makes_the_parser_slow(filling: bytes) -> None:
    began = time.process_time()
    with pytest.raises(ValueError, match=r"^(not JSON|nested too deeply)$"):
        strict_json((b"[" * 9 + filling * 50_000)[:50_000])
    assert time.process_time() - began < 1
