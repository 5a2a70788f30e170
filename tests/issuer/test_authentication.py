from __future__ import annotations

import base64
import hmac
from typing import TYPE_CHECKING

import pytest
from issuer.fixtures_minting import OLD_SECRET, SECRET, basic, digest, snapshot

from ephemera_issuer.authentication import identify, secret
from ephemera_issuer.errors import RequestRefused
from ephemera_issuer.form import TokenRequest

if TYPE_CHECKING:
    from ephemera_issuer.registry.entries import Client

CLIENTS = snapshot().clients


def identified(
    *authorization: str, client_id: str | None = None, credential_in_form: bool = False
) -> Client:
    request = TokenRequest("urn:x", None, None, client_id, credential_in_form)
    headers = [value.encode("latin-1") for value in authorization]
    return identify(CLIENTS, authorization=headers, request=request)


def refused(
    *authorization: str, client_id: str | None = None, credential_in_form: bool = False
) -> RequestRefused:
    with pytest.raises(RequestRefused) as caught:
        identified(*authorization, client_id=client_id, credential_in_form=credential_in_form)
    return caught.value


def encoded(pair: bytes | str) -> str:
    return base64.b64encode(pair.encode() if isinstance(pair, str) else pair).decode()


def test_a_client_proves_itself_with_its_secret() -> None:
    assert identified(basic()).id == "orders"


def test_both_of_two_live_secrets_are_good() -> None:
    assert identified(basic(secret=OLD_SECRET)).id == "orders"


def test_the_form_may_name_the_client_that_authenticates() -> None:
    assert identified(basic(), client_id="orders").id == "orders"


@pytest.mark.parametrize("scheme", ["basic", "BASIC", "bAsIc"])
def test_the_scheme_is_case_insensitive(scheme: str) -> None:
    assert identified(basic().replace("Basic", scheme)).id == "orders"


def test_id_and_secret_are_form_encoded() -> None:
    name = "caf\u00e9: %1+"
    assert identified(basic(name)).id == name
    # As it stands, its first colon would end the id.
    assert refused("Basic " + encoded(f"{name}:{SECRET}")).error == "invalid_client"


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Basic",
        "Basic ",
        "Basic  ",
        "Basic !",
        "Basic " + encoded("orders"),
        "Basic " + encoded(""),
        "Basic " + encoded(":"),
        "Basic " + encoded("orders:"),
        "Basic " + encoded(f":{SECRET}"),
        "Basic " + encoded(f"orders:{SECRET}").rstrip("="),
        "Basic " + encoded(f"orders:{SECRET}") + "=",
        "Basic " + encoded(f"orders:{SECRET}") + "AAAA",
        "Basic\t" + encoded(f"orders:{SECRET}"),
        "Basic " + encoded(f"orders:{SECRET}%"),
        "Basic " + encoded(f"orders%ff:{SECRET}"),
        "Basic " + encoded(b"orders\xff:secret"),
        f"Basic orders:{SECRET}",
        "Bearer " + encoded(f"orders:{SECRET}"),
        "Digest username=orders",
        encoded(f"orders:{SECRET}"),
        "\xff\xfe",
        basic(secret="wrong"),
        basic("nobody"),
        basic("gone", "wrong"),
        basic("without credential", ""),
        basic("Orders"),
        basic("orders "),
    ],
)
def test_whatever_is_wrong_with_a_credential_the_refusal_is_the_same(authorization: str) -> None:
    error = refused(authorization)
    assert (error.error, error.description) == ("invalid_client", "client authentication failed")
    assert error.__cause__ is None
    assert error.__suppress_context__ or error.__context__ is None


def test_no_credential_at_all_is_refused_the_same_way() -> None:
    error = refused(client_id="orders")
    assert (error.error, error.description) == ("invalid_client", "client authentication failed")


def test_a_credential_in_the_form_is_not_a_method_of_this_issuer() -> None:
    assert refused(client_id="orders", credential_in_form=True).error == "invalid_client"


def test_a_disabled_client_is_told_so_once_it_has_proved_its_secret() -> None:
    assert refused(basic("gone")).error == "unauthorized_client"


def test_two_authentication_methods_are_refused() -> None:
    assert refused(basic(), credential_in_form=True).error == "invalid_request"


def test_two_authorization_headers_are_refused() -> None:
    assert refused(basic(), basic()).error == "invalid_request"


def test_a_client_id_in_the_form_that_is_another_one_is_refused() -> None:
    error = refused(basic(), client_id="gone")
    assert error.error == "invalid_request"
    assert "gone" not in error.description


@pytest.mark.parametrize(
    "authorization",
    [basic(), basic(secret="wrong"), basic("nobody"), basic("gone"), basic("without credential")],
)
def test_an_unknown_client_costs_the_same_comparisons_as_a_known_one(
    authorization: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared = []

    def compare(first: bytes, second: bytes) -> bool:
        compared.append((len(first), len(second)))
        return hmac.compare_digest(first, second)

    monkeypatch.setattr(secret, "compare_digest", compare)
    secret.proves(
        credential := secret.parse(authorization.encode()), CLIENTS.get(credential.client_id)
    )
    assert compared == [(32, 32), (32, 32)]


def test_a_credential_shows_nothing_of_itself() -> None:
    credential = secret.parse(basic().encode())
    for text in (repr(credential), str(credential), f"{credential}"):
        assert SECRET not in text
        assert repr(digest(SECRET)) not in text
