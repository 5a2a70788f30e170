"""The pool under load: a real issuer, every token verified and claimed by its API."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING

import anyio
import httpx
import pytest
from client.fixtures_requesting import Asked, Reply, closed_port, serving
from system.running import run_issuer

from ephemera_client import (
    AsyncTokenClient,
    AsyncVerifier,
    ClientSecret,
    IssuerUnavailable,
    RequireToken,
    SingleProcessReplayCache,
    Target,
    TokenClient,
    access_token,
)
from ephemera_issuer.demo.process import Service

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ephemera_client.asgi import Receive, Scope, Send

AUDIENCES = [f"https://{name}.internal" for name in ("billing", "ledger", "stock")]
REGISTRY = '[[clients]]\nid = "orders"\nsecret = "generate"\n' + "".join(
    f"""
[[audiences]]
id = "{audience}"
scopes = ["all:read"]

[[grants]]
client = "orders"
audience = "{audience}"
scopes = ["all:read"]
"""
    for audience in AUDIENCES
)
CALLS = 10_000
AWAY = {"connect_failed", "connection_lost", "issuer_failed", "timeout"}


class Api:
    """Three APIs in one: each verifies and claims its own tokens."""

    def __init__(self, issuer: str) -> None:
        self.accepted: list[str] = []
        self._guarded = {
            audience: RequireToken(
                self._answer,
                AsyncVerifier(
                    issuer=issuer,
                    audience=audience,
                    algorithm="ES256",
                    replay_cache=SingleProcessReplayCache(),
                ),
            )
            for audience in AUDIENCES
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        (host,) = (value for name, value in scope["headers"] if name == b"host")
        await self._guarded[f"https://{host.decode()}"](scope, receive, send)

    async def _answer(self, scope: Scope, _receive: Receive, send: Send) -> None:
        self.accepted.append(access_token(scope).claims["jti"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})


@contextlib.contextmanager
def counted_issuer(folder: Path) -> Iterator[tuple[str, Path, list[Asked]]]:
    """An issuer behind a proxy that counts: where it is, its client's secret, what was asked."""
    backend: list[httpx.Client] = []

    def forward(asked: Asked) -> Reply:
        answer = backend[0].request(
            asked.method, asked.path, headers=asked.headers, content=asked.body
        )
        return Reply(answer.status_code, answer.content)

    with serving(forward) as proxy:
        settings = {"EPHEMERA_ISSUER": proxy.origin}
        with (
            run_issuer(folder, registry=REGISTRY, settings=settings) as issuer,
            httpx.Client(base_url=issuer.url, trust_env=False, timeout=30) as client,
        ):
            backend.append(client)
            yield proxy.origin, issuer.secret_file, proxy.asked


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_ten_thousand_calls_at_once_use_as_many_tokens_and_few_requests(
    tmp_path: Path,
) -> None:
    with counted_issuer(tmp_path) as (issuer, secret_file, asked):
        api = Api(issuer)
        statuses: list[int] = []
        credential = ClientSecret.from_file(secret_file)
        tokens = AsyncTokenClient(issuer, client_id="orders", credential=credential, timeout=120)
        targets = {audience: Target(audience) for audience in AUDIENCES}
        transport = tokens.transport(targets, inner=httpx.ASGITransport(api))
        async with tokens, httpx.AsyncClient(transport=transport, timeout=120) as client:

            async def call(audience: str) -> None:
                statuses.append((await client.get(audience)).status_code)

            async with anyio.create_task_group() as group:
                for number in range(CALLS):
                    group.start_soon(call, AUDIENCES[number % 3])
        requests = [each for each in asked if each.method == "POST"]
    assert statuses == [200] * CALLS
    assert len(set(api.accepted)) == len(api.accepted) == CALLS
    assert len(requests) <= 250


class Load:
    """Threads that call for tokens without a pause, until told to stop."""

    def __init__(self, tokens: TokenClient, *, threads: int) -> None:
        self.tokens = tokens
        self.got: list[str] = []
        self.failed: list[tuple[Exception, float]] = []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(threads)]
        for thread in self._threads:
            thread.start()

    def _run(self) -> None:
        while not self._stop.is_set():
            began = time.monotonic()
            try:
                self.got.append(str(self.tokens.get(AUDIENCES[0], timeout=2)))
            except Exception as error:  # noqa: BLE001 - looked at by the test
                self.failed.append((error, time.monotonic() - began))
            self._stop.wait(0.002)

    def await_more(self, number: int) -> None:
        """Wait until this many more tokens have come."""
        target = len(self.got) + number
        for _ in range(6000):
            if len(self.got) >= target:
                return
            self._stop.wait(0.01)
        raise AssertionError("no tokens come")

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


@contextlib.contextmanager
def restartable(folder: Path) -> Iterator[tuple[TokenClient, Service, dict[str, str]]]:
    """A client of an issuer at a fixed port; the issuer's process is the test's to end."""
    environment = {
        "EPHEMERA_LISTEN": f"127.0.0.1:{closed_port()}",
        "EPHEMERA_PRIVATE_LISTEN": "off",
    }
    with run_issuer(folder, registry=REGISTRY, settings=environment) as issuer:
        credential = ClientSecret.from_file(issuer.secret_file)
        with TokenClient(issuer.url, client_id="orders", credential=credential) as tokens:
            yield tokens, issuer.service, issuer.environment


def start_again(environment: dict[str, str]) -> Service:
    return Service("issuer", ["ephemera_issuer", "serve"], environment=environment)


def test_while_the_issuer_is_away_every_pooled_token_is_handed_out(tmp_path: Path) -> None:
    with restartable(tmp_path) as (tokens, service, _):
        got = [str(tokens.get(AUDIENCES[0])) for _ in range(200)]
        service.stop()
        (stock,) = tokens._pool._stocks.values()
        pooled = len(stock._held)
        got += [str(tokens.get(AUDIENCES[0], timeout=0)) for _ in range(pooled)]
        with pytest.raises(IssuerUnavailable) as refused:
            tokens.get(AUDIENCES[0], timeout=0.2)
    assert pooled >= 20
    assert len(set(got)) == 200 + pooled
    assert refused.value.cause_code in AWAY


def test_a_restart_of_the_issuer_under_load_costs_waits_and_clear_errors(tmp_path: Path) -> None:
    with restartable(tmp_path) as (tokens, service, environment):
        load = Load(tokens, threads=8)
        try:
            load.await_more(500)
            service.stop()
            with start_again(environment):
                load.await_more(500)
                load.stop()
        finally:
            load.stop()
    assert len(set(load.got)) == len(load.got)
    for error, seconds in load.failed:
        assert isinstance(error, IssuerUnavailable)
        assert error.cause_code in AWAY
        assert seconds < 2 + 5
