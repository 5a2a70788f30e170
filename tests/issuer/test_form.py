from __future__ import annotations

import string
from urllib.parse import quote_plus, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ephemera_issuer import form
from ephemera_issuer.errors import RequestRefused
from ephemera_issuer.form import CREDENTIAL, TOKEN_REQUEST, TokenRequest, decode, parameters, parse

GRANT = "grant_type=client_credentials"
TARGET = "resource=https%3A%2F%2Fbilling.internal"


def read(body: str | bytes) -> TokenRequest:
    return parse(parameters(body.encode() if isinstance(body, str) else body, TOKEN_REQUEST))


def refused(body: str | bytes) -> RequestRefused:
    with pytest.raises(RequestRefused) as caught:
        read(body)
    return caught.value


def test_a_request_is_read_in_full() -> None:
    body = f"{GRANT}&{TARGET}&scope=invoices%3Aread+invoices:write&lifetime=60&count=3"
    assert read(body) == TokenRequest(
        audience="https://billing.internal",
        scopes=frozenset({"invoices:read", "invoices:write"}),
        lifetime=60,
        number=3,
    )


def test_what_is_left_out_is_none_and_one_token() -> None:
    assert read(f"{GRANT}&audience=billing") == TokenRequest("billing", None, None, 1)


def test_an_unknown_parameter_is_ignored_even_when_repeated() -> None:
    plain = read(f"{GRANT}&{TARGET}")
    assert read(f"{GRANT}&{TARGET}&tenant=a&tenant=b&&=&token=3") == plain


def test_a_form_of_a_hundred_parameters_is_read_and_one_of_more_is_refused() -> None:
    body = f"{GRANT}&{TARGET}" + "&" * 98
    assert read(body) == read(f"{GRANT}&{TARGET}")
    error = refused(body + "&")
    assert (error.error, error.description) == ("invalid_request", "send 100 parameters at most")


def test_an_empty_parameter_counts_as_absent() -> None:
    plain = read(f"{GRANT}&{TARGET}")
    empty = "&audience=&scope=&lifetime&client_id=&client_secret=&count="
    assert read(f"{GRANT}&{TARGET}{empty}") == plain


def test_a_form_of_any_endpoint_is_read_by_the_names_that_it_knows() -> None:
    body = b"token=x&token_type_hint=&client_id=orders&client_assertion=a.b.c&scope=a&scope=b"
    assert parameters(body, CREDENTIAL | {"token", "token_type_hint"}) == {
        "token": "x",
        "client_id": "orders",
        "client_assertion": "a.b.c",
    }
    with pytest.raises(RequestRefused, match="token must be sent once"):
        parameters(b"token=x&token=", CREDENTIAL | {"token"})


@pytest.mark.parametrize(
    "count", ["0", "101", "-1", "+1", "1.0", "ten", " 1", "\u0661", "9" * 5000]
)
def test_a_count_that_is_no_number_from_1_to_100_is_refused(count: str) -> None:
    error = refused(f"{GRANT}&{TARGET}&count={quote_plus(count)}")
    assert error.error == "invalid_request"
    assert error.description == "count must be a whole number from 1 to 100"


@pytest.mark.parametrize(("count", "number"), [("1", 1), ("007", 7), ("100", 100)])
def test_a_count_is_read(count: str, number: int) -> None:
    assert read(f"{GRANT}&{TARGET}&count={count}").number == number


@pytest.mark.parametrize("name", sorted(TOKEN_REQUEST - {"resource", "audience"}))
@pytest.mark.parametrize("values", [("1", "1"), ("1", "2"), ("1", ""), ("", "")])
def test_a_repeated_parameter_is_refused(name: str, values: tuple[str, str]) -> None:
    error = refused(urlencode([(name, value) for value in values]))
    assert error.error == "invalid_request"
    assert error.description == f"{name} must be sent once"


@pytest.mark.parametrize("name", ["resource", "audience"])
def test_a_repeated_target_is_an_invalid_target(name: str) -> None:
    assert refused(f"{GRANT}&{name}=urn:a&{name}=urn:b").error == "invalid_target"


def test_a_name_hidden_behind_percent_encoding_is_still_the_same_parameter() -> None:
    error = refused(f"{GRANT}&{TARGET}&scope=a&s%63ope=b")
    assert error.error == "invalid_request"


@pytest.mark.parametrize(
    "body",
    [
        b"scope=%",
        b"scope=%4",
        b"scope=%zz",
        b"scope=%4g&x=1",
        b"%=1",
        b"unknown=%",
        b"scope=%ff",
        b"scope=%c3%28",
        b"scope=\xff",
        b"\xc3=1",
        b"unknown=%ed%a0%80",
    ],
)
def test_a_form_that_cannot_be_decoded_is_an_invalid_request(body: bytes) -> None:
    error = refused(f"{GRANT}&{TARGET}&".encode() + body)
    assert error.error == "invalid_request"
    assert error.__cause__ is None
    assert error.__suppress_context__


