from typing import Any

import anyio
import httpx
import pytest
from client.fixtures_requesting import closed_port
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route

from ephemera_client.asgi import (
    Application,
    Message,
    Receive,
    RequireToken,
    Scope,
    Send,
    access_token,
)
from ephemera_client.bearer import challenge
from ephemera_client.errors import ConfigurationError, InsufficientScope
from ephemera_client.jwks import RemoteKeys
from ephemera_client.testing import FakeIssuer
from ephemera_client.verifier import AsyncVerifier

pytestmark = pytest.mark.anyio

AUDIENCE = "https://billing.internal"
READ = "invoices:read"


@pytest.fixture
def issuer() -> FakeIssuer:
    return FakeIssuer()


@pytest.fixture
def verifier(issuer: FakeIssuer) -> AsyncVerifier:
    return issuer.async_verifier(AUDIENCE)


async def _who(scope: Scope, receive: Receive, send: Send) -> None:
    response = JSONResponse({"client": access_token(scope).client_id})
    await response(scope, receive, send)


async def _call(app: Any, *authorization: str, path: str = "/") -> httpx.Response:
    headers = [("Authorization", value) for value in authorization]
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://billing") as client:
        return await client.get(path, headers=headers)


def _reason(response: httpx.Response) -> str | None:
    told = challenge(response.headers.get_list("www-authenticate"))
    assert told.get("reason") in {None, response.json()["reason"]}
    return told.get("reason")


async def test_an_acceptable_token_is_let_in_once(
    issuer: FakeIssuer, verifier: AsyncVerifier
) -> None:
    app = RequireToken(_who, verifier)
    header = f"Bearer {issuer.mint(AUDIENCE)}"
    response = await _call(app, header)
    assert (response.status_code, response.json()) == (200, {"client": "orders"})
    response = await _call(app, header)
    assert (response.status_code, _reason(response)) == (401, "token_replayed")


async def test_a_token_in_many_requests_at_once_is_let_in_by_one(
    issuer: FakeIssuer, verifier: AsyncVerifier
) -> None:
    app = RequireToken(_who, verifier)
    header = f"Bearer {issuer.mint(AUDIENCE)}"
    statuses: list[int] = []

    async def call() -> None:
        statuses.append((await _call(app, header)).status_code)

    async with anyio.create_task_group() as group:
        for _ in range(20):
            group.start_soon(call)
    assert sorted(statuses) == [200] + [401] * 19


async def test_no_token_is_asked_for_with_the_audience(verifier: AsyncVerifier) -> None:
    response = await _call(RequireToken(_who, verifier))
    assert response.status_code == 401
    assert response.headers["www-authenticate"] == f'Bearer realm="{AUDIENCE}"'


async def test_two_authorization_headers_are_a_bad_request(
    issuer: FakeIssuer, verifier: AsyncVerifier
) -> None:
    app = RequireToken(_who, verifier)
    one, two = (f"Bearer {issuer.mint(AUDIENCE)}" for _ in range(2))
    assert (await _call(app, one, two)).status_code == 400
    assert (await _call(app, one)).status_code == 200


async def test_a_token_without_the_scope_is_forbidden_and_not_used_up(
    issuer: FakeIssuer, verifier: AsyncVerifier
) -> None:
    header = f"Bearer {issuer.mint(AUDIENCE, scopes={READ})}"
    response = await _call(RequireToken(_who, verifier, scopes=["invoices:write"]), header)
    assert (response.status_code, _reason(response)) == (403, "insufficient_scope")
    assert challenge([response.headers["www-authenticate"]])["scope"] == "invoices:write"
    assert (await _call(RequireToken(_who, verifier, scopes=[READ]), header)).status_code == 200


async def test_keys_that_cannot_be_had_are_a_503(issuer: FakeIssuer) -> None:
    keys = RemoteKeys(f"http://127.0.0.1:{closed_port()}/jwks", timeout=1)
    app = RequireToken(_who, issuer.async_verifier(AUDIENCE, keys=keys))
    response = await _call(app, f"Bearer {issuer.mint(AUDIENCE)}")
    assert (response.status_code, response.json()["reason"]) == (503, "keys_unavailable")
    assert "retry-after" in response.headers


async def test_a_full_ledger_is_a_503(issuer: FakeIssuer) -> None:
    app = RequireToken(_who, issuer.async_verifier(AUDIENCE, replay_cache=_Full()))
    response = await _call(app, f"Bearer {issuer.mint(AUDIENCE)}")
    assert (response.status_code, response.json()["reason"]) == (503, "replay_cache_unavailable")


class _Full:
    accepted_once = "process"

    async def claim_async(self, *_: object) -> None:
        raise OSError


async def test_nested_requirements_claim_once(issuer: FakeIssuer, verifier: AsyncVerifier) -> None:
    inner = RequireToken(_who, verifier, scopes=["invoices:write"])
    app = RequireToken(RequireToken(inner, verifier, scopes=[READ]), verifier)
    both = issuer.mint(AUDIENCE, scopes={READ, "invoices:write"})
    assert (await _call(app, f"Bearer {both}")).status_code == 200
    response = await _call(app, f"Bearer {issuer.mint(AUDIENCE, scopes={READ})}")
    assert (response.status_code, _reason(response)) == (403, "insufficient_scope")


async def test_another_verifier_within_verifies_for_itself(
    issuer: FakeIssuer, verifier: AsyncVerifier
) -> None:
    other = issuer.async_verifier("https://other.internal")
    app = RequireToken(RequireToken(_who, other), verifier)
    response = await _call(app, f"Bearer {issuer.mint(AUDIENCE)}")
    assert (response.status_code, _reason(response)) == (401, "audience_mismatch")


