import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ephemera_keys import SealingKey, SealingKeyInvalid, SealingKeys, SecretNotPicklable

SECRET = bytes(range(32))
TEXT = "ephemera-sealing-key-1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"


def test_the_text_form_reads_back_as_the_same_key() -> None:
    assert SealingKey(SECRET).reveal() == TEXT
    assert SealingKey.parse(TEXT).fingerprint == SealingKey(SECRET).fingerprint
    assert SealingKey.parse(TEXT).reveal() == TEXT


def test_every_new_key_is_another() -> None:
    assert len({SealingKey.generate().reveal() for _ in range(20)}) == 20


def test_a_fingerprint_is_16_digits_and_stays_the_same() -> None:
    assert SealingKey(SECRET).fingerprint == "63a17cf5ff2facd6"
    assert SealingKey(bytes(32)).fingerprint != SealingKey(SECRET).fingerprint


@pytest.mark.parametrize("length", [0, 16, 24, 31, 33, 64])
def test_a_key_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(SealingKeyInvalid, match="32 bytes"):
        SealingKey(bytes(length))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ephemera-sealing-key-1:",
        TEXT[:-1],
        TEXT + "A",
        TEXT + "=",
        TEXT + "\n",
        " " + TEXT,
        TEXT.removeprefix("ephemera-sealing-key-1:"),
        TEXT.replace("-1:", "-2:"),
        TEXT.replace("ephemera", "EPHEMERA"),
        "ephemera-sealing-key-1:" + TEXT,
        TEXT[:-1] + "9",  # the same bytes, with bits set that no byte has
        TEXT[:-2] + "+/",
        TEXT[:40] + "\n" + TEXT[40:],
        TEXT[:-1] + "é",
        TEXT[:-1] + "\ud800",
        TEXT[:-1] + "\0",
        SECRET.hex(),
    ],
)
def test_any_other_text_is_refused_and_not_quoted(text: str) -> None:
    with pytest.raises(SealingKeyInvalid) as refusal:
        SealingKey.parse(text)
    assert "AAECAwQF" not in f"{refusal.value!r} {refusal.value}"
    assert refusal.value.__cause__ is None
    assert refusal.value.__context__ is None


@settings(derandomize=True, deadline=None, database=None)
@given(st.text())
def test_whatever_the_text_only_our_own_error_is_raised(text: str) -> None:
    # Hypothesis also tries the constants of whatever is loaded, and 43 characters may be a key.
    for attempt in (text, TEXT[:23] + text, TEXT[:50] + text):
        try:
            key = SealingKey.parse(attempt)
        except SealingKeyInvalid:
            continue
        assert key.reveal() == attempt


def test_a_repr_shows_the_fingerprint_and_no_secret() -> None:
    key = SealingKey(SECRET)
    assert repr(key) == str(key) == "SealingKey(fingerprint='63a17cf5ff2facd6')"
    assert repr(SealingKeys([key])) == "SealingKeys(fingerprints=('63a17cf5ff2facd6',))"
    assert not hasattr(key, "__dict__")


@pytest.mark.parametrize("carry", [pickle.dumps, copy.copy, copy.deepcopy])
def test_a_sealing_key_is_neither_pickled_nor_copied(carry: Callable[[Any], Any]) -> None:
    with pytest.raises(SecretNotPicklable):
        carry(SealingKey(SECRET))


@pytest.mark.parametrize("carry", [pickle.dumps, copy.deepcopy])
def test_nor_are_several(carry: Callable[[Any], Any]) -> None:
    with pytest.raises(SecretNotPicklable):
        carry(SealingKeys([SealingKey(SECRET)]))


def test_what_is_derived_for_one_purpose_is_nothing_for_another_and_not_the_key() -> None:
    key, other = SealingKey(SECRET), SealingKey(bytes(32))
    derived = {key.derive(b"nonces"), key.derive(b"else"), other.derive(b"nonces")}
    assert len(derived | {SECRET}) == 4
    assert {len(secret) for secret in derived} == {32}
    both = SealingKeys([key, other])
    assert both.derive(b"nonces") == (key.derive(b"nonces"), other.derive(b"nonces"))
