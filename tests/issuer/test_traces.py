from __future__ import annotations

import itertools
import os
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from issuer.fixtures_asserting import HELD, assertion, token_form
from issuer.fixtures_collector import Collector
from issuer.fixtures_minting import BILLING, NOW, SECRET, Keeper, basic
from issuer.fixtures_observing import watched

from ephemera_client.instant import Instant

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.anyio

ASKED = {"grant_type": "client_credentials", "resource": BILLING}
WITHOUT = """
import sys
sys.modules["opentelemetry"] = None
from ephemera_issuer.cli import main
main(["serve", "--listen", "127.0.0.1:0", "--database-url", "sqlite://"])
"""
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=payments")
    with Collector() as listening:
        yield listening


async def test_a_token_request_is_a_span_of_its_own_trace(collector: Collector) -> None:
    readings = itertools.count()
    moments = (Instant(NOW.wall, NOW.monotonic + reading) for reading in readings)
    async with watched(settings={"traces": collector.url}, clock=lambda: next(moments)) as http:
        answer = await http.public.post(
            "/oauth2/token", data=ASKED, headers={"Authorization": basic()}
        )
        await http.public.get("/readyz")
        assert answer.status_code == 200
    (span,) = collector.spans
    assert span.name == "POST /oauth2/token"
    assert span.trace_id == answer.headers["X-Request-Id"]
    assert (span.parent_id, span.failed) == ("", False)
    assert span.nanoseconds > 1_000_000_000
    assert span.attributes == {
        "http.request.method": "POST",
        "http.route": "/oauth2/token",
        "http.response.status_code": 200,
        "client.address": "127.0.0.1",
        "ephemera.client_id": "orders",
        "ephemera.audience": BILLING,
    }
    assert span.resource["service.name"] == "ephemera-issuer"
    assert set(collector.paths) == {"/v1/traces"}
    assert {headers["x-tenant"] for headers in collector.headers} == {"payments"}


async def test_a_span_belongs_to_the_callers_trace_if_the_caller_records_it(
    collector: Collector,
) -> None:
    url = f"{collector.url}/otlp/v1/traces"
    async with watched(settings={"traces": url}) as http:
        for flags in ("01", "00"):
            headers = {"Authorization": basic(), "traceparent": f"00-{TRACE}-{PARENT}-{flags}"}
            refused = await http.public.post(
                "/oauth2/token", data=ASKED | {"scope": "more"}, headers=headers
            )
            assert refused.headers["X-Request-Id"] == TRACE
    (span,) = collector.spans
    assert (span.trace_id, span.parent_id) == (TRACE, PARENT)
    assert span.attributes["ephemera.reason"] == "scope_not_granted"
    assert set(collector.paths) == {"/otlp/v1/traces"}


async def test_a_failure_of_ours_is_a_failed_span(collector: Collector) -> None:
    async with watched(Keeper(None), settings={"traces": collector.url}) as http:
        await http.public.post("/oauth2/token", data=ASKED, headers={"Authorization": basic()})
    (span,) = collector.spans
    assert span.failed
    assert span.attributes["error.type"] == "503"
    assert "ephemera.client_id" not in span.attributes


async def test_no_secret_assertion_or_token_is_sent_along(collector: Collector) -> None:
    proof = assertion()
    async with watched(Keeper(HELD), settings={"traces": collector.url}) as http:
        by_secret = await http.public.post(
            "/oauth2/token?client_secret=in-the-query",
            data=ASKED,
            headers={"Authorization": basic()},
        )
        by_key = await http.public.post("/oauth2/token", data=token_form(proof))
        again = await http.public.post("/oauth2/token", data=token_form(proof))
        token = by_secret.json()["access_token"]
        known = by_key.json()["access_token"]
        await http.public.post(
            "/oauth2/introspect", data={"token": token}, headers={"Authorization": basic()}
        )
        await http.public.post(
            "/oauth2/revoke", data={"token": known}, headers={"Authorization": basic()}
        )
    assert again.status_code == 401
    assert len(collector.spans) == 5
    sent = b"".join(collector.bodies).decode(errors="replace")
    for secret in (SECRET, basic().partition(" ")[2], proof, token, known, "in-the-query"):
        assert secret not in sent
        assert secret.rpartition(".")[2] not in sent


async def test_a_collector_that_is_away_holds_nothing_up(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    async with watched(settings={"traces": url}) as http:
        headers = {"Authorization": basic()}
        answer = await http.public.post("/oauth2/token", data=ASKED, headers=headers)
        assert answer.status_code == 200
    assert "Failed to export spans" in caplog.text
    assert SECRET not in caplog.text


def test_without_the_extra_traces_are_refused_by_name() -> None:
    ended = subprocess.run(
        [
            sys.executable,
            "-c",
            WITHOUT,
        ],
        env=os.environ | {"EPHEMERA_TRACES": "http://127.0.0.1:4318"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 1
    assert ended.stderr == (
        "ephemera: EPHEMERA_TRACES: needs OpenTelemetry: "
        "pip install 'ephemera-issuer[opentelemetry]'\n"
    )
