"""Another text that decodes to the same bytes: a second token with a valid signature."""

import base64

import pytest
from client.fixtures_verifying import assert_refused, mint, signing_key, verifier_of

from ephemera_client import TokenMalformed

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def _twins(part: str) -> list[str]:
    """Every other last character that decodes to the same bytes."""
    padding = "=" * (-len(part) % 4)
    same = base64.urlsafe_b64decode(part + padding)
    twins = [part[:-1] + last for last in ALPHABET if last != part[-1]]
    return [twin for twin in twins if base64.urlsafe_b64decode(twin + padding) == same]


@pytest.mark.parametrize("alg", ["ES256", "EdDSA", "RS256"])
@pytest.mark.parametrize("filling", ["", "x", "xx"])
def test_no_part_has_a_second_spelling(alg: str, filling: str) -> None:
    key = signing_key(alg)
    verifier = verifier_of(key)
    parts = mint(key, header={"more": filling}, more=filling).split(".")
    for place, part in enumerate(parts):
        for twin in _twins(part):
            forged = [*parts[:place], twin, *parts[place + 1 :]]
            assert_refused(".".join(forged), TokenMalformed, by=verifier)
    assert any(_twins(part) for part in parts)
    verifier.verify(".".join(parts))


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize(
    "insert",
    [
        "=",
        "==",
        "====",
        "\n",
        "\r\n",
        " ",
        "\t",
        "\x00",
        "+",
        "/",
        "!",
        "*",
        "%3D",
        "é",
        "\u2028",
        "\uff21",
    ],
    ids=ascii,
)
@pytest.mark.parametrize("end", ["front", "middle", "back"])
def test_no_part_has_room_for_another_character(place: int, insert: str, end: str) -> None:
    parts = mint().split(".")
    at = {"front": 0, "middle": 20, "back": len(parts[place])}[end]
    parts[place] = parts[place][:at] + insert + parts[place][at:]
    assert_refused(".".join(parts), TokenMalformed)


def test_the_standard_alphabet_is_refused() -> None:
    token = next(token for token in iter(mint, "") if "-" in token or "_" in token)
    assert_refused(token.replace("-", "+").replace("_", "/"), TokenMalformed)


@pytest.mark.parametrize("length", [1, 5, 9])
def test_a_part_of_a_length_that_no_bytes_encode_to_is_refused(length: int) -> None:
    parts = mint().split(".")
    assert_refused(f"{parts[0]}.{parts[1]}.{'A' * length}", TokenMalformed)


@pytest.mark.parametrize("wrap", [" {}", "{} ", "{}\n", "\ufeff{}", "'{}'", "Bearer {}", "{}."])
def test_nothing_may_surround_the_token(wrap: str) -> None:
    assert_refused(wrap.format(mint()), TokenMalformed)
