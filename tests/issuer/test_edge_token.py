from __future__ import annotations

import json
import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import jwt
import pytest
from issuer.fixtures_minting import (
    BILLING,
    ISSUER,
    LEDGER,
    NOW,
    SECRET,
    Keeper,
    basic,
    claims,
    snapshot,
    talking,
)

from ephemera_client import SingleProcessReplayCache
from ephemera_client.instant import Instant
from ephemera_issuer.app import create_app
from ephemera_issuer.registry.entries import Client

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx

    from ephemera_issuer.snapshot import Snapshot
    from ephemera_keys import Algorithm

pytestmark = pytest.mark.anyio

FORM = {"grant_type": "client_credentials", "resource": BILLING}
TYPE = "application/x-www-form-urlencoded"
LIMIT = 64 * 1024


@pytest.fixture
def anyio_backend() -> str:
    # On trio, httpx leaves a body that is not wanted to the end for the collector to close.
    return "asyncio"


async def ask(
    form: dict[str, Any] | None = None,
    *,
    authorization: str | None = None,
    keeper: Keeper | None = None,
    now: Instant = NOW,
    **request: Any,
) -> httpx.Response:
    headers = {"Authorization": basic() if authorization is None else authorization}
    if not headers["Authorization"]:
        del headers["Authorization"]
    headers |= request.pop("headers", {})
    async with talking(keeper, now=now) as client:
        if "content" not in request:
            request["data"] = FORM | (form or {})
        return await client.post("/oauth2/token", headers=headers, **request)


def refused(answer: httpx.Response, status: int, error: str) -> None:
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["pragma"] == "no-cache"
    body = answer.json()
    assert set(body) == {"error", "error_description"}
    assert body["error"] == error


async def test_a_client_gets_a_token_for_one_audience() -> None:
    keeper = Keeper()
    answer = await ask({"scope": "invoices:read", "lifetime": "60"}, keeper=keeper)
    assert answer.status_code == 200
    body = answer.json()
    token = body.pop("access_token")
    assert body == {
        "token_type": "Bearer",
        "expires_in": 60,
        "scope": "invoices:read",
        "single_use": True,
    }
    assert keeper.current is not None
    key = jwt.PyJWK(json.loads(keeper.current.jwks)["keys"][0])
    options: Any = {"verify_exp": False, "verify_iat": False}
    verified = jwt.decode(token, key, ["ES256"], audience=BILLING, issuer=ISSUER, options=options)
    assert verified["exp"] - verified["iat"] == 60
    assert (verified["client_id"], verified["scope"]) == ("orders", "invoices:read")


async def test_a_token_response_is_json_that_no_cache_may_store() -> None:
    headers = dict((await ask()).headers)
    assert int(headers.pop("content-length")) > 0
    assert headers == {
        "content-type": "application/json",
        "cache-control": "no-store",
        "pragma": "no-cache",
    }


async def test_without_scope_everything_granted_is_given_and_said() -> None:
    body = (await ask()).json()
    assert body["scope"] == "invoices:read invoices:write"
    assert claims(body["access_token"])["scope"] == body["scope"]


async def test_an_audience_that_allows_it_gets_tokens_that_are_not_single_use() -> None:
    assert (await ask({"resource": LEDGER})).json()["single_use"] is False


async def test_audience_is_another_name_for_resource() -> None:
    answer = await ask({"resource": "", "audience": BILLING})
    assert claims(answer.json()["access_token"])["aud"] == BILLING


async def test_expires_in_says_what_was_given_not_what_was_asked_for() -> None:
    body = (await ask({"lifetime": "900"})).json()
    token = claims(body["access_token"])
    assert body["expires_in"] == token["exp"] - token["iat"] == 300


@pytest.mark.parametrize("count", [2, 100])
async def test_many_tokens_come_by_one_request_each_with_its_own_id(count: int) -> None:
    body = (await ask({"count": str(count), "lifetime": "60"})).json()
    tokens = [body.pop("access_token"), *body.pop("additional_tokens")]
    assert body == {
        "token_type": "Bearer",
        "expires_in": 60,
        "scope": "invoices:read invoices:write",
        "single_use": True,
    }
    held = [claims(token) for token in tokens]
    assert len({claim.pop("jti") for claim in held}) == len(tokens) == count
    assert all(claim == held[0] for claim in held)


