import pytest
from client.fixtures_verifying import AUDIENCE, ISSUER, NOW, mint, verifier_of

from ephemera_client import AccessToken, InsufficientScope


@pytest.fixture
def token() -> AccessToken:
    return verifier_of().verify(
        mint(scope="invoices:read invoices:write", jti="one", sub="on-behalf")
    )


def test_a_token_says_what_its_claims_say(token: AccessToken) -> None:
    assert (token.client_id, token.subject, token.token_id) == ("orders", "on-behalf", "one")
    assert (token.issuer, token.audience) == (ISSUER, AUDIENCE)
    assert (token.issued_at, token.expires_at) == (NOW, NOW + 120)
    assert token.scopes == {"invoices:read", "invoices:write"}
    assert token.accepted_at.wall == NOW
    assert token.claims["jti"] == "one"


def test_a_token_cannot_be_changed(token: AccessToken) -> None:
    with pytest.raises(AttributeError):
        token.scopes = frozenset({"admin"})  # type: ignore[misc]
    with pytest.raises(AttributeError):
        token.more = 1  # type: ignore[attr-defined]
    with pytest.raises(TypeError):
        token.claims["sub"] = "root"  # type: ignore[index]


def test_further_scopes_can_be_demanded_later(token: AccessToken) -> None:
    token.require()
    token.require("invoices:read")
    with pytest.raises(InsufficientScope, match="admin invoices:read") as caught:
        token.require("invoices:read", "admin")
    assert caught.value.required == {"invoices:read", "admin"}


def test_its_repr_names_the_parties_and_not_the_id(token: AccessToken) -> None:
    assert repr(token) == (
        "AccessToken(client_id='orders', audience='https://billing.internal', "
        "scopes=['invoices:read', 'invoices:write'], expires_at=1800000120)"
    )
