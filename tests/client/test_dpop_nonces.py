import copy
import pickle
from typing import Any

import pytest

from ephemera_client import ConfigurationError, DPoPNonces

NOW = 1_800_000_000
SECRET, NEXT = b"s" * 32, b"t" * 32


def test_a_nonce_is_known_again_by_whoever_shares_the_secret_until_it_is_too_old() -> None:
    nonce = DPoPNonces(SECRET).make(NOW + 0.9)
    replica = DPoPNonces(SECRET)
    for now in (NOW - 5, NOW, NOW + 299.9):
        assert replica.made_at(nonce, now=now) == NOW
    assert replica.made_at(nonce, now=NOW + 300) is None
    assert DPoPNonces(SECRET, max_age=60).made_at(nonce, now=NOW + 60) is None
    assert DPoPNonces(NEXT).made_at(nonce, now=NOW) is None


def test_while_the_secret_changes_both_are_known_and_the_first_makes_nonces() -> None:
    changing = DPoPNonces((NEXT, SECRET))
    assert changing.made_at(DPoPNonces(SECRET).make(NOW), now=NOW) == NOW
    assert DPoPNonces(NEXT).made_at(changing.make(NOW), now=NOW) == NOW


def test_each_process_has_a_secret_of_its_own_unless_it_is_told_one() -> None:
    one, other = DPoPNonces.of_this_process(), DPoPNonces.of_this_process()
    assert one.made_at(one.make(NOW), now=NOW) == NOW
    assert other.made_at(one.make(NOW), now=NOW) is None


def test_no_character_of_a_nonce_can_be_another() -> None:
    nonces = DPoPNonces(SECRET)
    nonce = nonces.make(NOW)
    for place, character in enumerate(nonce):
        for other in "Aa0-_=. \u00e9":
            if other != character:
                forged = nonce[:place] + other + nonce[place + 1 :]
                assert nonces.made_at(forged, now=NOW) is None
    junk: list[Any] = ["", nonce + "A", nonce[:-1], None, 7, [nonce], b"x"]
    for forged in junk:
        assert nonces.made_at(forged, now=NOW) is None


@pytest.mark.parametrize(
    ("secret", "more"),
    [
        (b"short", {}),
        ((), {}),
        ((SECRET, b"short"), {}),
        ("s" * 32, {}),
        (SECRET, {"max_age": 0}),
        (SECRET, {"max_age": 3601}),
        (SECRET, {"max_age": 1.5}),
    ],
)
def test_a_weak_secret_or_an_age_out_of_range_is_refused(secret: Any, more: Any) -> None:
    with pytest.raises(ConfigurationError):
        DPoPNonces(secret, **more)


def test_the_secret_goes_nowhere() -> None:
    nonces = DPoPNonces(SECRET)
    assert repr(nonces) == "DPoPNonces(max_age=300)"
    for attempt in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            attempt(nonces)