async def test_one_token_has_no_others_beside_it() -> None:
    assert "additional_tokens" not in (await ask({"count": "1"})).json()


@pytest.mark.parametrize("count", ["0", "101", "many"])
async def test_a_count_out_of_bounds_is_refused(count: str) -> None:
    refused(await ask({"count": count}), 400, "invalid_request")


class TiringSigner:
    alg: Algorithm = "ES256"
    kid = "tiring"

    def __init__(self, strength: int) -> None:
        self._strength = strength

    def sign(self, _message: bytes, /) -> bytes:
        self._strength -= 1
        if self._strength < 0:
            raise OSError("the security module is tired")
        return bytes(64)


async def test_of_many_tokens_all_are_given_or_none() -> None:
    for strength, status in ((5, 200), (4, 500)):
        keeper = Keeper(replace(snapshot(), signer=TiringSigner(strength)))
        answer = await ask({"count": "5"}, keeper=keeper)
        assert answer.status_code == status
    refused(answer, 500, "server_error")


async def test_the_issuer_is_the_configured_one_whatever_the_host_header_says() -> None:
    answer = await ask(headers={"Host": "evil.test", "X-Forwarded-Host": "evil.test"})
    assert claims(answer.json()["access_token"])["iss"] == ISSUER


async def test_parameters_in_the_query_are_not_looked_at() -> None:
    async with talking() as client:
        answer = await client.post(
            "/oauth2/token?scope=invoices:read&resource=urn:other",
            data=FORM,
            headers={"Authorization": basic()},
        )
    assert answer.json()["scope"] == "invoices:read invoices:write"


@pytest.mark.parametrize(
    ("form", "error"),
    [
        ({"grant_type": ""}, "invalid_request"),
        ({"grant_type": "password"}, "unsupported_grant_type"),
        ({"resource": ""}, "invalid_target"),
        ({"resource": [BILLING, BILLING]}, "invalid_target"),
        ({"resource": [BILLING, LEDGER]}, "invalid_target"),
        ({"audience": BILLING}, "invalid_target"),
        ({"resource": BILLING + "#x"}, "invalid_target"),
        ({"resource": "https://private.internal"}, "invalid_target"),
        ({"resource": "https://closed.internal"}, "invalid_target"),
        ({"scope": "invoices:read admin"}, "invalid_scope"),
        ({"scope": "invoices:read  invoices:write"}, "invalid_scope"),
        ({"scope": ["invoices:read", "invoices:write"]}, "invalid_request"),
        ({"lifetime": "9"}, "invalid_request"),
        ({"lifetime": "soon"}, "invalid_request"),
        ({"client_id": "gone"}, "invalid_request"),
        ({"client_secret": SECRET}, "invalid_request"),
        ({"client_assertion": "x.y.z"}, "invalid_request"),
    ],
)
async def test_what_is_wrong_with_a_form_is_said_in_the_words_of_the_rfcs(
    form: dict[str, Any], error: str
) -> None:
    refused(await ask(form), 400, error)


async def test_a_disabled_client_is_told_so() -> None:
    refused(await ask(authorization=basic("gone")), 400, "unauthorized_client")


@pytest.mark.parametrize(
    "content", [b"scope=%ff", b"scope=%zz", b"grant_type=\xff", b"%", b"\x00\x01"]
)
async def test_a_form_that_cannot_be_decoded_is_an_invalid_request(content: bytes) -> None:
    answer = await ask(content=content, headers={"Content-Type": TYPE})
    refused(answer, 400, "invalid_request")


@pytest.mark.parametrize(
    "authorization",
    ["", "Basic", "Basic %%%", "Bearer abc", basic(secret="wrong"), basic("nobody"), "Basic Og=="],
)
async def test_every_failure_to_authenticate_has_the_same_response(authorization: str) -> None:
    answer = await ask(authorization=authorization)
    refused(answer, 401, "invalid_client")
    assert answer.headers["www-authenticate"] == 'Basic realm="ephemera", charset="UTF-8"'
    reference = await ask(authorization=basic(secret="another"))
    assert (answer.content, answer.headers) == (reference.content, reference.headers)