async def test_a_scope_demanded_inside_the_application_becomes_the_403(
    issuer: FakeIssuer, verifier: AsyncVerifier
) -> None:
    async def invoice(request: Request) -> JSONResponse:
        access_token(request.scope).require(READ)
        return JSONResponse({})

    routes = [Mount("/v1", routes=[Route("/invoice", invoice)])]
    app = Starlette(routes=routes, middleware=[Middleware(RequireToken, verifier=verifier)])
    response = await _call(app, f"Bearer {issuer.mint(AUDIENCE)}", path="/v1/invoice")
    assert (response.status_code, _reason(response)) == (403, "insufficient_scope")
    response = await _call(
        app, f"Bearer {issuer.mint(AUDIENCE, scopes={READ})}", path="/v1/invoice"
    )
    assert response.status_code == 200


async def test_a_scope_demanded_after_the_answer_began_is_not_hidden(
    issuer: FakeIssuer, verifier: AsyncVerifier
) -> None:
    async def late(scope: Scope, _: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        access_token(scope).require(READ)

    with pytest.raises(InsufficientScope):
        await _call(RequireToken(late, verifier), f"Bearer {issuer.mint(AUDIENCE)}")


async def test_without_the_middleware_there_is_no_token_to_ask_for() -> None:
    with pytest.raises(ConfigurationError, match="no RequireToken"):
        await _call(_who)


async def test_the_lifespan_passes_through(verifier: AsyncVerifier) -> None:
    seen: list[str] = []

    async def app(scope: Scope, *_: object) -> None:
        seen.append(scope["type"])

    await RequireToken(app, verifier)({"type": "lifespan"}, _never, _nowhere)
    assert seen == ["lifespan"]


async def test_what_no_rule_is_known_for_does_not_pass(verifier: AsyncVerifier) -> None:
    guarded = RequireToken(_who, verifier)
    with pytest.raises(ConfigurationError, match="webtransport"):
        await guarded({"type": "webtransport", "headers": []}, _never, _nowhere)


@pytest.mark.parametrize("scopes", [READ, ["a b"], [1]])
def test_scopes_that_are_none_are_a_configuration_error(
    scopes: Any, verifier: AsyncVerifier
) -> None:
    with pytest.raises(ConfigurationError):
        RequireToken(_who, verifier, scopes=scopes)


async def _never() -> Message:
    raise AssertionError("nothing is to be received")


async def _nowhere(_: Message) -> None:
    raise AssertionError("nothing is to be sent")


async def _handshake(
    app: Application, token: str | None, *, extensions: dict[str, Any] | None = None
) -> list[Message]:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    headers = [(b"authorization", f"Bearer {token}".encode())] if token else []
    scope: dict[str, Any] = {"type": "websocket", "path": "/", "headers": headers}
    if extensions is not None:
        scope["extensions"] = extensions
    await app(scope, _never, send)
    return sent


async def _greet(scope: Scope, _: Receive, send: Send) -> None:
    access_token(scope).require(READ)
    await send({"type": "websocket.accept"})


async def test_a_websocket_is_claimed_at_the_handshake(
    issuer: FakeIssuer, verifier: AsyncVerifier
) -> None:
    app = RequireToken(_greet, verifier)
    token = issuer.mint(AUDIENCE, scopes={READ})
    assert await _handshake(app, token) == [{"type": "websocket.accept"}]
    assert await _handshake(app, token) == [
        {"type": "websocket.close", "code": 1008, "reason": "token_replayed"}
    ]


async def test_a_websocket_is_refused_with_a_response_where_the_server_can(
    issuer: FakeIssuer, verifier: AsyncVerifier
) -> None:
    app = RequireToken(_greet, verifier)
    start, body = await _handshake(
        app, issuer.mint(AUDIENCE), extensions={"websocket.http.response": {}}
    )
    assert (start["type"], start["status"]) == ("websocket.http.response.start", 403)
    assert b"insufficient_scope" in dict(start["headers"])[b"www-authenticate"]
    assert body["type"] == "websocket.http.response.body"
    assert b"insufficient_scope" in body["body"]


@pytest.mark.parametrize("extensions", [None, {"websocket.http.response": {}}])
async def test_a_scope_demanded_on_an_open_websocket_ends_it(
    extensions: dict[str, Any] | None, issuer: FakeIssuer, verifier: AsyncVerifier
) -> None:
    async def late(scope: Scope, _: Receive, send: Send) -> None:
        await send({"type": "websocket.accept"})
        access_token(scope).require(READ)

    app = RequireToken(late, verifier)
    _, closed = await _handshake(app, issuer.mint(AUDIENCE), extensions=extensions)
    assert closed == {"type": "websocket.close", "code": 1008, "reason": "insufficient_scope"}


async def test_a_scope_demanded_on_a_websocket_that_has_ended_is_not_hidden(
    issuer: FakeIssuer, verifier: AsyncVerifier
) -> None:
    async def late(scope: Scope, _: Receive, send: Send) -> None:
        await send({"type": "websocket.close"})
        access_token(scope).require(READ)

    with pytest.raises(InsufficientScope):
        await _handshake(RequireToken(late, verifier), issuer.mint(AUDIENCE))


async def test_a_websocket_without_a_token_is_closed_unopened(verifier: AsyncVerifier) -> None:
    app = RequireToken(_greet, verifier)
    assert (await _handshake(app, None, extensions={}))[0]["reason"] == "token_missing"


async def test_a_websocket_is_told_to_try_later_when_nothing_can_be_verified(
    issuer: FakeIssuer,
) -> None:
    app = RequireToken(_greet, issuer.async_verifier(AUDIENCE, replay_cache=_Full()))
    (close,) = await _handshake(app, issuer.mint(AUDIENCE))
    assert (close["code"], close["reason"]) == (1013, "replay_cache_unavailable")
