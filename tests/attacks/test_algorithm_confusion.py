"""Verifiers pinned otherwise than to one algorithm whose key signed."""

import pytest
from attacks.forging import ALGORITHMS
from client.fixtures_verifying import assert_refused, mint, signing_key, verifier_of

from ephemera_client import AlgorithmRefused, KeyUnsuitable


@pytest.mark.parametrize("pinned", ALGORITHMS)
@pytest.mark.parametrize("said", ALGORITHMS)
@pytest.mark.parametrize("signed_with", ALGORITHMS)
def test_only_the_pinned_algorithm_with_its_own_key_gets_in(
    pinned: str, said: str, signed_with: str
) -> None:
    keys = [signing_key(alg) for alg in ALGORITHMS]
    verifier = verifier_of(*keys, algorithm=pinned)
    token = mint(signing_key(signed_with), header={"alg": said})
    if pinned == said == signed_with:
        verifier.verify(token)
    else:
        assert_refused(token, AlgorithmRefused if said != pinned else KeyUnsuitable, by=verifier)


@pytest.mark.parametrize("alg", ["ES256", "EdDSA"])
def test_while_two_algorithms_are_pinned_each_key_still_verifies_only_its_own(alg: str) -> None:
    keys = signing_key("ES256"), signing_key("EdDSA")
    verifier = verifier_of(*keys, algorithm=("ES256", "EdDSA"))
    verifier.verify(mint(signing_key(alg)))
    other = keys[alg == "ES256"]
    assert_refused(mint(signing_key(alg), header={"kid": other.kid}), KeyUnsuitable, by=verifier)
