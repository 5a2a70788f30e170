import itertools
import threading
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping
from typing import Any, Self

import anyio
import anyio.to_thread
import httpx
import pytest
from client.fixtures_requesting import Asked, Reply, Server, issuing, serving
from starlette.responses import JSONResponse

from ephemera_client.asgi import Receive, RequireToken, Scope, Send, access_token
from ephemera_client.credential import ClientSecret
from ephemera_client.errors import (
    ConfigurationError,
    IssuerUnavailable,
    OriginNotListed,
    TokenRequestFailed,
)
from ephemera_client.instant import Instant
from ephemera_client.jwks import StaticKeys
from ephemera_client.replay import SingleProcessReplayCache
from ephemera_client.token_request import IssuedToken
from ephemera_client.tokens import AsyncTokenClient, TokenClient
from ephemera_client.transport import AsyncTokenTransport, Routes, Target, TokenTransport
from ephemera_client.verifier import AsyncVerifier

pytestmark = pytest.mark.anyio

AUDIENCE = "https://billing.internal"
TARGET = Target(AUDIENCE, {"invoices:read"})


class Numbered:
    """Gives out t1, t2, ... and remembers for what."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self.given: list[tuple[str, Collection[str] | None]] = []
        self.told: list[tuple[float | None, str | None]] = []

    def get(
        self,
        audience: str,
        *,
        scopes: Collection[str] | None,
        timeout: float | None = None,
        instead_of: IssuedToken | None = None,
    ) -> IssuedToken:
        self.told.append((timeout, instead_of))
        self.given.append((audience, scopes))
        return IssuedToken(
            f"t{next(self._numbers)}",
            audience=audience,
            scopes=frozenset(scopes or ()),
            expires_at=0.0,
            single_use=True,
        )


class AsyncNumbered:
    def __init__(self, numbered: Numbered) -> None:
        self._numbered = numbered

    async def get(self, audience: str, **told: Any) -> IssuedToken:
        await anyio.lowlevel.checkpoint()
        return self._numbered.get(audience, **told)


class Caller:
    """The same calls through either transport."""

    def __init__(self, kind: str) -> None:
        self.threads = kind == "threads"
        self.numbered = Numbered()

    async def __call__(
        self,
        targets: Mapping[str, Target],
        url: str,
        *more: str,
        method: str = "GET",
        streamed: bytes | None = None,
        **request: Any,
    ) -> httpx.Response:
        """Request each URL in turn with one client, and return the last response."""
        if self.threads:
            return await anyio.to_thread.run_sync(
                lambda: self._call(targets, (url, *more), method, streamed, request)
            )
        transport = AsyncTokenTransport(AsyncNumbered(self.numbered), targets)
        async with httpx.AsyncClient(transport=transport, follow_redirects=True) as client:
            for each in (url, *more):
                if streamed is not None:
                    request["content"] = _async_pieces(streamed)
                response = await client.request(method, each, **request)
        return response

    def _call(
        self,
        targets: Mapping[str, Target],
        urls: tuple[str, ...],
        method: str,
        streamed: bytes | None,
        request: dict[str, Any],
    ) -> httpx.Response:
        transport = TokenTransport(self.numbered, targets)
        with httpx.Client(transport=transport, follow_redirects=True) as client:
            for each in urls:
                if streamed is not None:
                    request["content"] = _pieces(streamed)
                response = client.request(method, each, **request)
        return response


def _pieces(body: bytes) -> Iterator[bytes]:
    for number in range(len(body)):
        yield body[number : number + 1]


async def _async_pieces(body: bytes) -> AsyncIterator[bytes]:
    for piece in _pieces(body):
        yield piece


@pytest.fixture(params=["threads", "tasks"])
def call(request: pytest.FixtureRequest) -> Caller:
    return Caller(request.param)


def _shown(server: Server) -> list[str | None]:
    return [asked.headers.get("authorization") for asked in server.asked]


def _refusing(*challenges: str) -> Callable[[Asked], Reply]:
    """Refuse with these challenges in turn, then accept and echo the body."""
    left = list(challenges)

    def answer(asked: Asked) -> Reply:
        if left:
            return Reply(401, b"no", (("WWW-Authenticate", left.pop(0)),))
        return Reply(200, asked.body)

    return answer


async def test_each_request_carries_a_token_of_its_own(call: Caller) -> None:
    with serving(lambda _: Reply(200, b"yes")) as api:
        response = await call({api.origin: TARGET}, f"{api.origin}/1", f"{api.origin}/2?x")
    assert response.content == b"yes"
    assert _shown(api) == ["Bearer t1", "Bearer t2"]
    assert call.numbered.given == [(AUDIENCE, {"invoices:read"})] * 2


async def test_the_token_stays_off_the_callers_own_request(call: Caller) -> None:
    with serving(lambda _: Reply(200)) as api:
        response = await call({api.origin: TARGET}, api.origin)
    assert "authorization" not in response.request.headers


async def test_each_hop_carries_a_token_of_its_own(call: Caller) -> None:
    def hop(asked: Asked) -> Reply:
        ends = asked.path == "/3"
        return (
            Reply(200) if ends else Reply(307, b"", (("Location", f"/{int(asked.path[1:]) + 1}"),))
        )

    with serving(hop) as api:
        response = await call({api.origin: TARGET}, f"{api.origin}/1", method="POST", content=b"x")
    assert response.status_code == 200
    assert _shown(api) == ["Bearer t1", "Bearer t2", "Bearer t3"]
    assert [asked.body for asked in api.asked] == [b"x"] * 3


async def test_a_hop_to_another_listed_origin_gets_that_ones_audience(call: Caller) -> None:
    with serving(lambda _: Reply(200)) as second:
        onward = Reply(302, b"", (("Location", f"{second.origin}/x"),))
        with serving(lambda _: onward) as first:
            other = Target("https://other.internal")
            await call({first.origin: TARGET, second.origin: other}, first.origin)
    assert call.numbered.given == [
        (AUDIENCE, {"invoices:read"}),
        ("https://other.internal", None),
    ]
    assert _shown(second) == ["Bearer t2"]


async def test_a_hop_to_a_stranger_goes_bare_and_so_does_the_hop_after_it(call: Caller) -> None:
    with serving(lambda _: stranger_reply) as stranger:

        def home_reply(asked: Asked) -> Reply:
            if asked.path == "/back":
                return Reply(200, b"home")
            return Reply(302, b"", (("Location", f"{stranger.origin}/x"),))

        with serving(home_reply) as home:
            stranger_reply = Reply(302, b"", (("Location", f"{home.origin}/back"),))
            response = await call({home.origin: TARGET}, home.origin)
    assert response.content == b"home"
    assert _shown(stranger) == [None]
    assert _shown(home) == ["Bearer t1", None]


async def test_a_stranger_addressed_directly_is_an_error_and_not_asked(call: Caller) -> None:
    with serving(lambda _: Reply(200)) as api, serving(lambda _: Reply(200)) as stranger:
        with pytest.raises(OriginNotListed, match=api.origin) as refused:
            await call({api.origin: TARGET}, api.origin, f"{stranger.origin}/secret-path")
        assert "secret-path" not in str(refused.value)
        assert stranger.asked == []


async def test_what_a_request_leaves_behind_opens_no_way_to_a_stranger(call: Caller) -> None:
    shared: dict[str, Any] = {"timeout": {"read": 5.0}}
    with serving(lambda _: Reply(200)) as api, serving(lambda _: Reply(200)) as stranger:
        with pytest.raises(OriginNotListed):
            await call({api.origin: TARGET}, api.origin, stranger.origin, extensions=shared)
        assert stranger.asked == []


async def test_an_authorization_of_the_callers_own_is_refused(call: Caller) -> None:
    with serving(lambda _: Reply(200)) as api:
        with pytest.raises(ConfigurationError, match="Authorization header already") as refused:
            await call({api.origin: TARGET}, api.origin, auth=("orders", "hunter2"))
        assert "hunter2" not in str(refused.value)
        assert api.asked == []


@pytest.mark.parametrize("reason", ["issued_before_ledger", "token_expired", None])
async def test_a_refused_token_gets_one_fresh_attempt_with_the_same_body(
    call: Caller, reason: str | None
) -> None:
    told = 'Bearer error="invalid_token"' + (f', reason="{reason}"' if reason else "")
    with serving(_refusing(told)) as api:
        response = await call({api.origin: TARGET}, api.origin, method="POST", content=b"body")
    assert (response.status_code, response.content) == (200, b"body")
    assert _shown(api) == ["Bearer t1", "Bearer t2"]


@pytest.mark.parametrize(
    ("reason", "instead_of"), [("issued_before_ledger", "t1"), ("token_replayed", None)]
)
async def test_a_token_refused_for_its_age_is_told_to_be_so(
    call: Caller, reason: str, instead_of: str | None
) -> None:
    told = f'Bearer error="invalid_token", reason="{reason}"'
    with serving(_refusing(told)) as api:
        await call({api.origin: TARGET}, api.origin)
    assert [each for _, each in call.numbered.told] == [None, instead_of]


async def test_the_wait_for_a_token_is_bounded_like_that_for_a_connection(call: Caller) -> None:
    with serving(_refusing('Bearer error="invalid_token"')) as api:
        await call({api.origin: TARGET}, api.origin, timeout=httpx.Timeout(9, pool=3))
        await call({api.origin: TARGET}, api.origin, timeout=None)
    assert [each for each, _ in call.numbered.told] == [3, 3, None]


async def test_a_second_refusal_is_the_answer(call: Caller) -> None:
    told = 'Bearer error="invalid_token"'
    with serving(_refusing(told, told, told)) as api:
        response = await call({api.origin: TARGET}, api.origin)
    assert (response.status_code, response.content) == (401, b"no")
    assert len(api.asked) == 2


@pytest.mark.parametrize(
    ("method", "attempts"), [("GET", 2), ("PUT", 2), ("DELETE", 2), ("POST", 1), ("PATCH", 1)]
)
async def test_a_replayed_token_is_replaced_only_where_repeating_is_harmless(
    call: Caller, method: str, attempts: int
) -> None:
    told = 'Bearer error="invalid_token", reason="token_replayed"'
    with serving(_refusing(told, told)) as api:
        await call({api.origin: TARGET}, api.origin, method=method)
    assert len(api.asked) == attempts


@pytest.mark.parametrize(
    "told", ["Bearer", 'Basic error="invalid_token"', 'Bearer error="insufficient_scope"']
)
async def test_another_refusal_is_the_answer_at_once(call: Caller, told: str) -> None:
    with serving(_refusing(told, told)) as api:
        response = await call({api.origin: TARGET}, api.origin)
    assert response.status_code == 401
    assert len(api.asked) == 1


async def test_a_403_is_the_answer_at_once(call: Caller) -> None:
    told = (("WWW-Authenticate", 'Bearer error="invalid_token"'),)
    with serving(lambda _: Reply(403, b"", told)) as api:
        await call({api.origin: TARGET}, api.origin)
    assert len(api.asked) == 1


async def test_a_streamed_body_is_sent_and_never_sent_twice(call: Caller) -> None:
    told = 'Bearer error="invalid_token"'
    with serving(_refusing(told)) as api:
        length = {"content-length": "3"}
        listed = {api.origin: TARGET}
        asking: dict[str, Any] = {"method": "POST", "streamed": b"abc", "headers": length}
        response = await call(listed, api.origin, **asking)
        assert (response.status_code, len(api.asked)) == (401, 1)
        response = await call(listed, api.origin, **asking)
    assert response.content == b"abc"
    assert [asked.body for asked in api.asked] == [b"abc", b"abc"]


async def test_a_retry_around_the_transport_uses_a_fresh_token() -> None:
    class Twice(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            response = await transport.handle_async_request(request)
            await response.aclose()
            return await transport.handle_async_request(request)

    with serving(lambda _: Reply(200)) as api:
        transport = AsyncTokenTransport(AsyncNumbered(Numbered()), {api.origin: TARGET})
        async with transport, httpx.AsyncClient(transport=Twice()) as client:
            await client.get(api.origin)
    assert _shown(api) == ["Bearer t1", "Bearer t2"]


def test_a_retry_within_the_transport_that_was_replayed_gets_a_fresh_token() -> None:
    spent: set[str] = set()

    def api(request: httpx.Request) -> httpx.Response:
        token = request.headers["authorization"]
        if token in spent:
            told = 'Bearer error="invalid_token", reason="token_replayed"'
            return httpx.Response(401, headers={"www-authenticate": told})
        spent.add(token)
        return httpx.Response(200)

    class LosesTheFirstAnswer(httpx.BaseTransport):
        lost = False

        def handle_request(self, request: httpx.Request) -> httpx.Response:
            response = api(request)
            if not self.lost:
                self.lost = True
                response = api(request)
            return response

    listed = {AUDIENCE: TARGET}
    transport = TokenTransport(Numbered(), listed, inner=LosesTheFirstAnswer())
    with httpx.Client(transport=transport) as client:
        assert client.get(AUDIENCE).status_code == 200
    assert spent == {"Bearer t1", "Bearer t2"}


async def test_no_token_means_no_request(call: Caller) -> None:
    def nothing(*_: object, **__: object) -> None:
        raise IssuerUnavailable("down", cause_code="timeout")

    call.numbered.get = nothing  # type: ignore[method-assign, assignment]
    with serving(lambda _: Reply(200)) as api:
        with pytest.raises(TokenRequestFailed):
            await call({api.origin: TARGET}, api.origin)
        assert api.asked == []


async def test_a_cancelled_call_leaves_the_transport_usable() -> None:
    asked, answer = threading.Event(), threading.Event()

    def slow(request: Asked) -> Reply:
        if request.path == "/slow":
            asked.set()
            answer.wait(5)
        return Reply(200)

    with serving(slow) as api:
        transport = AsyncTokenTransport(AsyncNumbered(Numbered()), {api.origin: TARGET})
        async with httpx.AsyncClient(transport=transport) as client:
            async with anyio.create_task_group() as group:
                group.start_soon(client.get, f"{api.origin}/slow")
                await anyio.to_thread.run_sync(asked.wait, 5)
                group.cancel_scope.cancel()
            assert (await client.get(f"{api.origin}/next")).status_code == 200
            answer.set()
    assert _shown(api) == ["Bearer t1", "Bearer t2"]


async def test_calls_at_once_carry_different_tokens(call: Caller) -> None:
    with serving(lambda _: Reply(200)) as api:
        async with anyio.create_task_group() as group:
            for _ in range(15):
                group.start_soon(call, {api.origin: TARGET}, api.origin)
    assert len(set(_shown(api))) == 15


class _Watched(httpx.MockTransport):
    def __init__(self) -> None:
        super().__init__(lambda _: httpx.Response(200))
        self.seen: list[str] = []

    def __enter__(self) -> Self:
        self.seen.append("enter")
        return self

    def __exit__(self, *_: object) -> None:
        self.seen.append("exit")

    def close(self) -> None:
        self.seen.append("close")

    async def __aenter__(self) -> Self:
        self.seen.append("enter")
        return self

    async def __aexit__(self, *_: object) -> None:
        self.seen.append("exit")

    async def aclose(self) -> None:
        self.seen.append("close")


async def test_the_inner_transport_is_opened_and_closed_along() -> None:
    inner, async_inner = _Watched(), _Watched()
    with TokenTransport(Numbered(), {}, inner=inner) as transport:
        transport.close()
    async with AsyncTokenTransport(AsyncNumbered(Numbered()), {}, inner=async_inner) as other:
        await other.aclose()
    assert inner.seen == async_inner.seen == ["enter", "close", "exit"]


@pytest.mark.parametrize(
    ("url", "target", "reason"),
    [
        ("http://billing.internal", TARGET, "must be https"),
        ("http://localhost:8000", TARGET, "must be https"),
        ("billing.internal", TARGET, "absolute https URL"),
        ("https://billing.internal/v1", TARGET, "without path"),
        ("https://billing.internal?x", TARGET, "without path"),
        ("https://billing.internal/?", TARGET, "without path"),
        ("https://billing.internal[::1]", TARGET, "absolute https URL"),
        ("https://orders:hunter2@billing.internal", TARGET, "user name"),
        (AUDIENCE, Target(""), "audience"),
        (AUDIENCE, Target(AUDIENCE, set()), "scopes must not be empty"),
        (AUDIENCE, Target(AUDIENCE, "invoices:read"), "not one string"),
    ],
)
def test_a_target_that_makes_no_sense_is_told_at_once(
    url: str, target: Target, reason: str
) -> None:
    with pytest.raises(ConfigurationError, match=reason) as refused:
        TokenTransport(Numbered(), {url: target})
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    ("listed", "asked"),
    [
        ("https://Billing.Internal:443/", "https://billing.internal/x"),
        ("https://billing.internal", "https://BILLING.internal:443/x"),
        ("http://[::1]:8000", "http://[::1]:8000/x"),
        ("http://billing:80", "http://billing/x"),
    ],
)
def test_an_origin_is_recognised_however_it_is_spelled(listed: str, asked: str) -> None:
    routes = Routes({listed: TARGET}, unencrypted_hosts=("billing",))
    assert routes.target(httpx.Request("GET", asked)) == TARGET


async def _who(scope: Scope, receive: Receive, send: Send) -> None:
    response = JSONResponse({"client": access_token(scope).client_id})
    await response(scope, receive, send)


async def test_both_halves_fit_each_call_has_its_token_and_each_is_accepted_once() -> None:
    with issuing() as issuer:
        verifier = AsyncVerifier(
            issuer=issuer.origin,
            audience=AUDIENCE,
            algorithm="ES256",
            replay_cache=SingleProcessReplayCache(),
            keys=StaticKeys(issuer.jwks),
        )
        api = httpx.ASGITransport(RequireToken(_who, verifier, scopes=["invoices:read"]))
        statuses: list[int] = []
        credential = ClientSecret("hunter2")
        async with (
            AsyncTokenClient(issuer.origin, client_id="orders", credential=credential) as tokens,
            httpx.AsyncClient(transport=tokens.transport({AUDIENCE: TARGET}, inner=api)) as client,
        ):

            async def one() -> None:
                statuses.append((await client.get(f"{AUDIENCE}/invoices/7")).status_code)

            async with anyio.create_task_group() as group:
                for _ in range(10):
                    group.start_soon(one)
    assert statuses == [200] * 10


async def test_after_a_restart_of_the_api_each_call_is_accepted_though_the_pool_is_older() -> None:
    clock = [time.time()]

    def moved() -> Instant:
        return Instant(clock[0], clock[0])

    def start() -> RequireToken:
        cache = SingleProcessReplayCache(clock=moved)
        verifier = AsyncVerifier(
            issuer=issuer.origin,
            audience=AUDIENCE,
            algorithm="ES256",
            replay_cache=cache,
            keys=StaticKeys(issuer.jwks),
            clock=moved,
        )
        return RequireToken(_who, verifier, scopes=["invoices:read"])

    async def api(scope: Scope, receive: Receive, send: Send) -> None:
        await running[0](scope, receive, send)

    with issuing(ephemera_max_count=100) as issuer:
        issuer.clock = lambda: int(clock[0])
        running = [start()]
        tokens = AsyncTokenClient(
            issuer.origin, client_id="orders", credential=ClientSecret("hunter2")
        )
        transport = tokens.transport({AUDIENCE: TARGET}, inner=httpx.ASGITransport(api))
        async with tokens, httpx.AsyncClient(transport=transport) as client:
            for _ in range(3):
                statuses = [(await client.get(AUDIENCE)).status_code for _ in range(50)]
                assert statuses == [200] * 50
                clock[0] += 5
                running = [start()]
        assert len(issuer.token_requests) < 75


def test_a_clients_transport_trusts_and_allows_what_the_client_does() -> None:
    with (
        issuing() as issuer,
        serving(lambda _: Reply(200)) as api,
        TokenClient(
            issuer.origin,
            client_id="orders",
            credential=ClientSecret("hunter2"),
            unencrypted_hosts=["billing"],
        ) as tokens,
    ):
        tokens.transport({"http://billing": TARGET}).close()
        with httpx.Client(transport=tokens.transport({api.origin: TARGET})) as client:
            assert client.get(api.origin).status_code == 200
    assert issuer.token_requests[0]["scope"] == "invoices:read"