async def test_two_authorization_headers_are_refused() -> None:
    async with talking() as client:
        answer = await client.post(
            "/oauth2/token",
            data=FORM,
            headers=[("Authorization", basic()), ("Authorization", basic())],
        )
    refused(answer, 400, "invalid_request")


@pytest.mark.parametrize("form", [{"scope": "admin"}, {"resource": "https://nowhere.internal"}])
async def test_policy_is_not_discussed_before_the_client_has_proved_itself(
    form: dict[str, Any],
) -> None:
    refused(await ask(form, authorization=basic(secret="wrong")), 401, "invalid_client")


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS"])
async def test_another_method_is_not_allowed(method: str) -> None:
    async with talking() as client:
        answer = await client.request(method, "/oauth2/token", headers={"Authorization": basic()})
    assert answer.status_code == 405
    assert answer.headers["allow"] == "POST"
    assert answer.headers["cache-control"] == "no-store"
    if method != "HEAD":
        refused(answer, 405, "invalid_request")


@pytest.mark.parametrize(
    "content_type",
    [TYPE.upper(), f"{TYPE};charset=UTF-8", f"{TYPE} ; charset=utf-8", f"{TYPE};"],
)
async def test_the_media_type_is_compared_as_http_wants_it(content_type: str) -> None:
    content = b"grant_type=client_credentials&resource=https://billing.internal"
    answer = await ask(content=content, headers={"Content-Type": content_type})
    assert answer.status_code == 200


@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "application/json",
        "multipart/form-data; boundary=x",
        "text/plain",
        TYPE + "2",
        f"a;{TYPE}",
    ],
)
async def test_a_body_that_is_no_form_is_415(content_type: str) -> None:
    answer = await ask(content=b"{}", headers={"Content-Type": content_type})
    refused(answer, 415, "invalid_request")
    assert answer.headers["accept"] == TYPE


async def test_a_body_without_any_type_is_415() -> None:
    refused(await ask(content=b"grant_type=client_credentials"), 415, "invalid_request")


async def test_two_content_types_are_415() -> None:
    async with talking() as client:
        answer = await client.post(
            "/oauth2/token",
            content=b"grant_type=client_credentials",
            headers=[("Content-Type", TYPE), ("Content-Type", TYPE)],
        )
    refused(answer, 415, "invalid_request")


async def test_a_compressed_form_is_415() -> None:
    answer = await ask(headers={"Content-Encoding": "gzip"})
    refused(answer, 415, "invalid_request")
    assert answer.headers["accept-encoding"] == "identity"
    assert (await ask(headers={"Content-Encoding": "identity"})).status_code == 200


def padded(size: int) -> bytes:
    form = b"grant_type=client_credentials&resource=https://billing.internal&padding="
    return form.ljust(size, b"x")


async def chunks(body: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(body), 10_000):
        yield body[start : start + 10_000]


async def test_a_form_of_64_kilobytes_is_read() -> None:
    whole = await ask(content=padded(LIMIT), headers={"Content-Type": TYPE})
    chunked = await ask(content=chunks(padded(LIMIT)), headers={"Content-Type": TYPE})
    assert (whole.status_code, chunked.status_code) == (200, 200)


async def test_a_larger_form_is_413_with_and_without_a_length() -> None:
    whole = await ask(content=padded(LIMIT + 1), headers={"Content-Type": TYPE})
    refused(whole, 413, "invalid_request")
    chunked = await ask(content=chunks(padded(LIMIT + 1)), headers={"Content-Type": TYPE})
    refused(chunked, 413, "invalid_request")


async def test_without_a_snapshot_nothing_is_minted() -> None:
    answer = await ask(keeper=Keeper(None))
    refused(answer, 503, "temporarily_unavailable")
    assert answer.headers["retry-after"] == "1"


