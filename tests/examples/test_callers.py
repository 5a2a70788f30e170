"""The callers among the examples as real processes, against a real issuer and a real API."""

from __future__ import annotations

import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from docs.running import serving
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse, RedirectResponse
from starlette.routing import Route
from system.running import Issuer, run_issuer

from ephemera_client import AsyncVerifier, RequireToken, SingleProcessReplayCache, access_token

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp, Receive, Scope, Send

EXAMPLES = Path(__file__).parents[2] / "examples"
AUDIENCE = "https://billing.internal"
CALLERS = ["requests_caller", "httpx2_caller"]


@pytest.fixture(scope="module")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Issuer]:
    with run_issuer(tmp_path_factory.mktemp("issuer")) as running:
        yield running


class Api:
    """Billing, with a redirect, and another one to a stranger."""

    def __init__(self, issuer: str) -> None:
        self.shown: list[str] = []
        self.stranger = ""
        verifier = AsyncVerifier(
            issuer=issuer,
            audience=AUDIENCE,
            algorithm="ES256",
            replay_cache=SingleProcessReplayCache(),
        )
        self.app: ASGIApp = Starlette(
            routes=[
                Route("/invoices", self._invoices),
                Route("/old", self._moved),
                Route("/away", self._away),
            ],
            middleware=[Middleware(RequireToken, verifier=verifier, scopes={"invoices:read"})],
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        self.shown.append(headers.get(b"authorization", b"").decode())
        await self.app(scope, receive, send)

    async def _invoices(self, request: Request) -> Response:
        return PlainTextResponse(f"for {access_token(request.scope).client_id}")

    async def _moved(self, _request: Request) -> Response:
        return RedirectResponse("/invoices")

    async def _away(self, _request: Request) -> Response:
        return RedirectResponse(self.stranger)


@contextmanager
def serving_api(issuer: Issuer) -> Iterator[tuple[Api, str]]:
    with socket.create_server(("127.0.0.1", 0)) as door:
        api = Api(issuer.url)
        with serving(api, door):
            yield api, f"http://127.0.0.1:{door.getsockname()[1]}"


def run_caller(name: str, issuer: Issuer, *arguments: str) -> subprocess.CompletedProcess[str]:
    settings = {
        "EPHEMERA_CLIENT_ISSUER": issuer.url,
        "EPHEMERA_CLIENT_ID": "orders",
        "EPHEMERA_CLIENT_SECRET_FILE": str(issuer.secret_file),
        "AUDIENCE": AUDIENCE,
    }
    return subprocess.run(
        [sys.executable, str(EXAMPLES / f"{name}.py"), *arguments],
        env=issuer.environment | settings,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize("caller", CALLERS)
def test_each_call_and_each_hop_carries_a_token_that_is_accepted(
    caller: str, issuer: Issuer
) -> None:
    with serving_api(issuer) as (api, url):
        done = run_caller(caller, issuer, url, "/invoices", "/old", "/invoices")
    assert done.stdout == "200 for orders\n" * 3, done.stderr
    assert len(api.shown) == len(set(api.shown)) == 4


@pytest.mark.parametrize("caller", CALLERS)
def test_a_token_that_the_api_refuses_is_replaced_once(caller: str, issuer: Issuer) -> None:
    with serving_api(issuer) as (api, url):

        async def refuse_first(scope: Scope, receive: Receive, send: Send) -> None:
            api.app = accepting
            told = {"www-authenticate": 'Bearer error="invalid_token", reason="token_expired"'}
            await PlainTextResponse("", 401, told)(scope, receive, send)

        accepting, api.app = api.app, refuse_first
        done = run_caller(caller, issuer, url, "/invoices")
    assert done.stdout == "200 for orders\n", done.stderr
    assert len(set(api.shown)) == 2


@pytest.mark.parametrize("caller", CALLERS)
def test_a_redirect_to_a_stranger_is_not_followed(caller: str, issuer: Issuer) -> None:
    with serving_api(issuer) as (api, url), serving_api(issuer) as (stranger, elsewhere):
        api.stranger = f"{elsewhere}/invoices"
        done = run_caller(caller, issuer, url, "/away")
    assert done.returncode == 1
    assert stranger.shown == []
    assert "eyJ" not in done.stdout + done.stderr
