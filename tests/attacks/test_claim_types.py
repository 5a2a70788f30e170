"""Claims of the wrong type, absent, or of another meaning."""

import pytest
from client.fixtures_verifying import AUDIENCE, ISSUER, NOW, assert_refused, mint, verifier_of

from ephemera_client import (
    AudienceMismatch,
    ClaimInvalid,
    ClaimMissing,
    IssuerMismatch,
    SenderConstraintUnverified,
    TokenExpired,
)

NOT_STRINGS = [None, True, False, 0, 1, 1.5, [], {}, [""], {"": ""}]
STRINGS = ["iss", "aud", "sub", "client_id", "jti"]
TIMES = ["iat", "exp"]


@pytest.mark.parametrize("name", [*STRINGS, *TIMES])
def test_a_missing_claim_is_refused(name: str) -> None:
    assert_refused(mint(**{name: ...}), ClaimMissing)


@pytest.mark.parametrize("name", STRINGS)
@pytest.mark.parametrize("value", [*NOT_STRINGS, ""], ids=repr)
def test_a_name_that_is_no_string_with_something_in_it_is_refused(name: str, value: object) -> None:
    assert_refused(mint(**{name: value}), ClaimInvalid)


@pytest.mark.parametrize("name", [*TIMES, "nbf"])
@pytest.mark.parametrize(
    "value", [None, True, False, str(NOW), "", NOW + 0.5, float(NOW), [NOW], {"": NOW}], ids=repr
)
def test_a_time_that_is_no_whole_number_is_refused(name: str, value: object) -> None:
    assert_refused(mint(**{name: value}), ClaimInvalid)


@pytest.mark.parametrize(
    "audience",
    [
        [AUDIENCE],
        [AUDIENCE, "https://other.internal"],
        ["https://other.internal", AUDIENCE],
        {AUDIENCE: True},
    ],
    ids=repr,
)
def test_an_audience_that_is_not_one_string_is_refused(audience: object) -> None:
    assert_refused(mint(aud=audience), ClaimInvalid)


def test_a_token_for_another_audience_is_refused() -> None:
    assert_refused(mint(aud="https://ledger.internal"), AudienceMismatch)


@pytest.mark.parametrize("issuer", ["https://other.internal", AUDIENCE, ISSUER + ":443", "x"])
def test_a_token_of_another_issuer_is_refused(issuer: str) -> None:
    assert_refused(mint(iss=issuer), IssuerMismatch)


@pytest.mark.parametrize(
    "scope", [["invoices:read"], 0, None, True, {}, " ", "a ", " a", "a  b"], ids=repr
)
def test_a_scope_that_is_no_list_of_scopes_is_refused(scope: object) -> None:
    assert_refused(mint(scope=scope), ClaimInvalid)


@pytest.mark.parametrize("scope", ["", ...], ids=["empty", "absent"])
def test_a_token_without_scopes_has_none(scope: object) -> None:
    assert verifier_of().verify(mint(scope=scope)).scopes == frozenset()


@pytest.mark.parametrize("cnf", [{"jkt": "x"}, {"x5t#S256": "x"}, {}, None, "", False], ids=repr)
def test_a_token_bound_to_its_sender_is_not_taken_for_a_bearers(cnf: object) -> None:
    assert_refused(mint(cnf=cnf), SenderConstraintUnverified)


@pytest.mark.parametrize("huge", [10**400, -(10**400)])
def test_times_past_any_float_raise_nothing_else(huge: int) -> None:
    assert_refused(mint(exp=huge))
    assert_refused(mint(iat=huge))
    assert_refused(mint(exp=-huge, iat=huge))


def test_a_negative_exp_has_passed() -> None:
    assert_refused(mint(exp=-1), TokenExpired)


def test_a_claim_named_like_pythons_internals_is_only_a_claim() -> None:
    token = verifier_of().verify(mint(__class__="x", __proto__={"admin": True}))
    assert token.claims["__class__"] == "x"
