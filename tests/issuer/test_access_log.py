from __future__ import annotations

import io
import json
import logging
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from issuer.fixtures_minting import BILLING, LEDGER, basic
from issuer.fixtures_observing import watched

from ephemera_issuer.logs import configure_logs

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.anyio

ASKED = {"grant_type": "client_credentials", "resource": BILLING}
LOGGED = {"access_log": True}
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    stream = io.StringIO()
    configure_logs(stream)
    yield stream
    root.handlers = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def lines(log: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.getvalue().splitlines()]


async def test_a_line_says_who_asked_for_what_and_what_came_of_it(log: io.StringIO) -> None:
    async with watched(settings=LOGGED) as http:
        granted = await http.public.post(
            "/oauth2/token", data=ASKED, headers={"Authorization": basic()}
        )
        refused = await http.public.post(
            "/oauth2/token",
            data=ASKED | {"resource": LEDGER, "scope": "more"},
            headers={"Authorization": basic()},
        )
        await http.public.post(
            "/oauth2/introspect",
            data={"token": granted.json()["access_token"]},
            headers={"Authorization": basic()},
        )
        await http.private.get("/metrics")
    first, second, third, fourth = lines(log)
    assert first["seconds"] >= 0
    assert {name: first[name] for name in first if name not in {"seconds", "timestamp"}} == {
        "event": "request",
        "level": "info",
        "logger": "ephemera_issuer.access",
        "listener": "public",
        "method": "POST",
        "endpoint": "/oauth2/token",
        "status": 200,
        "address": "127.0.0.1",
        "client": "orders",
        "audience": BILLING,
        "request_id": granted.headers["X-Request-Id"],
    }
    assert (second["status"], second["audience"], second["reason"]) == (
        400,
        LEDGER,
        "scope_not_granted",
    )
    assert second["request_id"] == refused.headers["X-Request-Id"] != first["request_id"]
    assert (third["endpoint"], third["client"]) == ("/oauth2/introspect", "orders")
    assert (fourth["listener"], fourth["endpoint"]) == ("private", "/metrics")


async def test_a_callers_trace_is_the_requests_id_and_a_made_up_one_is_not(
    log: io.StringIO,
) -> None:
    async with watched(settings=LOGGED) as http:
        taken = await http.public.get(
            "/readyz", headers={"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}
        )
        made_up = await http.public.get("/readyz", headers={"traceparent": "00-my-own-words"})
    first, second = lines(log)
    assert taken.headers["X-Request-Id"] == first["request_id"] == TRACE
    assert made_up.headers["X-Request-Id"] == second["request_id"] != TRACE


async def test_what_a_caller_sends_is_not_quoted(log: io.StringIO) -> None:
    secret = "unmistakable-secret"
    async with watched(settings=LOGGED) as http:
        await http.public.get(f"/oauth2/token/{secret}?access_token={secret}")
        await http.public.post(f"/oauth2/token?token={secret}", data={"client_secret": secret})
        await http.public.get("/v1/revocations", params={"after": secret})
        await http.public.post(
            "/oauth2/token", data=ASKED, headers={"Authorization": basic(secret, secret)}
        )
    assert len(lines(log)) == 4
    assert secret not in log.getvalue()


async def test_without_an_access_log_nothing_is_logged_and_no_request_has_an_id(
    log: io.StringIO,
) -> None:
    async with watched() as http:
        answer = await http.public.post(
            "/oauth2/token", data=ASKED, headers={"Authorization": basic()}
        )
    assert answer.status_code == 200
    assert "X-Request-Id" not in answer.headers
    assert log.getvalue() == ""
