"""What is no JWS in compact form."""

import pytest
from attacks.forgeries.serialisations import encrypted
from attacks.forging import Forge
from client.fixtures_verifying import assert_refused, verifier_of

from ephemera_client import TokenMalformed


def test_an_encrypted_token_is_refused_and_the_error_says_so() -> None:
    with pytest.raises(TokenMalformed, match="JWE"):
        verifier_of().verify(encrypted("dir", "AAAA")(Forge()))


@pytest.mark.parametrize(
    "raw",
    [None, b"a.b.c", 0, True, [], {}, object(), ["a.b.c"]],
    ids=lambda raw: type(raw).__name__,
)
def test_what_is_no_text_is_refused(raw: object) -> None:
    assert_refused(raw, TokenMalformed)
