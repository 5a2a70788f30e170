from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import httpx
import pytest
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from ephemera_issuer.endpoints import Endpoints
from ephemera_issuer.metrics.families import OTHER
from ephemera_issuer.private import create_private_app

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def greet(_request: Request) -> Response:
    return PlainTextResponse("here")


async def fail(_request: Request) -> Response:
    raise LookupError("it lost its way")


@contextlib.asynccontextmanager
async def talking() -> AsyncIterator[httpx.AsyncClient]:
    routes = [Route("/admin/v1/here", greet), Route("/admin/v1/fail", fail)]
    transport = httpx.ASGITransport(create_private_app(routes=routes), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://private.test") as client:
        yield client


async def test_it_answers_for_itself_and_for_what_is_added_to_it() -> None:
    async with talking() as http:
        assert (await http.get("/healthz")).json() == {"status": "alive"}
        assert (await http.get("/admin/v1/here")).text == "here"


@pytest.mark.parametrize(
    ("method", "path", "status", "error"),
    [
        ("GET", "/admin/v1/fail", 500, "server_error"),
        ("GET", "/nothing", 404, "invalid_request"),
        ("GET", "/admin/v1/here/", 404, "invalid_request"),
        ("DELETE", "/healthz", 405, "invalid_request"),
    ],
)
async def test_its_errors_are_of_our_own(method: str, path: str, status: int, error: str) -> None:
    async with talking() as http:
        answer = await http.request(method, path)
    assert (answer.status_code, answer.json()["error"]) == (status, error)
    assert answer.headers["Cache-Control"] == "no-store"
    assert "way" not in answer.text


def test_an_endpoint_is_named_by_its_path_or_by_what_it_is_under() -> None:
    endpoints = Endpoints("private", frozenset({"/healthz"}), under=("/admin/v1",))
    named = [
        endpoints.name(path)
        for path in ("/healthz", "/admin/v1/clients/orders", "/admin/v1", "/admin/v10/x", "/x")
    ]
    assert named == ["/healthz", "/admin/v1", OTHER, OTHER, OTHER]
    assert set(named) == set(endpoints.names)
