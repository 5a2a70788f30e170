import json
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest
from client.fixtures_requesting import Asked, Issuer, Reply, certificate, forked, issuing, serving

from ephemera_client.credential import ClientSecret
from ephemera_client.errors import (
    ClientRefused,
    ConfigurationError,
    EphemeraError,
    IssuerUnavailable,
    ResponseInvalid,
    TokenRequestRefused,
)
from ephemera_client.instant import Instant
from ephemera_client.token_request import IssuedToken
from ephemera_client.tokens import AsyncTokenClient, TokenClient

pytestmark = pytest.mark.anyio

AUDIENCE = "https://billing.internal"

Get = Callable[..., Awaitable[IssuedToken]]


def _settings(**changes: Any) -> dict[str, Any]:
    return {"client_id": "orders", "credential": ClientSecret("hunter2")} | changes


async def _get_in_a_thread(issuer: str, *, ask: Any = None, **settings: Any) -> IssuedToken:
    def get() -> IssuedToken:
        with TokenClient(issuer, **_settings(**settings)) as tokens:
            return tokens.get(AUDIENCE, **(ask or {}))

    return await anyio.to_thread.run_sync(get)


async def _get_in_a_task(issuer: str, *, ask: Any = None, **settings: Any) -> IssuedToken:
    async with AsyncTokenClient(issuer, **_settings(**settings)) as tokens:
        return await tokens.get(AUDIENCE, **(ask or {}))


@pytest.fixture(params=[_get_in_a_thread, _get_in_a_task], ids=["thread", "task"])
def get(request: pytest.FixtureRequest) -> Get:
    flavour: Get = request.param
    return flavour


async def _failure(get: Get, issuer: str, **settings: Any) -> EphemeraError:
    with pytest.raises(EphemeraError) as refused:
        await get(issuer, **settings)
    assert "hunter2" not in str(refused.value)
    assert "hunter2" not in repr(refused.value)
    return refused.value


async def test_a_token_is_got_through_discovery(get: Get) -> None:
    with issuing() as issuer:
        token = await get(
            issuer.origin,
            ask={"scopes": {"b", "a"}, "lifetime": 30},
            clock=lambda: Instant(1000.0, 1.0),
        )
    assert token.count(".") == 2
    assert token.scopes == {"a", "b"}
    assert (token.audience, token.expires_at) == (AUDIENCE, 1030.0)
    assert issuer.token_requests == [
        {
            "grant_type": "client_credentials",
            "resource": AUDIENCE,
            "scope": "a b",
            "lifetime": "30",
            "basic": "orders:hunter2",
        }
    ]


async def test_the_issuers_words_reach_the_caller(get: Get) -> None:
    words = json.dumps({"error": "invalid_scope", "error_description": "b is not granted"})
    with issuing() as issuer:
        issuer.planned.append(Reply(400, words.encode()))
        error = await _failure(get, issuer.origin)
    assert isinstance(error, TokenRequestRefused)
    assert (error.error, error.description) == ("invalid_scope", "b is not granted")


async def test_a_refused_credential_is_its_own_error(get: Get) -> None:
    with issuing() as issuer:
        issuer.planned.append(Reply(401, b'{"error": "invalid_client"}'))
        error = await _failure(get, issuer.origin)
    assert isinstance(error, ClientRefused)
    assert "tried client_secret_basic" in str(error)


@pytest.mark.parametrize("path", ["/oauth2/token", "/.well-known/oauth-authorization-server"])
async def test_an_issuer_that_is_overloaded_says_when_to_come_back(get: Get, path: str) -> None:
    issuer = Issuer()

    def answer(asked: Asked) -> Reply:
        if asked.path == path:
            return Reply(503, b"", (("Retry-After", "7"),))
        return issuer.answer(asked)

    with serving(answer) as server:
        issuer.origin = server.origin
        error = await _failure(get, server.origin)
    assert isinstance(error, IssuerUnavailable)
    assert (error.cause_code, error.retry_after) == ("issuer_failed", 7.0)


async def test_an_unknown_authority_is_named_and_ca_file_accepted(get: Get, tmp_path: Path) -> None:
    made = certificate(tmp_path)
    with issuing(tls=made.tls) as issuer:
        error = await _failure(get, issuer.origin)
        assert isinstance(error, IssuerUnavailable)
        assert error.cause_code == "tls_unknown_authority"
        assert "ca_file" in str(error)
        assert (await get(issuer.origin, ca_file=made.file)).audience == AUDIENCE


async def test_a_late_issuer_is_unavailable(get: Get) -> None:
    late = threading.Event()
    with serving(lambda _: Reply(200, b"%d" % late.wait(5))) as server:
        error = await _failure(get, server.origin, timeout=0.2)
        late.set()
    assert isinstance(error, IssuerUnavailable)
    assert error.cause_code == "timeout"


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (Reply(404, b"{}"), "status 404"),
        (Reply(200, b"<html>"), "not a JSON object"),
        (Reply(200, b'{"issuer": "https://evil.example"}'), "not that of the issuer"),
    ],
)
async def test_a_host_that_is_no_issuer_is_told(get: Get, reply: Reply, reason: str) -> None:
    with serving(lambda _: reply) as server:
        error = await _failure(get, server.origin)
    assert isinstance(error, ResponseInvalid)
    assert reason in str(error)
    assert "evil" not in str(error)


