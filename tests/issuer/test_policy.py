from __future__ import annotations

from dataclasses import replace

import pytest
from issuer.fixtures_minting import BILLING, LEDGER, snapshot

from ephemera_issuer.errors import RequestRefused
from ephemera_issuer.form import TokenRequest
from ephemera_issuer.policy import Decision, decide
from ephemera_issuer.registry.entries import Grant

SNAPSHOT = snapshot()
ORDERS = SNAPSHOT.clients["orders"]


def asking(
    audience: str = BILLING, *, scopes: set[str] | None = None, lifetime: int | None = None
) -> TokenRequest:
    wanted = None if scopes is None else frozenset(scopes)
    return TokenRequest(audience, wanted, lifetime, None, credential_in_form=False)


def refused(request: TokenRequest) -> RequestRefused:
    with pytest.raises(RequestRefused) as caught:
        decide(SNAPSHOT, ORDERS, request)
    return caught.value


def test_without_scopes_all_that_is_granted_is_given() -> None:
    assert decide(SNAPSHOT, ORDERS, asking()) == Decision(
        client_id="orders",
        audience=BILLING,
        scope="invoices:read invoices:write",
        lifetime=120,
        single_use=True,
    )


def test_with_scopes_just_these_are_given() -> None:
    assert decide(SNAPSHOT, ORDERS, asking(scopes={"invoices:write"})).scope == "invoices:write"


def test_one_ungranted_scope_refuses_the_whole_request() -> None:
    error = refused(asking(scopes={"invoices:read", "invoices:delete"}))
    assert error.error == "invalid_scope"
    assert error.description == f"granted for {BILLING}: invoices:read invoices:write"


@pytest.mark.parametrize(
    "audience",
    [
        "https://nowhere.internal",
        "https://private.internal",
        BILLING + "/",
        "HTTPS://billing.internal",
        "https://BILLING.internal",
    ],
)
def test_an_audience_without_a_grant_is_refused_whether_it_exists_or_not(audience: str) -> None:
    error = refused(asking(audience))
    assert error.error == "invalid_target"
    assert error.description == "this client has no grant for that audience"


def test_a_grant_of_another_client_is_no_grant() -> None:
    with pytest.raises(RequestRefused, match="no grant"):
        decide(SNAPSHOT, SNAPSHOT.clients["gone"], asking())


def test_a_disabled_audience_is_refused() -> None:
    assert refused(asking("https://closed.internal")).error == "invalid_target"


@pytest.mark.parametrize(
    ("audience", "asked", "given"),
    [
        (BILLING, None, 120),
        (BILLING, 10, 10),
        (BILLING, 300, 300),
        (BILLING, 301, 300),
        (LEDGER, 900, 900),
        (LEDGER, 3600, 900),
    ],
)
def test_the_lifetime_is_the_shortest_of_asked_grant_audience_and_900_seconds(
    audience: str, asked: int | None, given: int
) -> None:
    assert decide(SNAPSHOT, ORDERS, asking(audience, lifetime=asked)).lifetime == given


def test_a_grant_can_be_shorter_than_its_audience_and_the_default() -> None:
    short = Grant("orders", LEDGER, frozenset({"entries:read"}), 30)
    known = replace(SNAPSHOT, grants={("orders", LEDGER): short})
    assert decide(known, ORDERS, asking(LEDGER)).lifetime == 30


def test_what_the_audience_says_of_single_use_is_passed_on() -> None:
    assert not decide(SNAPSHOT, ORDERS, asking(LEDGER)).single_use
