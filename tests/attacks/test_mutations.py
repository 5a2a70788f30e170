"""A genuine token with anything at all changed is another token, and not a genuine one."""

import functools

import pytest
from attacks.forging import ALGORITHMS, Forge
from client.fixtures_verifying import verifier_of
from hypothesis import given, settings
from hypothesis import strategies as st

from ephemera_client import NoReplayCache, TokenRefused, Verifier

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_."
ANY_LETTER = st.sampled_from(LETTERS) | st.characters(exclude_categories=())


def _verifier(forge: Forge) -> Verifier:
    # Without single use: a replay's refusal would hide that a mutation had been accepted.
    return verifier_of(forge.key, replay_cache=NoReplayCache())


@functools.cache
def _genuine(alg: str) -> tuple[Forge, str]:
    # One for all examples: each has a length of its own, and what is drawn depends on it.
    forge = Forge(alg)
    return forge, forge.token()


def _is_accepted(verifier: Verifier, raw: str) -> bool:
    try:
        verifier.verify(raw)
    except TokenRefused:
        return False
    return True


@pytest.mark.parametrize("alg", ALGORITHMS)
def test_no_letter_of_a_token_can_be_changed_left_out_or_doubled(alg: str) -> None:
    forge = Forge(alg)
    verifier, token = _verifier(forge), forge.token()
    assert _is_accepted(verifier, token)
    for place, letter in enumerate(token):
        front, back = token[:place], token[place + 1 :]
        # The next of the alphabet differs in the lowest bits, the one half way on in the highest.
        index = LETTERS.index(letter)
        others = (LETTERS[(index + 1) % len(LETTERS)], LETTERS[(index + 32) % len(LETTERS)])
        for other in (*others, "", letter * 2):
            assert not _is_accepted(verifier, front + other + back), (place, other)


@pytest.mark.parametrize("alg", ALGORITHMS)
@settings(deadline=None)
@given(data=st.data())
def test_no_series_of_changes_makes_a_token_that_is_accepted(alg: str, data: st.DataObject) -> None:
    forge, token = _genuine(alg)
    letters = list(token)
    for _ in range(data.draw(st.integers(1, 6))):
        start = data.draw(st.integers(0, len(letters)))
        end = min(start + data.draw(st.integers(0, 4)), len(letters))
        letters[start:end] = data.draw(st.lists(ANY_LETTER, max_size=4))
    mutated = "".join(letters)
    assert _is_accepted(_verifier(forge), mutated) == (mutated == token)


@pytest.mark.parametrize("alg", ALGORITHMS)
@settings(deadline=None)
@given(data=st.data())
def test_no_bit_of_a_signature_can_be_flipped(alg: str, data: st.DataObject) -> None:
    forge = Forge(alg)
    signature_bits = len(forge.key.sign(b"")) * 8
    flipped = data.draw(st.sets(st.integers(0, signature_bits - 1), min_size=1, max_size=8))

    def flip(signature: bytes) -> bytes:
        number = int.from_bytes(signature, "big")
        for bit in flipped:
            number ^= 1 << bit
        return number.to_bytes(len(signature), "big")

    token = forge.signed_by(lambda message: flip(forge.key.sign(message)), header={})
    assert not _is_accepted(_verifier(forge), token)
