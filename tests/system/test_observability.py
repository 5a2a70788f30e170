"""Metrics of a real issuer of several processes, against what its callers have counted."""

from __future__ import annotations

import json
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from issuer.fixtures_collector import Collector
from issuer.fixtures_observing import value
from system.deployment import AUDIENCE, Deployment, eventually, kill, workers_of
from system.observing import metrics, mints, private_url
from system.running import threads_client

CALLERS = 4
EACH = 60


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    return Deployment(tmp_path_factory.mktemp("issuer"))


def test_workers_count_together_what_their_callers_have_counted(deployment: Deployment) -> None:
    refused = {"grant_type": "client_credentials", "resource": AUDIENCE, "scope": "admin"}
    with deployment.start("--workers", "3") as service, threads_client(CALLERS) as http:

        def call(_: int) -> int:
            granted = sum(deployment.ask(http, service.url).status_code == 200 for _ in range(EACH))
            auth = ("reports", deployment.secret)
            for _ in range(5):
                url = f"{service.url}/oauth2/token"
                assert http.post(url, data=refused, auth=auth).status_code == 400
            return granted

        with ThreadPoolExecutor(CALLERS) as threads:
            counted = sum(threads.map(call, range(CALLERS)))
        assert counted == CALLERS * EACH
        # Any worker may answer, and each says the same.
        for _ in range(10):
            found = metrics(service)
            assert value(found, "ephemera_mints_total", client="reports", audience=AUDIENCE) == (
                counted
            )
            assert (
                value(
                    found,
                    "ephemera_refusals_total",
                    client="reports",
                    audience=AUDIENCE,
                    reason="scope_not_granted",
                )
                == 5 * CALLERS
            )
            name = "ephemera_token_request_duration_seconds_count"
            assert value(found, name, status="2xx") == counted
            assert value(found, "ephemera_workers_alive") == 3
        assert service.stop() == 0, "".join(service.output)


def test_what_a_killed_worker_has_counted_stays_counted(deployment: Deployment) -> None:
    with deployment.start("--workers", "2") as service:
        with threads_client(1) as http:
            for _ in range(50):
                assert deployment.ask(http, service.url).status_code == 200
        assert mints(service, "reports", AUDIENCE) == 50
        for victim in workers_of(service):
            kill(victim)
        eventually(
            lambda: value(metrics(service), "ephemera_worker_deaths_total") == 2,
            "the deaths are not counted",
        )
        eventually(
            lambda: value(metrics(service), "ephemera_workers_alive") == 2, "they are not replaced"
        )
        assert mints(service, "reports", AUDIENCE) == 50
        with threads_client(1) as http:
            assert deployment.ask(http, service.url).status_code == 200
        assert mints(service, "reports", AUDIENCE) == 51
        assert service.stop() == 0, "".join(service.output)


def test_a_signal_ends_both_listeners_and_answers_what_has_come_in(
    deployment: Deployment,
) -> None:
    with deployment.start("--workers", "2") as service:
        host, port = private_url(service).removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=30) as connection:
            connection.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n")
            service.process.terminate()
            stop = threading.Event()

            def closed() -> bool:
                try:
                    httpx.get(f"{private_url(service)}/healthz", trust_env=False, timeout=10)
                except httpx.TransportError:
                    return True
                return stop.is_set()

            eventually(closed, "still taken")
            connection.sendall(b"\r\n")
            answer = b""
            while chunk := connection.recv(65536):
                answer += chunk
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert b"connection: close\r\n" in answer
        assert answer.count(b"ephemera_mints_total") > 0
        assert service.process.wait(30) == 0, "".join(service.output)


def test_the_private_listener_can_be_off(deployment: Deployment) -> None:
    with (
        deployment.start(EPHEMERA_PRIVATE_LISTEN="off") as service,
        threads_client(1) as http,
    ):
        assert deployment.ask(http, service.url).status_code == 200
        assert "private" not in "".join(service.output)
        assert service.stop() == 0


def test_workers_log_and_trace_alike(deployment: Deployment) -> None:
    with Collector() as collector:
        settings = {"EPHEMERA_TRACES": collector.url, "EPHEMERA_ACCESS_LOG": "true"}
        with deployment.start("--workers", "2", **settings) as service:
            with ThreadPoolExecutor(4) as threads, threads_client(4) as http:
                answers = list(threads.map(lambda _: deployment.ask(http, service.url), range(40)))
            assert service.stop() == 0, "".join(service.output)
    ids = {answer.headers["X-Request-Id"] for answer in answers}
    assert len(ids) == 40
    logged = [json.loads(line) for line in service.output if line.startswith("{")]
    assert {line["request_id"] for line in logged if line["endpoint"] == "/oauth2/token"} == ids
    assert {line["worker"] for line in logged} <= {0, 1}
    assert {span.trace_id for span in collector.spans} == ids