def test_a_missing_grant_type_is_an_invalid_request() -> None:
    assert refused(TARGET).error == "invalid_request"
    assert refused(b"").error == "invalid_request"


@pytest.mark.parametrize(
    "grant", ["password", "authorization_code", "Client_Credentials", "client_credentials "]
)
def test_another_grant_type_is_unsupported(grant: str) -> None:
    assert refused(urlencode({"grant_type": grant})).error == "unsupported_grant_type"


def test_neither_resource_nor_audience_is_an_invalid_target() -> None:
    assert refused(GRANT).error == "invalid_target"


def test_both_resource_and_audience_are_an_invalid_target_even_when_they_agree() -> None:
    body = f"{GRANT}&resource=urn:billing&audience=urn:billing"
    assert refused(body).error == "invalid_target"


@pytest.mark.parametrize(
    "resource",
    [
        "billing",
        "/billing",
        "//billing.internal",
        "billing.internal/invoices",
        "https://billing.internal#invoices",
        "https://billing.internal#",
        "https:",
        ":billing",
        "1https://billing.internal",
        "https://billing internal",
        "https://billing.internal\n",
        "https://b\u00fccher.internal",
        "https://billing.internal/%",
        "https://billing.internal/%4",
        'https://billing.internal/"',
    ],
)
def test_a_resource_that_is_no_absolute_uri_without_fragment_is_an_invalid_target(
    resource: str,
) -> None:
    assert refused(f"{GRANT}&resource={quote_plus(resource)}").error == "invalid_target"


@pytest.mark.parametrize(
    "resource",
    ["https://billing.internal", "urn:example:billing", "https://[::1]:8443/a%20b?c=d", "x:y"],
)
def test_any_absolute_uri_may_be_a_resource(resource: str) -> None:
    assert read(f"{GRANT}&resource={quote_plus(resource)}").audience == resource


@pytest.mark.parametrize("scope", [" ", " a", "a ", "a  b", "a\tb", "a\nb", 'a"', "a\\", "\u00e9"])
def test_a_malformed_scope_is_an_invalid_scope(scope: str) -> None:
    assert refused(f"{GRANT}&{TARGET}&scope={quote_plus(scope)}").error == "invalid_scope"


@pytest.mark.parametrize(
    "lifetime", ["0", "9", "-60", "+60", "60.0", "1e2", "60s", " 60", "\u0666\u0660", "9" * 5000]
)
def test_a_lifetime_that_is_no_number_of_ten_seconds_or_more_is_refused(lifetime: str) -> None:
    body = f"{GRANT}&{TARGET}&lifetime={quote_plus(lifetime)}"
    assert refused(body).error == "invalid_request"


@pytest.mark.parametrize("seconds", [10, 900, 999_999_999])
def test_a_lifetime_of_ten_seconds_or_more_is_read(seconds: int) -> None:
    assert read(f"{GRANT}&{TARGET}&lifetime={seconds}").lifetime == seconds


def test_a_credential_in_the_form_is_no_part_of_the_request() -> None:
    request = read(f"{GRANT}&{TARGET}&client_secret=tr0ub4dor&client_assertion=tr0ub4dor")
    assert "tr0ub4dor" not in repr(request)


@given(st.binary(max_size=200))
def test_any_body_is_a_request_or_a_refusal_that_quotes_nothing(body: bytes) -> None:
    description = ""
    try:
        read(body)
    except RequestRefused as error:
        description = error.description
    assert set(description) <= set(string.ascii_letters + string.digits + " _,%:;-")


@given(st.text(max_size=50))
def test_decoding_undoes_form_encoding(text: str) -> None:
    assert decode(quote_plus(text).encode()) == text


def test_a_long_hostile_resource_is_refused_in_linear_time() -> None:
    assert refused(f"{GRANT}&resource=urn:{'a' * 60_000}%23").error == "invalid_target"


def test_what_may_be_a_secret_is_not_remembered_and_neither_is_what_is_long() -> None:
    form._pairs._known.clear()
    form._request_again.cache_clear()
    long = "s" * 300
    form.parse(
        form.parameters(
            f"grant_type=client_credentials&resource=https%3A%2F%2Fa.internal&scope={long}"
            "&client_secret=made-up&client_assertion=made-up&password=made-up".encode(),
            form.TOKEN_REQUEST,
        )
    )
    assert list(form._pairs._known) == [
        b"grant_type=client_credentials",
        b"resource=https%3A%2F%2Fa.internal",
    ]
    assert form._request_again.cache_info().currsize == 0


def test_there_is_an_end_to_what_is_remembered() -> None:
    for number in range(1500):
        form.parameters(b"scope=%d" % number, form.TOKEN_REQUEST)
    assert len(form._pairs._known) <= 1024
    assert form.parameters(b"scope=1", form.TOKEN_REQUEST) == {"scope": "1"}
