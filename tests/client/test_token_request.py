import copy
import json
import pickle
from typing import Any
from urllib.parse import parse_qs

import pytest

from ephemera_client.errors import (
    ClientRefused,
    ConfigurationError,
    IssuerUnavailable,
    ResponseInvalid,
    TokenRequestRefused,
)
from ephemera_client.http import Response
from ephemera_client.token_request import Asker, IssuedToken, Wanted, form, issued, want

ISSUER = "https://tokens.internal"
AUDIENCE = "https://billing.internal"
WANTED = want(AUDIENCE, {"invoices:read"}, None)
NOW = 1_700_000_000.0


def _issued(response: Response, wanted: Wanted = WANTED) -> IssuedToken:
    asker = Asker(ISSUER, "orders", "client_secret_basic")
    (token,) = issued(response, wanted, asker=asker, now=NOW)
    return token


def _success(**changes: Any) -> Response:
    document = {
        "access_token": "aaa.bbb.ccc",
        "token_type": "Bearer",
        "expires_in": 120,
        "scope": "invoices:read",
        "single_use": True,
    } | changes
    kept = {name: value for name, value in document.items() if value is not ...}
    return Response(200, {}, json.dumps(kept).encode())


def _refusal(status: int, **members: Any) -> Response:
    return Response(status, {}, json.dumps(members).encode())


def test_the_form_says_what_is_wanted() -> None:
    body = form(want(AUDIENCE, ["b", "a", "b"], 60), {"client_assertion": "x y"})
    assert parse_qs(body.decode()) == {
        "grant_type": ["client_credentials"],
        "resource": [AUDIENCE],
        "scope": ["a b"],
        "lifetime": ["60"],
        "client_assertion": ["x y"],
    }


def test_what_is_left_to_the_issuer_is_left_out() -> None:
    body = form(want(AUDIENCE, None, None), {})
    assert set(parse_qs(body.decode())) == {"grant_type", "resource"}


@pytest.mark.parametrize(
    ("audience", "scopes", "lifetime", "reason"),
    [
        ("", None, None, "audience"),
        (None, None, None, "audience"),
        ("https://billing.internal ", None, None, "audience"),
        ("https://\ud800", None, None, "audience"),
        (AUDIENCE, set(), None, "must not be empty"),
        (AUDIENCE, "invoices:read", None, "not one string"),
        (AUDIENCE, {"a b"}, None, "no scope"),
        (AUDIENCE, {""}, None, "no scope"),
        (AUDIENCE, {'a"'}, None, "no scope"),
        (AUDIENCE, {"ä"}, None, "no scope"),
        (AUDIENCE, {1}, None, "no scope"),
        (AUDIENCE, None, 0, "whole number"),
        (AUDIENCE, None, 1.5, "whole number"),
        (AUDIENCE, None, True, "whole number"),
    ],
)
def test_a_request_that_makes_no_sense_is_a_configuration_error(
    audience: Any, scopes: Any, lifetime: Any, reason: str
) -> None:
    with pytest.raises(ConfigurationError, match=reason):
        want(audience, scopes, lifetime)


def test_an_issued_token_is_its_own_string() -> None:
    token = _issued(_success(token_type="bearer"))
    assert f"Bearer {token}" == "Bearer aaa.bbb.ccc"
    assert token == "aaa.bbb.ccc"
    assert token.audience == AUDIENCE
    assert token.scopes == {"invoices:read"}
    assert token.expires_at == NOW + 120
    assert token.single_use is True


def test_an_issued_token_hides_in_reprs_and_refuses_pickles() -> None:
    token = _issued(_success())
    assert "aaa" not in repr(token)
    assert "aaa" not in repr([token])
    assert AUDIENCE in repr(token)
    for leak in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="not pickled"):
            leak(token)


def test_a_response_that_leaves_things_out_means_the_careful_thing() -> None:
    token = _issued(_success(scope=..., single_use=...))
    assert token.single_use is True
    assert token.scopes == {"invoices:read"}
    assert _issued(_success(scope=...), want(AUDIENCE, None, None)).scopes == frozenset()


def test_a_reusable_token_says_so() -> None:
    assert _issued(_success(single_use=False)).single_use is False


@pytest.mark.parametrize(
    "changes",
    [
        {"access_token": ...},
        {"access_token": ""},
        {"access_token": 7},
        {"access_token": "a\r\nX-Injected: b"},
        {"access_token": "a b"},
        {"access_token": "a" * 8193},
        {"token_type": ...},
        {"token_type": "DPoP"},
        {"token_type": 7},
        {"expires_in": ...},
        {"expires_in": "120"},
        {"expires_in": 0},
        {"expires_in": -1},
        {"expires_in": True},
        {"expires_in": 1.5},
        {"expires_in": 10**400},
        {"scope": ["invoices:read"]},
        {"single_use": "true"},
    ],
)
def test_a_response_with_an_unusable_member_is_invalid_and_unquoted(
    changes: dict[str, Any],
) -> None:
    with pytest.raises(ResponseInvalid) as refused:
        _issued(_success(**changes))
    for arrived in ("aaa", "Injected", "DPoP", "120", "invoices"):
        assert arrived not in str(refused.value)


def test_a_response_keeps_its_body_out_of_its_repr() -> None:
    assert repr(_success()) == "Response(status=200, ...)"


