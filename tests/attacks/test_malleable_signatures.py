"""ES256 signatures come in pairs: where s verifies, so does n - s.

The standard has it so, and so does every verifier. A token is therefore known by its `jti`, never
by its text or its signature.
"""

import pytest
from attacks.forgeries.signatures import negated
from client.fixtures_verifying import AUDIENCE, assert_refused, mint, verifier_of

from ephemera_client import TokenReplayed


def test_the_other_signature_is_one_as_well() -> None:
    token = mint()
    assert negated(token) != token
    assert negated(negated(token)) == token
    assert verifier_of().verify(negated(token)).audience == AUDIENCE


@pytest.mark.parametrize("original_first", [True, False])
def test_whichever_of_the_two_comes_first_is_the_only_one_accepted(*, original_first: bool) -> None:
    verifier = verifier_of()
    token = mint()
    first, second = (token, negated(token)) if original_first else (negated(token), token)
    verifier.verify(first)
    assert_refused(second, TokenReplayed, by=verifier)
    assert_refused(first, TokenReplayed, by=verifier)
