"""docs/integrations.md: each sample guards an API, whose token is claimed once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
import pytest
from client.fixtures_frameworks import call, django_project
from client.fixtures_grpc import Tls
from client.fixtures_requesting import Issuer, issuing
from django.urls import path
from docs.pages import blocks
from docs.running import run

from ephemera_client import ClientSecret, TokenClient

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.anyio

AUDIENCE = "https://billing.internal"
SETTINGS, STARLETTE, WEBSOCKET, FASTAPI, WSGI, FLASK, DJANGO, SERVER, CALLER = blocks(
    "docs/integrations.md", "python"
)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with issuing() as issuer:
        yield issuer


@pytest.fixture
def names(issuer: Issuer) -> dict[str, Any]:
    return run(SETTINGS, {"__name__": "page"}, {"https://tokens.internal": issuer.origin})


def header(issuer: Issuer, scope: str) -> str:
    return f"Bearer {issuer.mint(AUDIENCE, scope)}"


@pytest.mark.parametrize("sample", [STARLETTE, FASTAPI, WSGI, FLASK])
async def test_a_sample_accepts_a_token_once(
    sample: str, names: dict[str, Any], issuer: Issuer
) -> None:
    app = run(sample, names, {})["app"]
    token = header(issuer, "invoices:read")
    response = await call(app, token)
    assert (response.status_code, "orders" in response.text) == (200, True)
    assert (await call(app, token)).status_code == 401
    assert (await call(app, header(issuer, "entries:read"))).status_code == 403


@pytest.mark.parametrize("sample", [STARLETTE, FASTAPI, FLASK])
async def test_a_route_of_a_sample_takes_one_scope_more(
    sample: str, names: dict[str, Any], issuer: Issuer
) -> None:
    app = run(sample, names, {})["app"]
    both = header(issuer, "invoices:read invoices:write")
    assert (await call(app, both, method="POST")).json() == {"for": "orders"}
    one = header(issuer, "invoices:read")
    assert (await call(app, one, method="POST")).status_code == 403


async def test_the_sample_for_django_accepts_a_token_once_and_has_a_view_with_one_scope_more(
    names: dict[str, Any], issuer: Issuer
) -> None:
    run(DJANGO, names, {})
    urls = [path("invoices", names["list_invoices"]), path("add", names["add_invoice"])]
    app = django_project(urls, guard=names["guard"])
    token = header(issuer, "invoices:read")
    assert (await call(app, token)).json() == {"for": "orders"}
    assert (await call(app, token)).status_code == 401
    assert (await call(app, header(issuer, "invoices:read"), at="/add")).status_code == 403
    both = header(issuer, "invoices:read invoices:write")
    assert (await call(app, both, at="/add")).status_code == 200


async def test_the_sample_for_websockets_goes_on_while_its_token_lives(
    names: dict[str, Any], issuer: Issuer
) -> None:
    app = run(WEBSOCKET, run(STARLETTE, names, {}), {})["app"]
    received = [{"type": "websocket.connect"}, {"type": "websocket.receive", "text": "when"}]
    sent: list[Any] = []

    async def receive() -> Any:
        return received.pop(0) if received else {"type": "websocket.disconnect", "code": 1000}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "websocket",
        "path": "/invoices",
        "headers": [(b"authorization", header(issuer, "invoices:read").encode())],
    }
    await app(scope, receive, send)
    assert [message.get("text") for message in sent] == [None, "when, orders?"]


def test_the_sample_for_grpc_callers_calls_that_for_servers(
    names: dict[str, Any], issuer: Issuer, tmp_path: Path
) -> None:
    tls = Tls(tmp_path)
    run(SERVER, names, {})
    handlers: dict[str, Any] = {"Get": grpc.unary_unary_rpc_method_handler(names["get"])}
    generic: Any = grpc.method_handlers_generic_handler("billing.Invoices", handlers)
    server = names["server"]
    server.add_generic_rpc_handlers((generic,))
    port = server.add_secure_port("127.0.0.1:0", tls.server)
    server.start()
    secret = ClientSecret("a-secret-that-is-long-enough-to-be-one")
    with TokenClient(issuer.origin, client_id="orders", credential=secret) as tokens:
        names |= {"tokens": tokens, "authority": (tmp_path / "authority.pem").read_bytes()}
        run(CALLER, names, {"billing.internal:443": f"127.0.0.1:{port}"})
        with names["channel"] as channel:
            get: Any = channel.unary_unary("/billing.Invoices/Get")
            assert [get(b"", timeout=20) for _ in range(3)] == [b"orders"] * 3
    server.stop(None).wait()
    assert issuer.token_requests
