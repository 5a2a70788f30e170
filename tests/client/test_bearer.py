import json

import pytest

from ephemera_client.bearer import REFUSALS, Refused, challenge, extract, refuse
from ephemera_client.errors import (
    InsufficientScope,
    KeysUnavailable,
    ReplayCacheUnavailable,
    RequestMalformed,
    TokenExpired,
    TokenMissing,
    TokenReplayed,
)


@pytest.mark.parametrize(
    "header", ["Bearer a.b.c", "bearer a.b.c", "BEARER  a.b.c ", b"Bearer a.b.c"]
)
def test_the_token_follows_the_scheme_however_it_is_spelled(header: str | bytes) -> None:
    assert extract([header]) == "a.b.c"


@pytest.mark.parametrize(
    "headers",
    [
        [],
        ["Basic b3JkZXJzOnM="],
        [""],
        ["a.b.c"],
        ["DPoP a.b.c"],
        ["Bearera.b.c"],
        ["Bearer\ta.b.c"],
    ],
)
def test_a_request_without_a_bearer_token_has_none(headers: list[str]) -> None:
    with pytest.raises(TokenMissing):
        extract(headers)


@pytest.mark.parametrize(
    "headers",
    [
        ["Bearer a.b.c", "Bearer a.b.c"],
        ["Bearer a.b.c", "Basic b3JkZXJzOnM="],
        ["Bearer a.b.c, Bearer d.e.f"],
        ["Bearer a.b.c d"],
        ["Bearer"],
        ["Bearer "],
        ["Bearer ="],
        ["Bearer a.b.c\n"],
        ["Bearer ä"],
        ["Bearer \u0661"],
        [b"Bearer \xff\xfe"],
    ],
)
def test_a_header_that_is_not_one_token_is_malformed_and_unquoted(
    headers: list[str | bytes],
) -> None:
    with pytest.raises(RequestMalformed) as refused:
        extract(headers)
    assert "a.b.c" not in str(refused.value)


def _told(error: Refused) -> tuple[int, dict[str, str], dict[str, str]]:
    refusal = refuse(error, realm="https://billing.internal")
    headers = dict(refusal.headers)
    assert headers["content-type"] == "application/json"
    assert headers["content-length"] == str(len(refusal.body))
    assert headers["cache-control"] == "no-store"
    return refusal.status, headers, json.loads(refusal.body)


def test_a_missing_token_is_asked_for_without_an_error() -> None:
    status, headers, body = _told(TokenMissing("said to the log"))
    assert status == 401
    assert headers["www-authenticate"] == 'Bearer realm="https://billing.internal"'
    assert body == {"error": "invalid_token", "reason": "token_missing"}


def test_a_refused_token_is_told_its_reason_and_not_the_text() -> None:
    status, headers, body = _told(TokenReplayed("said to the log"))
    assert status == 401
    assert headers["www-authenticate"] == (
        'Bearer realm="https://billing.internal", error="invalid_token", reason="token_replayed"'
    )
    assert body == {"error": "invalid_token", "reason": "token_replayed"}


def test_a_missing_scope_is_forbidden_and_names_what_is_needed() -> None:
    status, headers, body = _told(InsufficientScope("x", required=("b:write", "a:read")))
    assert status == 403
    assert headers["www-authenticate"] == (
        'Bearer realm="https://billing.internal", error="insufficient_scope", '
        'reason="insufficient_scope", scope="a:read b:write"'
    )
    assert body["scope"] == "a:read b:write"


def test_a_malformed_request_is_a_bad_request() -> None:
    status, headers, body = _told(RequestMalformed("x"))
    assert status == 400
    assert 'error="invalid_request"' in headers["www-authenticate"]
    assert body == {"error": "invalid_request", "reason": "request_malformed"}


@pytest.mark.parametrize("error", [KeysUnavailable("x"), ReplayCacheUnavailable("x")])
def test_what_is_unavailable_asks_to_come_back(
    error: KeysUnavailable | ReplayCacheUnavailable,
) -> None:
    status, headers, body = _told(error)
    assert status == 503
    assert int(headers["retry-after"]) > 0
    assert "www-authenticate" not in headers
    assert body == {"error": "temporarily_unavailable", "reason": error.code}


def test_a_realm_cannot_break_out_of_its_quotes() -> None:
    headers = dict(refuse(TokenMissing("x"), realm='a"b\\c\r\nd\u20ac').headers)
    assert headers["www-authenticate"] == 'Bearer realm="a\\"b\\\\c??d?"'
    assert challenge([headers["www-authenticate"]]) == {"realm": 'a"b\\c??d?'}


@pytest.mark.parametrize("kind", REFUSALS)
def test_every_refusal_has_an_answer(kind: type[Refused]) -> None:
    assert refuse(kind("x"), realm="r").status in {400, 401, 503}


def test_a_refusal_is_read_back_as_it_was_written() -> None:
    headers = dict(refuse(TokenExpired("x"), realm="r").headers)
    assert challenge([headers["www-authenticate"]]) == {
        "realm": "r",
        "error": "invalid_token",
        "reason": "token_expired",
    }


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([], {}),
        (['Basic realm="x"'], {}),
        (["Bearer"], {}),
        (["bearer error=invalid_token"], {"error": "invalid_token"}),
        (['Bearer ERROR = "invalid_token"'], {"error": "invalid_token"}),
        (
            ['Basic realm="a, Bearer error=x"', 'Bearer error="invalid_token"'],
            {"error": "invalid_token"},
        ),
        (['Negotiate abc==, Bearer error="y", Basic error="z"'], {"error": "y"}),
        (['Bearer error="a", error="b"'], {"error": "a"}),
        (['Bearer error="' + "\\" * 9000], {}),
    ],
)
def test_a_challenge_is_found_among_others(headers: list[str], expected: dict[str, str]) -> None:
    assert challenge(headers) == expected


def test_the_body_is_the_one_that_the_contract_shows() -> None:
    refusal = refuse(TokenReplayed("the token has been accepted before"), realm="https://b")
    assert refusal.body == b'{"error":"invalid_token","reason":"token_replayed"}'
    assert ("content-length", str(len(refusal.body))) in refusal.headers
