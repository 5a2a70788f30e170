"""Another text that decodes to the same bytes: a second token with a valid signature."""

import pytest
from attacks.forgeries.base64_malleability import twins
from attacks.forging import ALGORITHMS
from client.fixtures_verifying import assert_refused, mint, signing_key, verifier_of

from ephemera_client import TokenMalformed


@pytest.mark.parametrize("alg", ALGORITHMS)
@pytest.mark.parametrize("filling", ["", "x", "xx"])
def test_no_part_has_a_second_spelling(alg: str, filling: str) -> None:
    key = signing_key(alg)
    verifier = verifier_of(key)
    parts = mint(key, header={"more": filling}, more=filling).split(".")
    for place, part in enumerate(parts):
        for twin in twins(part):
            forged = [*parts[:place], twin, *parts[place + 1 :]]
            assert_refused(".".join(forged), TokenMalformed, by=verifier)
    assert any(twins(part) for part in parts)
    verifier.verify(".".join(parts))
