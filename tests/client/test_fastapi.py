import asyncio
from typing import Annotated, Any

import fastapi
import pytest
from client.fixtures_frameworks import call
from client.fixtures_requesting import Issuer
from fastapi import APIRouter, Depends, FastAPI, Security, WebSocket
from fastapi.responses import JSONResponse

from ephemera_client import (
    AccessToken,
    AsyncVerifier,
    NoReplayCache,
    RequireToken,
    SingleProcessReplayCache,
    StaticKeys,
    asgi,
)
from ephemera_client.fastapi import Refused, TokenRequired, access_token

pytestmark = pytest.mark.anyio

AUDIENCE = "https://billing.internal"
READ, WRITE = "invoices:read", "invoices:write"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def issuer() -> Issuer:
    return Issuer()


@pytest.fixture
def verifier(issuer: Issuer) -> AsyncVerifier:
    return AsyncVerifier(
        issuer=issuer.origin,
        audience=AUDIENCE,
        algorithm="ES256",
        replay_cache=SingleProcessReplayCache(),
        keys=StaticKeys(issuer.jwks),
    )


@pytest.fixture
def billing(verifier: AsyncVerifier) -> TokenRequired:
    return TokenRequired(verifier)


def header(issuer: Issuer, *scopes: str) -> str:
    return f"Bearer {issuer.mint(AUDIENCE, ' '.join(scopes))}"


def nested(billing: TokenRequired) -> FastAPI:
    """An application, a router, a sub-dependency and a route, each with a requirement."""

    async def account(token: Annotated[AccessToken, Security(billing, scopes=["a"])]) -> str:
        return token.client_id

    def known(of: Annotated[str, Security(account, scopes=["b"])]) -> str:
        return of

    router = APIRouter(prefix="/v1", dependencies=[Security(billing, scopes=["router"])])

    @router.get("/invoices")
    async def invoices(
        of: Annotated[str, Depends(known)],
        token: Annotated[AccessToken, Security(billing, scopes=["route"])],
        request: fastapi.Request,
    ) -> dict[str, str]:
        assert access_token(request) is token
        return {"for": of}

    app = FastAPI(dependencies=[Depends(billing)])
    app.include_router(router)
    return app


async def test_requirements_of_every_level_claim_once(
    billing: TokenRequired, issuer: Issuer
) -> None:
    app = nested(billing)
    token = header(issuer, "a", "b", "router", "route")
    assert (await call(app, token, at="/v1/invoices")).json() == {"for": "orders"}
    assert (await call(app, token, at="/v1/invoices")).status_code == 401


@pytest.mark.parametrize("missing", ["a", "b", "router", "route"])
async def test_each_level_is_required(billing: TokenRequired, issuer: Issuer, missing: str) -> None:
    token = header(issuer, *({"a", "b", "router", "route"} - {missing}))
    response = await call(nested(billing), token, at="/v1/invoices")
    assert response.status_code == 403
    assert missing in response.json()["scope"].split()


async def test_the_openapi_document_has_the_scheme_and_the_scopes_of_each_route(
    billing: TokenRequired,
) -> None:
    document = nested(billing).openapi()
    assert document["components"]["securitySchemes"] == {
        "AccessToken": {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": "JWT",
            "description": f"An access token for {AUDIENCE} (RFC 6750, RFC 9068).",
        }
    }
    (security,) = document["paths"]["/v1/invoices"]["get"]["security"]
    assert sorted(security["AccessToken"]) == ["a", "b", "route", "router"]


async def test_two_apis_in_one_document_have_a_scheme_each(verifier: AsyncVerifier) -> None:
    app = FastAPI()
    for name in ("Billing", "Ledger"):
        app.get(f"/{name}", dependencies=[Security(TokenRequired(verifier, scheme_name=name))])(
            lambda: None
        )
    assert set(app.openapi()["components"]["securitySchemes"]) == {"Billing", "Ledger"}


async def test_the_middleware_and_the_dependency_claim_once_and_refuse_alike(
    billing: TokenRequired, verifier: AsyncVerifier, issuer: Issuer
) -> None:
    app, bare = nested(billing), nested(billing)
    app.add_middleware(RequireToken, verifier=verifier)
    token = header(issuer, "a", "b", "router", "route")
    assert (await call(app, token, at="/v1/invoices")).status_code == 200
    for refused in ("Basic x", token, f"{token},x", None):
        with_it, without = [
            await call(one, refused or header(issuer, "a"), at="/v1/invoices")
            for one in (app, bare)
        ]
        assert with_it.status_code == without.status_code >= 400
        assert with_it.content == without.content
        assert with_it.headers == without.headers


async def test_a_scope_demanded_in_the_route_is_the_same_403_as_one_of_the_middleware(
    billing: TokenRequired, verifier: AsyncVerifier, issuer: Issuer
) -> None:
    app = FastAPI()

    @app.get("/invoices")
    async def invoices(token: Annotated[AccessToken, Depends(billing)]) -> None:
        token.require(WRITE)

    response = await call(app, header(issuer, READ))
    guarded = RequireToken(app, verifier, scopes={WRITE})
    outer = FastAPI()
    outer.mount("/", guarded)
    same = await call(outer, header(issuer, READ))
    assert (response.status_code, response.content) == (403, same.content)
    assert response.headers == same.headers


