"""Other tokens of the same issuer, shown as access tokens (RFC 8725 §3.11)."""

import pytest
from client.fixtures_verifying import assert_refused, mint, verifier_of

from ephemera_client import TypeRefused


@pytest.mark.parametrize(
    "typ",
    [
        "at+jwt",
        "AT+JWT",
        "At+jWt",
        "application/at+jwt",
        "Application/AT+JWT",
    ],
)
def test_every_spelling_of_the_media_type_is_accepted(typ: str) -> None:
    verifier_of().verify(mint(header={"typ": typ}))


@pytest.mark.parametrize(
    "typ",
    [
        ...,
        None,
        "",
        "JWT",
        "jwt",
        "application/jwt",
        "JOSE",
        "at+jwt ",
        " at+jwt",
        "at+jwt;v=1",
        "at+jwt\u0000",
        "at jwt",
        "text/at+jwt",
        "application/application/at+jwt",
        "logout+jwt",
        "secevent+jwt",
        "dpop+jwt",
        "client-authentication+jwt",
        "token-introspection+jwt",
        "a\uff54+jwt",
        0,
        True,
        [],
        ["at+jwt"],
        {"at+jwt": True},
    ],
    ids=ascii,
)
def test_another_type_is_refused(typ: object) -> None:
    assert_refused(mint(header={"typ": typ}), TypeRefused)


def test_cty_has_no_say() -> None:
    verifier_of().verify(mint(header={"cty": "JWT"}))