async def test_a_secret_follows_no_redirect(get: Get) -> None:
    with serving(lambda _: Reply(200)) as elsewhere, issuing() as issuer:
        issuer.planned.append(Reply(307, b"", (("Location", f"{elsewhere.origin}/oauth2/token"),)))
        error = await _failure(get, issuer.origin)
        assert isinstance(error, IssuerUnavailable)
        assert error.cause_code == "redirected"
        assert elsewhere.asked == []


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"issuer": "http://tokens.internal"}, "issuer must be https"),
        ({"issuer": "https://tokens.internal?x"}, "query"),
        ({"issuer": "tokens.internal"}, "issuer must be an absolute https URL"),
        ({"client_id": ""}, "client_id"),
        ({"client_id": "\ud800"}, "client_id"),
        ({"credential": "hunter2"}, "such as ClientSecret"),
        ({"timeout": 0}, "timeout"),
        ({"timeout": float("nan")}, "timeout"),
        ({"timeout": None}, "timeout"),
        ({"ca_file": "/nowhere.pem"}, "ca_file"),
        ({"ask": {"scopes": set()}}, "scopes must not be empty"),
        ({"ask": {"scopes": "a"}}, "not one string"),
    ],
)
async def test_a_mistake_is_told_before_anything_is_sent(
    get: Get, changes: dict[str, Any], reason: str
) -> None:
    error = await _failure(get, **({"issuer": "https://tokens.internal"} | changes))
    assert isinstance(error, ConfigurationError)
    assert reason in str(error)


def test_the_issuer_is_discovered_once_an_hour_by_whichever_clock_is_ahead() -> None:
    moments = [Instant(0.0, 0.0)]
    issuer = Issuer()
    with serving(issuer.answer) as server:
        issuer.origin = server.origin

        def discovered() -> int:
            tokens.get(AUDIENCE)
            return sum(asked.method == "GET" for asked in server.asked)

        with TokenClient(server.origin, **_settings(clock=lambda: moments[-1])) as tokens:
            assert discovered() == 1
            moments.append(Instant(3599.0, -5000.0))
            assert discovered() == 1
            moments.append(Instant(-5000.0, 3600.0))
            assert discovered() == 2


def test_an_endpoint_that_answers_nonsense_is_discovered_anew() -> None:
    with issuing() as issuer:
        issuer.planned = [None, Reply(404, b""), None]
        with TokenClient(issuer.origin, **_settings()) as tokens:
            tokens.get(AUDIENCE)
            with pytest.raises(ResponseInvalid):
                tokens.get(AUDIENCE)
            tokens.get(AUDIENCE)
    assert issuer.discoveries == 2


def test_threads_at_once_each_get_a_token_of_their_own() -> None:
    with issuing() as issuer, TokenClient(issuer.origin, **_settings()) as tokens:
        start = threading.Barrier(20)
        got: list[str] = []

        def get() -> None:
            start.wait()
            got.append(str(tokens.get(AUDIENCE)))

        threads = [threading.Thread(target=get) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(set(got)) == 20


async def test_tasks_at_once_each_get_a_token_of_their_own() -> None:
    got: list[str] = []
    with issuing() as issuer:
        async with AsyncTokenClient(issuer.origin, **_settings()) as tokens:

            async def get() -> None:
                got.append(str(await tokens.get(AUDIENCE)))

            async with anyio.create_task_group() as group:
                for _ in range(20):
                    group.start_soon(get)
    assert len(set(got)) == 20


async def test_a_cancelled_request_leaves_the_client_usable() -> None:
    asked, answer = threading.Event(), threading.Event()
    issuer = Issuer()

    def slow(request: Asked) -> Reply:
        if request.method == "POST" and not asked.is_set():
            asked.set()
            answer.wait(5)
        return issuer.answer(request)

    with serving(slow) as server:
        issuer.origin = server.origin
        async with AsyncTokenClient(server.origin, **_settings()) as tokens:
            async with anyio.create_task_group() as group:
                group.start_soon(tokens.get, AUDIENCE)
                await anyio.to_thread.run_sync(asked.wait, 5)
                group.cancel_scope.cancel()
            answer.set()
            assert (await tokens.get(AUDIENCE)).audience == AUDIENCE


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_gets_tokens_of_its_own() -> None:
    with issuing() as issuer, TokenClient(issuer.origin, **_settings()) as tokens:
        ours = {str(tokens.get(AUDIENCE))}
        theirs = forked(lambda: tokens.get(AUDIENCE).encode()).decode()
        ours.add(str(tokens.get(AUDIENCE)))
    assert theirs.count(".") == 2
    assert len(ours | {theirs}) == 3
