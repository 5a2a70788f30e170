import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ephemera_keys import SealBroken, SealingKey, SealingKeyInvalid, SealingKeys, generate, pem

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "sealing.json").read_text())
BOUND = {"issuer": "https://tokens.internal", "kid": "a-kid", "alg": "ES256"}
KEY = SealingKey(bytes(range(32)))
KEYS = SealingKeys([KEY])
SEALED = KEYS.seal(b"plaintext", **BOUND)


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["comment"])
def test_what_an_earlier_release_sealed_opens(vector: dict[str, Any]) -> None:
    key = SealingKey.parse(vector.pop("sealing_key"))
    assert key.fingerprint == vector.pop("fingerprint")
    plaintext, sealed = vector.pop("plaintext").encode(), bytes.fromhex(vector.pop("sealed"))
    assert vector.pop("comment")
    assert SealingKeys([key]).open(sealed, **vector) == plaintext


def test_a_private_key_comes_back_as_it_was() -> None:
    text = pem.dump(generate("ES256"))
    assert KEYS.open(KEYS.seal(text, **BOUND), **BOUND) == text


@settings(derandomize=True, deadline=None, database=None)
@given(plaintext=st.binary(), issuer=st.text(), kid=st.text(), alg=st.text())
def test_whatever_is_sealed_opens(plaintext: bytes, issuer: str, kid: str, alg: str) -> None:
    sealed = KEYS.seal(plaintext, issuer=issuer, kid=kid, alg=alg)
    assert KEYS.open(sealed, issuer=issuer, kid=kid, alg=alg) == plaintext


def test_no_two_seals_are_alike() -> None:
    assert len({KEYS.seal(b"plaintext", **BOUND) for _ in range(50)}) == 50


@pytest.mark.parametrize("part", ["issuer", "kid", "alg"])
def test_a_seal_for_something_else_does_not_open(part: str) -> None:
    with pytest.raises(SealBroken, match="altered, or sealed for another issuer, kid or alg"):
        KEYS.open(SEALED, **BOUND | {part: "another"})


def test_letters_moved_between_the_parts_do_not_open() -> None:
    sealed = KEYS.seal(b"plaintext", issuer="ab", kid="c", alg="d")
    for issuer, kid, alg in [
        ("a", "bc", "d"),
        ("ab", "", "cd"),
        ("abcd", "", ""),
        ("", "", "abcd"),
    ]:
        with pytest.raises(SealBroken):
            KEYS.open(sealed, issuer=issuer, kid=kid, alg=alg)


@pytest.mark.parametrize("position", range(len(SEALED)))
def test_no_byte_can_be_changed(position: int) -> None:
    for bit in range(8):
        altered = bytearray(SEALED)
        altered[position] ^= 1 << bit
        with pytest.raises(SealBroken):
            KEYS.open(bytes(altered), **BOUND)


def test_nothing_can_be_cut_off_or_added() -> None:
    for altered in [SEALED[:cut] for cut in range(len(SEALED))] + [SEALED + b"\0", b"\1" + SEALED]:
        with pytest.raises(SealBroken):
            KEYS.open(altered, **BOUND)


@settings(derandomize=True, deadline=None, database=None)
@given(st.binary(max_size=100))
def test_noise_does_not_open(noise: bytes) -> None:
    for sealed in (noise, SEALED[:9] + noise):
        with pytest.raises(SealBroken):
            KEYS.open(sealed, **BOUND)


def test_another_format_is_told_apart_from_a_broken_seal() -> None:
    with pytest.raises(SealBroken, match="not a sealed key of a known format") as refusal:
        KEYS.open(b"\x02" + SEALED[1:], **BOUND)
    assert refusal.value.wanted is None
    assert refusal.value.held == KEYS.fingerprints


def test_a_sealing_key_that_is_not_there_is_named_beside_those_that_are() -> None:
    others = SealingKeys([SealingKey.generate(), SealingKey.generate()])
    with pytest.raises(SealBroken, match=f"a-kid is sealed under .* {KEY.fingerprint}") as refusal:
        others.open(SEALED, **BOUND)
    assert refusal.value.wanted == KEY.fingerprint
    assert refusal.value.held == others.fingerprints
    assert ", ".join(others.fingerprints) in str(refusal.value)


def test_a_broken_seal_says_nothing_of_what_was_sealed() -> None:
    with pytest.raises(SealBroken) as refusal:
        KEYS.open(SEALED, **BOUND | {"kid": "another"})
    said = f"{refusal.value!r} {refusal.value}"
    assert SEALED[21:].hex() not in said
    assert refusal.value.__cause__ is None
    assert refusal.value.__suppress_context__


def test_the_first_key_seals_and_all_open() -> None:
    new = SealingKey.generate()
    both = SealingKeys([new, KEY])
    assert both.fingerprints == (new.fingerprint, KEY.fingerprint)
    assert both.open(SEALED, **BOUND) == b"plaintext"
    resealed = both.seal(b"plaintext", **BOUND)
    assert SealingKeys([new]).open(resealed, **BOUND) == b"plaintext"
    with pytest.raises(SealBroken):
        KEYS.open(resealed, **BOUND)


@pytest.mark.parametrize(
    ("keys", "reason"), [(list, "no sealing key"), (lambda: [KEY, KEY], "there twice")]
)
def test_no_key_and_one_key_twice_are_refused(
    keys: Callable[[], list[SealingKey]], reason: str
) -> None:
    with pytest.raises(SealingKeyInvalid, match=reason):
        SealingKeys(keys())
