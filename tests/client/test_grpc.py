"""The interceptors and the call credentials of gRPC, over real TLS connections."""

import asyncio
import contextlib
import json
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from client.fixtures_grpc import (
    KINDS,
    READ,
    WRITE,
    Tls,
    call,
    call_async,
    method,
    serving,
    serving_async,
)
from client.fixtures_requesting import Issuer, closed_port, issuing
from grpc import aio

from ephemera_client import (
    AnyIssuer,
    AsyncTokenClient,
    AsyncVerifier,
    ClientSecret,
    ConfigurationError,
    RemoteKeys,
    SingleProcessReplayCache,
    StaticKeys,
    Target,
    TokenClient,
    Verifier,
)
from ephemera_client.bearer import challenge
from ephemera_client.grpc import (
    AsyncRequireToken,
    RequireToken,
    access_token,
    async_token_credentials,
    token_credentials,
)

pytestmark = pytest.mark.anyio

AUDIENCE = "https://billing.internal"
BY_METHOD = {
    **{method(kind): [READ] for kind in KINDS},
    method("write"): [],
    method("write_later"): [],
}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Tls:
    return Tls(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def issuer() -> Issuer:
    return Issuer()


def verifier_of(kind: Any, issuer: Issuer, **changes: Any) -> Any:
    parts = {
        "issuer": issuer.origin,
        "audience": AUDIENCE,
        "algorithm": "ES256",
        "replay_cache": SingleProcessReplayCache(),
        "keys": StaticKeys(issuer.jwks),
    }
    return kind(**(parts | changes))


Call = Callable[..., Awaitable[Any]]
Serve = Callable[..., contextlib.AbstractAsyncContextManager[tuple[Call, Any]]]


@pytest.fixture(params=["sync", "aio"])
def flavour(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def kind(flavour: str) -> Any:
    return Verifier if flavour == "sync" else AsyncVerifier


@pytest.fixture
def serve(flavour: str, tls: Tls) -> Serve:
    """Serve behind a guard of these arguments; what comes of it calls one RPC."""

    @contextlib.asynccontextmanager
    async def serve_sync(*args: Any, **kwargs: Any) -> AsyncIterator[tuple[Call, Any]]:
        with (
            serving(tls, RequireToken(*args, **kwargs)) as (address, billing),
            grpc.secure_channel(address, tls.channel) as channel,
        ):

            async def in_thread(*args: Any, **kwargs: Any) -> Any:
                return await asyncio.to_thread(call, channel, *args, **kwargs)

            yield in_thread, billing

    @contextlib.asynccontextmanager
    async def serve_async(*args: Any, **kwargs: Any) -> AsyncIterator[tuple[Call, Any]]:
        async with (
            serving_async(tls, AsyncRequireToken(*args, **kwargs)) as (address, billing),
            aio.secure_channel(address, tls.channel) as channel,
        ):

            async def here(*args: Any, **kwargs: Any) -> Any:
                return await call_async(channel, *args, **kwargs)

            yield here, billing

    return serve_sync if flavour == "sync" else serve_async


async def refused(answer: Awaitable[Any]) -> tuple[grpc.StatusCode, str | None, dict[str, str]]:
    with pytest.raises(grpc.RpcError) as caught:
        await answer
    error = caught.value
    metadata: Any = error.trailing_metadata()
    return error.code(), error.details(), dict(tuple(metadata))


@pytest.mark.parametrize("name", KINDS)
async def test_an_rpc_of_any_kind_is_claimed_once(
    name: str, serve: Serve, kind: Any, issuer: Issuer
) -> None:
    token = issuer.mint(AUDIENCE, READ)
    async with serve(verifier_of(kind, issuer), scopes=BY_METHOD) as (rpc, billing):
        answer = await rpc(name, token)
        assert answer in (b"orders", [b"orders", b"orders"])
        handled = list(billing.seen)
        code, details, metadata = await refused(rpc(name, token))
        assert billing.seen == handled
    assert (code, details) == (grpc.StatusCode.UNAUTHENTICATED, "token_replayed")
    assert challenge([metadata["www-authenticate"]]) == {
        "realm": AUDIENCE,
        "error": "invalid_token",
        "reason": "token_replayed",
    }
    # It may have been carried out before, so a caller's retryPolicy must not try it again.
    assert metadata["grpc-retry-pushback-ms"] == "-1"


@pytest.mark.parametrize("name", KINDS)
async def test_a_method_has_its_scopes_and_a_token_without_them_is_not_used_up(
    name: str, serve: Serve, kind: Any, issuer: Issuer
) -> None:
    token = issuer.mint(AUDIENCE, "entries:read")
    async with serve(verifier_of(kind, issuer), scopes=BY_METHOD) as (rpc, billing):
        for _ in range(2):
            code, details, metadata = await refused(rpc(name, token))
            assert (code, details) == (grpc.StatusCode.PERMISSION_DENIED, "insufficient_scope")
            assert challenge([metadata["www-authenticate"]])["scope"] == READ
        assert billing.seen == []


async def test_scopes_may_be_the_same_for_all_methods_or_told_by_a_function(
    serve: Serve, kind: Any, issuer: Issuer
) -> None:
    for scopes in ({WRITE}, lambda name: {WRITE} if name == method("unary_unary") else None):
        async with serve(verifier_of(kind, issuer), scopes=scopes) as (rpc, _):
            code, _, _ = await refused(rpc("unary_unary", issuer.mint(AUDIENCE, READ)))
            assert code is grpc.StatusCode.PERMISSION_DENIED
            assert await rpc("unary_unary", issuer.mint(AUDIENCE, WRITE)) == b"orders"


async def test_a_method_without_scopes_of_its_own_is_not_served(
    serve: Serve, kind: Any, issuer: Issuer
) -> None:
    scopes = {method("unary_unary"): [READ]}
    async with serve(verifier_of(kind, issuer), scopes=scopes) as (rpc, billing):
        for name in ("unary_stream", "stream_stream", "write", "no_such_method"):
            code, details, _ = await refused(rpc(name, issuer.mint(AUDIENCE, READ)))
            assert (code, details) == (grpc.StatusCode.UNIMPLEMENTED, "method not served")
        assert billing.seen == []


async def test_without_a_token_nobody_learns_which_methods_there_are(
    serve: Serve, kind: Any, issuer: Issuer
) -> None:
    async with serve(verifier_of(kind, issuer), scopes=BY_METHOD) as (rpc, _):
        answers = [await refused(rpc(name)) for name in ("unary_unary", "no_such_method", "open")]
    for code, details, metadata in answers:
        assert (code, details) == (grpc.StatusCode.UNAUTHENTICATED, "token_missing")
        assert metadata["www-authenticate"] == f'Bearer realm="{AUDIENCE}"'


async def test_a_method_that_needs_no_token_is_named(
    serve: Serve, kind: Any, issuer: Issuer
) -> None:
    async with serve(verifier_of(kind, issuer), unguarded={method("open")}) as (rpc, _):
        assert await rpc("open") == b"open"
        assert (await refused(rpc("write")))[0] is grpc.StatusCode.UNAUTHENTICATED


@pytest.mark.parametrize(
    ("name", "of"), [("write", "unary_unary"), ("write_later", "unary_stream")]
)
async def test_a_scope_demanded_in_a_handler_is_permission_denied(
    name: str, of: str, serve: Serve, kind: Any, issuer: Issuer
) -> None:
    async with serve(verifier_of(kind, issuer)) as (rpc, _):
        code, details, metadata = await refused(rpc(name, issuer.mint(AUDIENCE, READ), kind=of))
        assert (code, details) == (grpc.StatusCode.PERMISSION_DENIED, "insufficient_scope")
        assert challenge([metadata["www-authenticate"]])["scope"] == WRITE
        answer = await rpc(name, issuer.mint(AUDIENCE, WRITE), kind=of)
        assert answer in (b"written", [b"one"])


async def test_two_authorizations_are_an_invalid_argument(
    serve: Serve, kind: Any, issuer: Issuer
) -> None:
    one, two = (issuer.mint(AUDIENCE, READ) for _ in range(2))
    async with serve(verifier_of(kind, issuer)) as (rpc, _):
        code, details, _ = await refused(rpc("unary_unary", one, two))
        assert (code, details) == (grpc.StatusCode.INVALID_ARGUMENT, "request_malformed")
        assert await rpc("unary_unary", one) == b"orders"


async def test_keys_that_cannot_be_had_are_unavailable(
    serve: Serve, kind: Any, issuer: Issuer
) -> None:
    keys = RemoteKeys(f"http://127.0.0.1:{closed_port()}/jwks", timeout=1)
    async with serve(verifier_of(kind, issuer, keys=keys)) as (rpc, _):
        code, details, metadata = await refused(rpc("unary_unary", issuer.mint(AUDIENCE)))
    assert (code, details) == (grpc.StatusCode.UNAVAILABLE, "keys_unavailable")
    assert metadata["retry-after"] == "2"
    assert "grpc-retry-pushback-ms" not in metadata


async def test_of_many_rpcs_with_one_token_at_once_one_is_answered(
    serve: Serve, kind: Any, issuer: Issuer
) -> None:
    token = issuer.mint(AUDIENCE, READ)
    async with serve(verifier_of(kind, issuer)) as (rpc, billing):
        answers = await asyncio.gather(
            *(rpc("unary_unary", token) for _ in range(30)), return_exceptions=True
        )
        assert billing.seen == [b"1"]
    assert answers.count(b"orders") == 1
    codes = [answer.code() for answer in answers if isinstance(answer, grpc.RpcError)]
    assert codes == [grpc.StatusCode.UNAUTHENTICATED] * 29


async def test_the_tokens_of_any_issuer_are_accepted(serve: Serve, kind: Any) -> None:
    old, new = Issuer(), Issuer()
    new.origin = "https://new.internal"
    verifiers = AnyIssuer([verifier_of(kind, issuer) for issuer in (old, new)])
    async with serve(verifiers) as (rpc, _):
        for issuer in (old, new):
            assert await rpc("unary_unary", issuer.mint(AUDIENCE)) == b"orders"


async def test_rpcs_one_after_the_other_have_each_their_own_token(
    serve: Serve, kind: Any, issuer: Issuer
) -> None:
    async with serve(verifier_of(kind, issuer)) as (rpc, _):
        for client in ("orders", "shipping"):
            token = issuer.mint(AUDIENCE, sub=client, client_id=client)
            assert await rpc("unary_unary", token) == client.encode()
        assert (await refused(rpc("unary_unary")))[1] == "token_missing"


def test_two_guards_of_one_verifier_claim_once(tls: Tls, issuer: Issuer) -> None:
    verifier = verifier_of(Verifier, issuer)
    guards = RequireToken(verifier), RequireToken(verifier, scopes={READ})
    with (
        serving(tls, *guards) as (address, _),
        grpc.secure_channel(address, tls.channel) as channel,
    ):
        assert call(channel, "unary_unary", issuer.mint(AUDIENCE, READ)) == b"orders"
        with pytest.raises(grpc.RpcError, match="insufficient_scope"):
            call(channel, "unary_unary", issuer.mint(AUDIENCE))


async def test_two_guards_of_one_verifier_claim_once_in_an_aio_server(
    tls: Tls, issuer: Issuer
) -> None:
    verifier = verifier_of(AsyncVerifier, issuer)
    guards = AsyncRequireToken(verifier), AsyncRequireToken(verifier, scopes={READ})
    async with (
        serving_async(tls, *guards) as (address, _),
        aio.secure_channel(address, tls.channel) as channel,
    ):
        assert await call_async(channel, "unary_unary", issuer.mint(AUDIENCE, READ)) == b"orders"
        with pytest.raises(grpc.RpcError, match="insufficient_scope"):
            await call_async(channel, "unary_unary", issuer.mint(AUDIENCE))


async def test_a_server_started_while_an_rpc_is_handled_demands_a_token_of_its_own(
    tls: Tls, issuer: Issuer
) -> None:
    guard = AsyncRequireToken(verifier_of(AsyncVerifier, issuer))
    answers: list[Any] = []

    class Starting(aio.ServerInterceptor):
        async def intercept_service(self, continuation: Any, details: Any) -> Any:
            async with (
                serving_async(tls, guard) as (inner, _),
                aio.secure_channel(inner, tls.channel) as channel,
            ):
                answers.append(await refused(call_async(channel, "unary_unary")))
            return await continuation(details)

    async with (
        serving_async(tls, guard, Starting()) as (address, _),
        aio.secure_channel(address, tls.channel) as channel,
    ):
        assert await call_async(channel, "unary_unary", issuer.mint(AUDIENCE)) == b"orders"
    ((code, details, _),) = answers
    assert (code, details) == (grpc.StatusCode.UNAUTHENTICATED, "token_missing")


def test_a_slow_load_of_keys_holds_up_no_other_rpc(tls: Tls, issuer: Issuer) -> None:
    entered, leave = threading.Event(), threading.Event()

    class Slow(SingleProcessReplayCache):
        def claim(self, *args: Any) -> None:
            entered.set()
            leave.wait(20)
            super().claim(*args)

    guard = RequireToken(
        verifier_of(Verifier, issuer, replay_cache=Slow()), unguarded={method("open")}
    )
    with (
        serving(tls, guard) as (address, _),
        grpc.secure_channel(address, tls.channel) as channel,
        ThreadPoolExecutor(1) as caller,
    ):
        waiting = caller.submit(call, channel, "unary_unary", issuer.mint(AUDIENCE))
        assert entered.wait(20)
        assert call(channel, "open") == b"open"
        leave.set()
        assert waiting.result() == b"orders"


async def test_a_sync_handler_in_an_aio_server_is_refused(tls: Tls, issuer: Issuer) -> None:
    guard = AsyncRequireToken(verifier_of(AsyncVerifier, issuer))

    class Mixed(aio.ServerInterceptor):
        async def intercept_service(self, _continuation: Any, _details: Any) -> Any:
            return grpc.unary_unary_rpc_method_handler(lambda *_: b"unsafe")

    async with (
        serving_async(tls, guard, Mixed()) as (address, _),
        aio.secure_channel(address, tls.channel) as channel,
    ):
        code, _, _ = await refused(call_async(channel, "unary_unary", issuer.mint(AUDIENCE)))
    assert code is grpc.StatusCode.UNKNOWN


def test_without_the_interceptor_there_is_no_token_to_ask_for() -> None:
    with pytest.raises(ConfigurationError, match="no RequireToken"):
        access_token()


@pytest.mark.parametrize(
    "arguments",
    [
        {"scopes": READ},
        {"scopes": {method("open"): READ}},
        {"scopes": ["a b"]},
        {"unguarded": method("open")},
    ],
)
def test_arguments_that_cannot_be_meant_are_a_configuration_error(
    arguments: Any, issuer: Issuer
) -> None:
    for guard, right, wrong in (
        (RequireToken, Verifier, AsyncVerifier),
        (AsyncRequireToken, AsyncVerifier, Verifier),
    ):
        make: Any = guard
        with pytest.raises(ConfigurationError):
            make(verifier_of(right, issuer), **arguments)
        with pytest.raises(ConfigurationError):
            make(verifier_of(wrong, issuer))


# The caller's side.

BILLING = Target(AUDIENCE, {READ})


def retrying(*codes: str) -> list[tuple[str, str]]:
    """Options of a channel whose RPCs are tried three times, whatever their methods."""
    policy = {
        "maxAttempts": 3,
        "initialBackoff": "0.01s",
        "maxBackoff": "0.1s",
        "backoffMultiplier": 2,
        "retryableStatusCodes": codes,
    }
    config = {"methodConfig": [{"name": [{}], "retryPolicy": policy}]}
    return [("grpc.service_config", json.dumps(config))]


@pytest.fixture
def live_issuer() -> Iterator[Issuer]:
    with issuing() as issuer:
        yield issuer


def secret() -> ClientSecret:
    return ClientSecret("a-secret-that-is-long-enough-to-be-one")


@pytest.fixture
def tokens(live_issuer: Issuer) -> Iterator[TokenClient]:
    with TokenClient(live_issuer.origin, client_id="orders", credential=secret()) as client:
        yield client


@contextlib.contextmanager
def channel_to(
    address: str, tls: Tls, credentials: grpc.CallCredentials, options: Any = ()
) -> Iterator[grpc.Channel]:
    composed = grpc.composite_channel_credentials(tls.channel, credentials)
    with grpc.secure_channel(address, composed, options=options) as channel:
        yield channel


@pytest.mark.parametrize("name", KINDS)
def test_each_rpc_carries_a_token_of_its_own(
    name: str, tls: Tls, live_issuer: Issuer, tokens: TokenClient
) -> None:
    guard = RequireToken(verifier_of(Verifier, live_issuer), scopes={READ})
    with (
        serving(tls, guard) as (address, _),
        channel_to(address, tls, token_credentials(tokens, BILLING)) as channel,
    ):
        for _ in range(3):
            assert call(channel, name) in (b"orders", [b"orders", b"orders"])
    asked = [(form["resource"], form["scope"]) for form in live_issuer.token_requests]
    assert set(asked) == {(AUDIENCE, READ)}


async def test_each_rpc_of_an_aio_channel_carries_a_token_of_its_own(
    tls: Tls, live_issuer: Issuer
) -> None:
    guard = AsyncRequireToken(verifier_of(AsyncVerifier, live_issuer), scopes={READ})
    async with (
        AsyncTokenClient(live_issuer.origin, client_id="orders", credential=secret()) as tokens,
        serving_async(tls, guard) as (address, _),
    ):
        credentials = async_token_credentials(tokens, BILLING)
        composed = grpc.composite_channel_credentials(tls.channel, credentials)
        async with aio.secure_channel(address, composed) as channel:
            answers = await asyncio.gather(*(call_async(channel, "unary_unary") for _ in range(10)))
            assert await call_async(channel, "stream_stream") == [b"orders", b"orders"]
    assert answers == [b"orders"] * 10


async def test_the_sync_credentials_serve_an_aio_channel_too(
    tls: Tls, live_issuer: Issuer, tokens: TokenClient
) -> None:
    guard = AsyncRequireToken(verifier_of(AsyncVerifier, live_issuer))
    composed = grpc.composite_channel_credentials(tls.channel, token_credentials(tokens, BILLING))
    async with (
        serving_async(tls, guard) as (address, _),
        aio.secure_channel(address, composed) as channel,
    ):
        assert await call_async(channel, "unary_unary") == b"orders"


class FailingFirst(grpc.ServerInterceptor):
    """Ends the first RPCs within the guard, after their tokens have been claimed."""

    def __init__(self, failures: int) -> None:
        self.attempts: list[Any] = []
        self._failures = failures

    def intercept_service(self, continuation: Any, details: Any) -> Any:
        handler = continuation(details)

        def attempt(request: Any, context: Any) -> Any:
            self.attempts.append(access_token().token_id)
            if len(self.attempts) <= self._failures:
                context.abort(grpc.StatusCode.UNAVAILABLE, "busy")
            return handler.unary_unary(request, context)

        return grpc.unary_unary_rpc_method_handler(attempt)


def test_each_attempt_of_a_retried_rpc_carries_a_token_of_its_own(
    tls: Tls, live_issuer: Issuer, tokens: TokenClient
) -> None:
    failing = FailingFirst(2)
    guard = RequireToken(verifier_of(Verifier, live_issuer))
    with (
        serving(tls, guard, failing) as (address, _),
        channel_to(
            address,
            tls,
            token_credentials(tokens, BILLING),
            retrying("UNAVAILABLE", "UNAUTHENTICATED"),
        ) as channel,
    ):
        assert call(channel, "unary_unary") == b"orders"
    assert len(set(failing.attempts)) == 3


def test_what_another_token_may_mend_is_tried_again_where_the_caller_allows_it(
    tls: Tls, live_issuer: Issuer, tokens: TokenClient
) -> None:
    class OneOld:
        """Hands out a token that has expired first, as an API's new ledger would see it."""

        def __init__(self) -> None:
            self.given = 0

        def get(self, audience: str, *, scopes: Any, **_: Any) -> Any:
            self.given += 1
            if self.given == 1:
                return live_issuer.mint(audience, READ, iat=1_700_000_000, exp=1_700_000_120)
            return tokens.get(audience, scopes=scopes)

    source = OneOld()
    guard = RequireToken(verifier_of(Verifier, live_issuer))
    with (
        serving(tls, guard) as (address, _),
        channel_to(
            address,
            tls,
            token_credentials(source, BILLING),
            retrying("UNAVAILABLE", "UNAUTHENTICATED"),
        ) as channel,
    ):
        assert call(channel, "unary_unary") == b"orders"
    assert source.given == 2


@pytest.mark.parametrize(
    ("scopes", "details"), [((), "token_replayed"), ({WRITE}, "insufficient_scope")]
)
def test_what_another_token_would_not_mend_is_not_tried_again(
    scopes: Any, details: str, tls: Tls, live_issuer: Issuer
) -> None:
    class Same:
        def __init__(self) -> None:
            self.given = 0
            self.token: Any = live_issuer.mint(AUDIENCE, READ)

        def get(self, audience: str, **_: Any) -> Any:
            del audience
            self.given += 1
            return self.token

    source = Same()
    verifier = verifier_of(Verifier, live_issuer)
    verifier.verify(source.token)
    with (
        serving(tls, RequireToken(verifier, scopes=scopes)) as (address, _),
        channel_to(
            address,
            tls,
            token_credentials(source, BILLING),
            retrying("UNAUTHENTICATED", "PERMISSION_DENIED"),
        ) as channel,
        pytest.raises(grpc.RpcError, match=details),
    ):
        call(channel, "unary_unary")
    assert source.given == 1


def test_an_rpc_without_a_token_to_be_had_says_why(tls: Tls, issuer: Issuer) -> None:
    nowhere = f"http://127.0.0.1:{closed_port()}"
    with (
        TokenClient(nowhere, client_id="orders", credential=secret()) as tokens,
        serving(tls, RequireToken(verifier_of(Verifier, issuer))) as (address, billing),
        channel_to(address, tls, token_credentials(tokens, BILLING)) as channel,
        pytest.raises(grpc.RpcError) as caught,
    ):
        call(channel, "unary_unary")
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert "no token" in str(caught.value.details())
    assert billing.seen == []


async def test_an_aio_rpc_without_a_token_to_be_had_says_why(tls: Tls, issuer: Issuer) -> None:
    nowhere = f"http://127.0.0.1:{closed_port()}"
    guard = AsyncRequireToken(verifier_of(AsyncVerifier, issuer))
    async with (
        AsyncTokenClient(nowhere, client_id="orders", credential=secret()) as tokens,
        serving_async(tls, guard) as (address, _),
    ):
        composed = grpc.composite_channel_credentials(
            tls.channel, async_token_credentials(tokens, BILLING)
        )
        async with aio.secure_channel(address, composed) as channel:
            code, details, _ = await refused(call_async(channel, "unary_unary"))
    assert code is grpc.StatusCode.UNAVAILABLE
    assert "no token" in str(details)


def test_what_else_goes_wrong_is_told_by_its_name_alone(
    tls: Tls, issuer: Issuer, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken:
        def get(self, audience: str, **_: Any) -> Any:
            del audience
            raise LookupError("the-secret")

    with (
        serving(tls, RequireToken(verifier_of(Verifier, issuer))) as (address, _),
        channel_to(address, tls, token_credentials(Broken(), BILLING)) as channel,
        pytest.raises(grpc.RpcError) as caught,
    ):
        call(channel, "unary_unary")
    assert "LookupError" in str(caught.value.details())
    assert "the-secret" not in str(caught.value) + caplog.text


def test_no_token_goes_over_a_channel_without_tls(live_issuer: Issuer, tokens: TokenClient) -> None:
    with ThreadPoolExecutor(1) as pool:
        server = grpc.server(pool)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            ask: Any = channel.unary_unary(method("unary_unary"))
            with pytest.raises(grpc.RpcError):
                ask(b"", credentials=token_credentials(tokens, BILLING), timeout=20)
        server.stop(None).wait()
    assert live_issuer.token_requests == []


def test_a_target_that_no_token_can_be_asked_for_is_a_configuration_error(
    tokens: TokenClient,
) -> None:
    with pytest.raises(ConfigurationError):
        token_credentials(tokens, Target("", {READ}))