@pytest.mark.parametrize("body", [b"", b"<html>", b"[1]", b"\xff", b'{"a":1,"a":2}', b"[" * 9999])
def test_a_body_that_is_no_json_object_is_invalid(body: bytes) -> None:
    with pytest.raises(ResponseInvalid, match=r"https://tokens\.internal"):
        _issued(Response(200, {}, body))


def test_a_refusal_carries_the_issuers_words_and_a_sentence_of_ours() -> None:
    with pytest.raises(TokenRequestRefused, match="policy does not grant every scope") as refused:
        _issued(_refusal(400, error="invalid_scope", error_description="not granted: x"))
    assert (refused.value.error, refused.value.status) == ("invalid_scope", 400)
    assert refused.value.description == "not granted: x"
    assert "not granted: x" not in str(refused.value)


@pytest.mark.parametrize(
    ("status", "error"), [(401, "invalid_client"), (400, "invalid_client"), (401, "other")]
)
def test_a_refused_credential_says_which_method_was_tried(status: int, error: str) -> None:
    with pytest.raises(ClientRefused, match=r"'orders'.*tried client_secret_basic") as refused:
        _issued(_refusal(status, error=error))
    assert refused.value.description is None


@pytest.mark.parametrize("description", ["a\x1b[31mb", "ä", 7, "x" * 201, 'a"b'])
def test_a_description_that_rfc_6749_does_not_allow_is_dropped(description: Any) -> None:
    with pytest.raises(TokenRequestRefused) as refused:
        _issued(_refusal(400, error="made_up", error_description=description))
    assert refused.value.error == "made_up"
    assert refused.value.description is None


@pytest.mark.parametrize(
    "response",
    [
        _refusal(404),
        _refusal(400, error=7),
        _refusal(400, error="\x1b[31m"),
        Response(403, {}, b"<html>"),
        Response(204, {}, b""),
        Response(304, {}, b""),
    ],
)
def test_a_refusal_that_is_not_oauth_asks_whether_the_address_is_right(response: Response) -> None:
    with pytest.raises(ResponseInvalid, match=f"status {response.status}.*is it the issuer"):
        _issued(response)


@pytest.mark.parametrize(
    ("status", "code"), [(429, "rate_limited"), (500, "issuer_failed"), (503, "issuer_failed")]
)
def test_an_issuer_in_trouble_is_unavailable(status: int, code: str) -> None:
    with pytest.raises(IssuerUnavailable) as refused:
        _issued(_refusal(status, error="temporarily_unavailable"))
    assert (refused.value.cause_code, refused.value.retry_after) == (code, None)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7.0),
        ("0", 0.0),
        ("Tue, 14 Nov 2023 22:13:30 GMT", 10.0),
        ("Tue, 14 Nov 2023 22:13:30 -0000", 10.0),
        ("Tue, 14 Nov 2023 22:00:00 GMT", 0.0),
        ("soon", None),
        ("-1", None),
        ("1.5", None),
        ("\u0667", None),
        ("9" * 400, None),
        ("Tue, 14 Nov 2023 22:13:30 +" + "9" * 40, None),
        ("", None),
    ],
)
def test_the_wait_that_it_asks_for_is_seconds_or_a_date(value: str, seconds: float | None) -> None:
    with pytest.raises(IssuerUnavailable) as refused:
        _issued(Response(503, {"retry-after": value}, b""))
    assert refused.value.retry_after == seconds


def _many(response: Response, number: int = 3) -> tuple[IssuedToken, ...]:
    asker = Asker(ISSUER, "orders", "private_key_jwt")
    return issued(response, WANTED._replace(number=number), asker=asker, now=NOW)


def test_the_form_asks_for_many_where_many_are_wanted() -> None:
    assert parse_qs(form(WANTED._replace(number=3), {}).decode())["count"] == ["3"]


def test_many_tokens_come_in_order_and_each_says_what_the_response_said() -> None:
    tokens = _many(_success(additional_tokens=["d.e.f", "g.h.i"]))
    assert tokens == ("aaa.bbb.ccc", "d.e.f", "g.h.i")
    for token in tokens:
        assert (token.audience, token.scopes) == (AUDIENCE, frozenset({"invoices:read"}))
        assert (token.expires_at, token.single_use) == (NOW + 120, True)


@pytest.mark.parametrize(
    "additional",
    [
        ...,
        None,
        "d.e.f",
        {"d.e.f": 1, "g.h.i": 2},
        [],
        ["d.e.f"],
        ["d.e.f", "g.h.i", "j.k.l"],
        ["d.e.f", "d.e.f"],
        ["d.e.f", "aaa.bbb.ccc"],
        ["d.e.f", None],
        ["d.e.f", "g h"],
        ["d.e.f", {"access_token": "g.h.i"}],
    ],
)
def test_another_number_of_tokens_or_anything_else_is_invalid(additional: Any) -> None:
    with pytest.raises(ResponseInvalid) as refused:
        _many(_success(additional_tokens=additional))
    assert "d.e.f" not in str(refused.value)


def test_tokens_that_were_not_asked_for_are_invalid() -> None:
    assert _many(_success(additional_tokens=[]), 1) == ("aaa.bbb.ccc",)
    with pytest.raises(ResponseInvalid, match="another number of tokens than 1"):
        _many(_success(additional_tokens=["d.e.f"]), 1)
