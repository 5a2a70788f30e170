from __future__ import annotations

from dataclasses import replace

import pytest
from issuer.fixtures_minting import BILLING, LEDGER, snapshot

from ephemera_issuer.errors import PolicyRefused
from ephemera_issuer.form import TokenRequest
from ephemera_issuer.policy import Decision, Rule, decide
from ephemera_issuer.registry.entries import Grant

SNAPSHOT = snapshot()
ORDERS = SNAPSHOT.clients["orders"]


def asking(
    audience: str = BILLING, *, scopes: set[str] | None = None, lifetime: int | None = None
) -> TokenRequest:
    wanted = None if scopes is None else frozenset(scopes)
    return TokenRequest(audience, wanted, lifetime)


def refused(request: TokenRequest) -> PolicyRefused:
    with pytest.raises(PolicyRefused) as caught:
        decide(SNAPSHOT, ORDERS, request)
    return caught.value


def test_without_scopes_all_that_is_granted_is_given() -> None:
    assert decide(SNAPSHOT, ORDERS, asking()) == Decision(
        client_id="orders",
        audience=BILLING,
        scope="invoices:read invoices:write",
        lifetime=120,
        single_use=True,
        rule=Rule.DEFAULT_LIFETIME,
    )


def test_with_scopes_just_these_are_given() -> None:
    assert decide(SNAPSHOT, ORDERS, asking(scopes={"invoices:write"})).scope == "invoices:write"


def test_one_ungranted_scope_refuses_the_whole_request() -> None:
    error = refused(asking(scopes={"invoices:read", "invoices:delete"}))
    assert error.error == "invalid_scope"
    assert error.description == f"granted for {BILLING}: invoices:read invoices:write"
    assert error.rule is Rule.SCOPE_NOT_GRANTED


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
    assert error.rule is Rule.NO_GRANT


def test_a_grant_of_another_client_is_no_grant() -> None:
    with pytest.raises(PolicyRefused, match="no grant"):
        decide(SNAPSHOT, replace(ORDERS, id="stock"), asking())


def test_a_disabled_audience_is_refused() -> None:
    error = refused(asking("https://closed.internal"))
    assert error.error == "invalid_target"
    assert error.description.startswith("https://closed.internal is disabled: ")
    assert error.rule is Rule.AUDIENCE_DISABLED


def test_a_disabled_client_is_refused_whatever_it_is_granted() -> None:
    with pytest.raises(PolicyRefused) as caught:
        decide(SNAPSHOT, replace(ORDERS, disabled=True), asking())
    assert caught.value.error == "unauthorized_client"
    assert caught.value.description.startswith("orders is disabled: ")
    assert caught.value.rule is Rule.CLIENT_DISABLED


@pytest.mark.parametrize(
    ("audience", "asked", "given", "rule"),
    [
        (BILLING, None, 120, Rule.DEFAULT_LIFETIME),
        (BILLING, 10, 10, Rule.ASKED_LIFETIME),
        (BILLING, 300, 300, Rule.ASKED_LIFETIME),
        (BILLING, 301, 300, Rule.AUDIENCE_LIFETIME),
        (LEDGER, 900, 900, Rule.ASKED_LIFETIME),
        (LEDGER, 3600, 900, Rule.AUDIENCE_LIFETIME),
    ],
)
def test_the_lifetime_is_the_shortest_of_asked_grant_audience_and_900_seconds(
    audience: str, asked: int | None, given: int, rule: Rule
) -> None:
    decision = decide(SNAPSHOT, ORDERS, asking(audience, lifetime=asked))
    assert (decision.lifetime, decision.rule) == (given, rule)


def test_a_grant_can_be_shorter_than_its_audience_and_the_default() -> None:
    short = Grant("orders", LEDGER, frozenset({"entries:read"}), 30)
    decision = decide(replace(SNAPSHOT, grants={("orders", LEDGER): short}), ORDERS, asking(LEDGER))
    assert (decision.lifetime, decision.rule) == (30, Rule.GRANT_LIFETIME)


def test_no_entry_of_a_registry_makes_a_token_live_longer_than_900_seconds() -> None:
    long = replace(SNAPSHOT.audiences[LEDGER], max_lifetime=3600)
    held = replace(SNAPSHOT, audiences={LEDGER: long})
    decision = decide(held, ORDERS, asking(LEDGER, lifetime=3600))
    assert (decision.lifetime, decision.rule) == (900, Rule.MAXIMUM_LIFETIME)


def test_what_the_audience_says_of_single_use_is_passed_on() -> None:
    assert not decide(SNAPSHOT, ORDERS, asking(LEDGER)).single_use