@pytest.mark.parametrize(
    "elapsed",
    [Instant(30.1, 0), Instant(0, 30.1), Instant(-3600, 30.1)],
    ids=["wall clock", "monotonic clock", "wall clock set back"],
)
async def test_a_snapshot_older_than_30_seconds_mints_nothing(elapsed: Instant) -> None:
    later = Instant(NOW.wall + elapsed.wall, NOW.monotonic + elapsed.monotonic)
    answer = await ask(now=later)
    refused(answer, 503, "temporarily_unavailable")
    assert answer.headers["retry-after"] == "1"


async def test_a_snapshot_of_30_seconds_still_mints() -> None:
    assert (await ask(now=Instant(NOW.wall + 30, NOW.monotonic + 30))).status_code == 200


async def test_a_new_snapshot_is_in_force_at_once() -> None:
    keeper = Keeper()
    async with talking(keeper) as client:

        async def status() -> int:
            answer = await client.post(
                "/oauth2/token", data=FORM, headers={"Authorization": basic()}
            )
            return answer.status_code

        assert await status() == 200
        keeper.current = snapshot(grants={})
        assert await status() == 400


class BrokenSigner:
    alg: Algorithm = "ES256"
    kid = "broken"

    def sign(self, _message: bytes, /) -> bytes:
        raise OSError("the security module is gone")


async def test_a_signer_that_fails_is_a_server_error_that_tells_the_caller_nothing() -> None:
    keeper = Keeper(replace(snapshot(), signer=BrokenSigner()))
    answer = await ask(keeper=keeper)
    refused(answer, 500, "server_error")
    assert "module" not in answer.text


async def run(messages: list[dict[str, Any]]) -> list[Any]:
    """Hand these messages to the endpoint, and return what it sends."""
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return messages.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/oauth2/token",
        "headers": [(b"content-type", TYPE.encode()), (b"authorization", basic().encode())],
    }
    app = create_app(Keeper(), issuer=ISSUER, ledger=SingleProcessReplayCache(), clock=lambda: NOW)
    await app(scope, receive, send)
    return sent


async def test_a_caller_that_goes_away_is_sent_nothing() -> None:
    gone = {"type": "http.disconnect"}
    part = {"type": "http.request", "body": b"grant_type=cl", "more_body": True}
    assert await run([gone]) == []
    assert await run([part, gone]) == []


async def test_a_form_that_comes_byte_by_byte_is_read() -> None:
    body = b"grant_type=client_credentials&resource=https://billing.internal"
    messages = [{"type": "http.request", "body": bytes([byte]), "more_body": True} for byte in body]
    start, _ = await run([*messages, {"type": "http.request"}])
    assert start["status"] == 200


async def test_too_much_is_refused_before_the_rest_of_it_has_come() -> None:
    chunk = {"type": "http.request", "body": b"x" * 40_000, "more_body": True}
    start, _ = await run([chunk, chunk])
    assert start["status"] == 413


async def test_nothing_secret_is_logged(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    marker = "unmistakable-wrong-secret"
    token = (await ask()).json()["access_token"]
    await ask(authorization=basic(secret=marker))
    await ask({"client_secret": marker})
    await ask({"scope": marker})
    await ask(content=marker.encode() + b"%", headers={"Content-Type": TYPE})
    await ask(keeper=Keeper(replace(snapshot(), signer=BrokenSigner())))
    output = caplog.text + "".join(capfd.readouterr())
    for secret in (SECRET, marker, token, basic(), basic(secret=marker)):
        assert secret not in output


class ChangingKeeper(Keeper):
    """Changes its mind between the two looks that one request takes."""

    def __init__(self, *snapshots: Snapshot) -> None:
        self._snapshots = iter(snapshots)
        self.watchers = []

    @property
    def current(self) -> Snapshot:  # type: ignore[override]
        return next(self._snapshots)


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"grants": {}}, "invalid_target"),
        ({"clients": {}}, "invalid_client"),
        ({"clients": {"orders": Client("orders", (), disabled=False)}}, "invalid_client"),
        (
            {"clients": {"orders": replace(snapshot().clients["orders"], disabled=True)}},
            "unauthorized_client",
        ),
    ],
)
async def test_what_changed_while_a_client_was_identified_counts(
    changed: dict[str, Any], error: str
) -> None:
    answer = await ask(FORM, keeper=ChangingKeeper(snapshot(), snapshot(**changed)))
    assert answer.json()["error"] == error