async def test_an_application_may_answer_in_its_own_way(
    billing: TokenRequired, issuer: Issuer
) -> None:
    app = nested(billing)

    @app.exception_handler(Refused)
    async def refused(_request: fastapi.Request, error: Refused) -> JSONResponse:
        return JSONResponse({"type": error.error.code}, error.status_code, error.headers)

    response = await call(app, header(issuer), at="/v1/invoices")
    assert (response.status_code, response.json()) == (403, {"type": "insufficient_scope"})
    assert 'reason="insufficient_scope"' in response.headers["www-authenticate"]


async def test_where_handlers_are_not_found_fastapis_own_answers_with_the_same_status_and_headers(
    billing: TokenRequired,
) -> None:
    app = nested(billing)

    class Hiding:
        """What a later Starlette may do: keep its handlers elsewhere."""

        def __init__(self, app: Any) -> None:
            self._app = app

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            hidden = scope.pop("starlette.exception_handlers")
            try:
                await self._app(scope, receive, send)
            finally:
                scope["starlette.exception_handlers"] = hidden

    app.router.middleware_stack = Hiding(app.router.middleware_stack)
    response = await call(app, at="/v1/invoices")
    assert response.status_code == 401
    assert response.json() == {"detail": {"error": "invalid_token", "reason": "token_missing"}}
    assert response.headers["www-authenticate"] == f'Bearer realm="{AUDIENCE}"'


async def test_what_else_goes_wrong_in_a_route_is_not_answered_for(
    billing: TokenRequired, issuer: Issuer
) -> None:
    app = FastAPI()

    @app.get("/invoices")
    async def invoices(token: Annotated[AccessToken, Depends(billing)]) -> None:
        del token
        raise fastapi.HTTPException(418, "a teapot")

    response = await call(app, header(issuer))
    assert (response.status_code, response.json()) == (418, {"detail": "a teapot"})


def watching(billing: TokenRequired) -> FastAPI:
    app = FastAPI()

    @app.websocket("/invoices")
    async def watch(
        websocket: WebSocket, token: Annotated[AccessToken, Security(billing, scopes=[READ])]
    ) -> None:
        await websocket.accept()
        token.require(WRITE)
        await websocket.close()

    return app


async def handshake(app: asgi.Application, authorization: str, **extensions: Any) -> list[Any]:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "websocket.connect"} if not sent else await asyncio.Event().wait()

    scope = {
        "type": "websocket",
        "path": "/invoices",
        "query_string": b"",
        "headers": [(b"authorization", authorization.encode())],
        "extensions": extensions,
    }
    await app(scope, receive, send)
    return sent


async def test_a_websocket_is_claimed_at_the_handshake(
    billing: TokenRequired, issuer: Issuer
) -> None:
    app, token = watching(billing), header(issuer, READ, WRITE)
    accepted, closed = await handshake(app, token)
    assert accepted["type"] == "websocket.accept"
    assert (closed["type"], closed["code"]) == ("websocket.close", 1000)
    (refused,) = await handshake(app, token)
    assert (refused["code"], refused["reason"]) == (1008, "token_replayed")


async def test_a_websocket_is_refused_with_the_response_where_the_server_can(
    billing: TokenRequired, issuer: Issuer
) -> None:
    sent = await handshake(watching(billing), header(issuer), **{"websocket.http.response": {}})
    assert sent[0]["type"] == "websocket.http.response.start"
    assert sent[0]["status"] == 403
    assert b'reason="insufficient_scope"' in dict(sent[0]["headers"])[b"www-authenticate"]
    assert b'"insufficient_scope"' in sent[1]["body"]


@pytest.mark.parametrize("extensions", [{}, {"websocket.http.response": {}}])
async def test_a_scope_demanded_on_an_open_websocket_ends_it(
    billing: TokenRequired, issuer: Issuer, extensions: dict[str, Any]
) -> None:
    _, closed = await handshake(watching(billing), header(issuer, READ), **extensions)
    assert (closed["code"], closed["reason"]) == (1008, "insufficient_scope")


async def test_many_requests_with_one_token_are_answered_once(
    billing: TokenRequired, issuer: Issuer
) -> None:
    app, token = nested(billing), header(issuer, "a", "b", "router", "route")
    answers = await asyncio.gather(*(call(app, token, at="/v1/invoices") for _ in range(20)))
    assert sorted(answer.status_code for answer in answers) == [200] + [401] * 19


async def test_a_verifier_of_another_api_is_no_substitute(
    billing: TokenRequired, issuer: Issuer
) -> None:
    other = AsyncVerifier(
        issuer=issuer.origin,
        audience="https://ledger.internal",
        algorithm="ES256",
        replay_cache=NoReplayCache(),
        keys=StaticKeys(issuer.jwks),
    )
    app = FastAPI(dependencies=[Depends(billing), Depends(TokenRequired(other))])
    app.get("/invoices")(lambda: None)
    response = await call(app, header(issuer))
    assert (response.status_code, response.json()["reason"]) == (401, "audience_mismatch")
