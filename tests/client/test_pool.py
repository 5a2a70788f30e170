import asyncio
import contextlib
import copy
import pickle
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import anyio
import anyio.to_thread
import pytest
from anyio.lowlevel import checkpoint
from client.fixtures_requesting import Asked, Issuer, Reply, forked, issuing, serving

from ephemera_client import AsyncTokenClient, ClientSecret, Proof, TokenClient
from ephemera_client.errors import (
    ConfigurationError,
    IssuerUnavailable,
    TokenRequestFailed,
    TokenRequestRefused,
)
from ephemera_client.instant import Instant, read

AUDIENCE = "https://billing.internal"

anyio_only = pytest.mark.anyio


def _settings(**changes: Any) -> dict[str, Any]:
    return {"client_id": "orders", "credential": ClientSecret("hunter2")} | changes


class Held:
    """An issuer whose token endpoint answers when told to."""

    def __init__(self) -> None:
        self.issuer = Issuer()
        self.issuer.metadata = {"ephemera_max_count": 100}
        self.asked = threading.Semaphore(0)
        self.open = threading.Event()

    def answer(self, asked: Asked) -> Reply:
        if asked.method == "POST":
            self.asked.release()
            self.open.wait(10)
        return self.issuer.answer(asked)


@contextlib.contextmanager
def held() -> Iterator[Held]:
    holding = Held()
    with serving(holding.answer) as server:
        holding.issuer.origin = server.origin
        try:
            yield holding
        finally:
            holding.open.set()


def in_threads(number: int, work: Callable[[], object]) -> None:
    start = threading.Barrier(number)

    def run() -> None:
        start.wait()
        work()

    threads = [threading.Thread(target=run) for _ in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def counts(issuer: Issuer) -> list[int]:
    return [int(asked.get("count", "1")) for asked in issuer.token_requests]


def test_a_script_that_makes_one_call_asks_for_one_token() -> None:
    with issuing(ephemera_max_count=100) as issuer:
        with TokenClient(issuer.origin, **_settings()) as tokens:
            tokens.get(AUDIENCE)
        assert counts(issuer) == [1]


@pytest.mark.parametrize("most", [1, 7, 100])
def test_threads_that_race_never_meet_the_same_token(most: int) -> None:
    got: list[str] = []
    with (
        issuing(ephemera_max_count=most) as issuer,
        TokenClient(issuer.origin, **_settings()) as tokens,
    ):

        def work() -> None:
            got.extend(str(tokens.get(f"{AUDIENCE}/{number % 3}")) for number in range(20))

        in_threads(20, work)
    assert len(got) == len(set(got)) == 400


@anyio_only
async def test_tasks_that_race_and_are_cancelled_never_meet_the_same_token() -> None:
    got: list[str] = []
    with issuing(ephemera_max_count=5) as issuer:
        async with AsyncTokenClient(issuer.origin, **_settings()) as tokens:

            async def work(patience: float) -> None:
                with anyio.move_on_after(patience):
                    got.append(str(await tokens.get(AUDIENCE)))

            for _ in range(10):
                async with anyio.create_task_group() as group:
                    for number in range(40):
                        group.start_soon(work, 0.0005 * number)
            async with anyio.create_task_group() as group:
                for _ in range(40):
                    group.start_soon(work, 10)
    assert len(got) == len(set(got))
    assert len(got) >= 40


@anyio_only
async def test_a_burst_of_tasks_becomes_few_requests() -> None:
    got: list[str] = []
    with held() as holding:
        async with AsyncTokenClient(holding.issuer.origin, **_settings(pool_size=0)) as tokens:

            async def work() -> None:
                got.append(str(await tokens.get(AUDIENCE)))

            async with anyio.create_task_group() as group:
                for _ in range(250):
                    group.start_soon(work)
                await anyio.to_thread.run_sync(holding.asked.acquire)
                holding.open.set()
    assert len(set(got)) == 250
    assert len(holding.issuer.token_requests) <= 5


@anyio_only
async def test_what_a_cancelled_task_was_waiting_for_goes_to_the_next() -> None:
    with held() as holding:
        async with AsyncTokenClient(holding.issuer.origin, **_settings(pool_size=0)) as tokens:
            async with anyio.create_task_group() as group:
                for _ in range(3):
                    group.start_soon(tokens.get, AUDIENCE)
                await anyio.to_thread.run_sync(holding.asked.acquire)
                group.cancel_scope.cancel()
            holding.open.set()
            got = {str(await tokens.get(AUDIENCE)) for _ in range(3)}
            assert len(got) == 3
        assert sum(counts(holding.issuer)) == 3


def test_threads_and_tasks_of_several_loops_share_one_pool() -> None:
    got: list[str] = []
    with issuing(ephemera_max_count=10) as issuer:
        tokens = AsyncTokenClient(issuer.origin, **_settings())

        async def work() -> None:
            got.extend([str(await tokens.get(AUDIENCE)) for _ in range(20)])

        async def loop() -> None:
            async with anyio.create_task_group() as group:
                for _ in range(5):
                    group.start_soon(work)

        backends = iter(["asyncio", "trio"] * 3)
        in_threads(6, lambda: anyio.run(loop, backend=next(backends)))
        anyio.run(tokens.aclose)
    assert len(got) == len(set(got)) == 600


def test_an_event_loop_that_ends_takes_no_token_along() -> None:
    with held() as holding:
        tokens = AsyncTokenClient(holding.issuer.origin, **_settings(pool_size=0))
        loop = asyncio.new_event_loop()
        waiting = loop.create_task(tokens.get(AUDIENCE))
        loop.run_until_complete(asyncio.to_thread(holding.asked.acquire))
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()
        holding.open.set()
        assert anyio.run(tokens.get, AUDIENCE)
        assert counts(holding.issuer) == [1]
        assert not waiting.done()
        waiting._log_destroy_pending = False  # type: ignore[attr-defined] # meant here
        anyio.run(tokens.aclose)


def test_the_wait_ends_at_the_callers_own_deadline() -> None:
    with held() as holding, TokenClient(holding.issuer.origin, **_settings()) as tokens:
        began = time.monotonic()
        with pytest.raises(IssuerUnavailable) as refused:
            tokens.get(AUDIENCE, timeout=0.05)
        assert refused.value.cause_code == "timeout"
        assert time.monotonic() - began < 5
        with pytest.raises(IssuerUnavailable):
            tokens.get(AUDIENCE, timeout=0)
        holding.open.set()
        assert tokens.get(AUDIENCE)


def test_with_no_time_to_wait_a_pooled_token_is_handed_out_all_the_same() -> None:
    with issuing() as issuer, TokenClient(issuer.origin, **_settings()) as tokens:
        while True:
            with contextlib.suppress(IssuerUnavailable):
                tokens.get(AUDIENCE, timeout=0)
                break
            tokens.get(AUDIENCE)


@pytest.mark.parametrize("timeout", [-1, float("nan"), "1", True])
def test_a_timeout_that_makes_no_sense_is_told(timeout: Any) -> None:
    tokens = TokenClient("https://tokens.internal", **_settings())
    with pytest.raises(ConfigurationError, match="timeout"):
        tokens.get(AUDIENCE, timeout=timeout)


@pytest.mark.parametrize("audience", [[], None, b"x", ""])
def test_an_audience_that_makes_no_sense_is_told(audience: Any) -> None:
    tokens = TokenClient("https://tokens.internal", **_settings())
    with pytest.raises(ConfigurationError, match="audience"):
        tokens.get(audience)


@pytest.mark.parametrize("size", [-1, 1.5, True, None])
def test_a_pool_size_that_makes_no_sense_is_told(size: Any) -> None:
    with pytest.raises(ConfigurationError, match="pool_size"):
        TokenClient("https://tokens.internal", **_settings(pool_size=size))


def test_each_waiter_is_told_of_a_refusal_by_an_error_of_its_own() -> None:
    errors: list[Exception] = []
    with held() as holding, TokenClient(holding.issuer.origin, **_settings()) as tokens:
        refusal = Reply(400, b'{"error": "invalid_scope"}')
        holding.issuer.planned = [refusal] * 20

        def work() -> None:
            try:
                tokens.get(AUDIENCE)
            except TokenRequestRefused as error:
                errors.append(error)

        threads = [threading.Thread(target=work) for _ in range(10)]
        for thread in threads:
            thread.start()
        holding.asked.acquire()
        holding.open.set()
        for thread in threads:
            thread.join()
    assert len({id(error) for error in errors}) == 10


def test_a_credential_that_fails_is_told_with_its_cause() -> None:
    class Broken:
        method = "broken"

        def prove(self, client_id: str, *, issuer: str) -> Proof:
            raise LookupError(client_id + issuer)

    with (
        issuing() as issuer,
        TokenClient(issuer.origin, **_settings(credential=Broken())) as tokens,
        pytest.raises(TokenRequestFailed, match="credential") as refused,
    ):
        tokens.get(AUDIENCE)
    assert isinstance(refused.value.__cause__, LookupError)


def test_a_failure_that_is_kept_keeps_no_frame_with_the_credential() -> None:
    with issuing() as issuer, TokenClient(issuer.origin, **_settings()) as tokens:
        issuer.planned = [Reply(503)]
        with pytest.raises(IssuerUnavailable):
            tokens.get(AUDIENCE)
        (stock,) = tokens._pool._stocks.values()
        assert stock._outage.error
        assert stock._outage.error.__traceback__ is None


def test_without_a_thread_the_call_is_told_and_the_next_one_works(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with issuing() as issuer, TokenClient(issuer.origin, **_settings()) as tokens:
        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", refuse)
            with pytest.raises(IssuerUnavailable) as refused:
                tokens.get(AUDIENCE)
        assert refused.value.cause_code == "no_thread"
        assert tokens.get(AUDIENCE)


def test_a_closed_client_hands_out_nothing_and_lets_those_who_wait_go() -> None:
    told: list[str] = []
    with held() as holding:
        tokens = TokenClient(holding.issuer.origin, **_settings())

        def work() -> None:
            try:
                tokens.get(AUDIENCE)
            except IssuerUnavailable as error:
                told.append(error.cause_code)

        thread = threading.Thread(target=work)
        thread.start()
        holding.asked.acquire()
        tokens.close()
        thread.join()
        with pytest.raises(IssuerUnavailable, match="closed"):
            tokens.get(AUDIENCE)
        tokens.close()
    assert told == ["client_closed"]


@anyio_only
async def test_closing_leaves_no_task_and_waits_for_no_request() -> None:
    with held() as holding:
        tokens = AsyncTokenClient(holding.issuer.origin, **_settings())
        async with anyio.create_task_group() as group:
            group.start_soon(_until_closed, tokens)
            await anyio.to_thread.run_sync(holding.asked.acquire)
            began = time.monotonic()
            await tokens.aclose()
        assert time.monotonic() - began < 5


async def _until_closed(tokens: AsyncTokenClient) -> None:
    with pytest.raises(IssuerUnavailable, match="closed"):
        await tokens.get(AUDIENCE)


def test_threads_that_fill_end_when_the_client_is_closed() -> None:
    with issuing() as issuer:
        tokens = TokenClient(issuer.origin, **_settings())
        tokens.get(AUDIENCE)
        before = {each for each in threading.enumerate() if each.name == "ephemera-flight"}
        assert before
        tokens.close()
        for thread in before:
            thread.join(5)
        assert not any(thread.is_alive() for thread in before)


def test_a_refill_under_way_keeps_no_process_alive() -> None:
    program = f"""
import sys
from ephemera_client import ClientSecret, IssuerUnavailable, TokenClient
tokens = TokenClient(sys.argv[1], client_id="orders", credential=ClientSecret("hunter2"))
try:
    tokens.get({AUDIENCE!r}, timeout=0.01)
except IssuerUnavailable:
    print("gone")
"""
    with held() as holding:
        command = [sys.executable, "-c", program, holding.issuer.origin]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=8)
    assert (done.stdout, done.stderr) == ("gone\n", "")


def test_a_token_that_may_be_used_again_is_asked_for_once() -> None:
    got: list[str] = []
    with issuing() as issuer:
        issuer.said = {}
        with TokenClient(issuer.origin, **_settings(reusable=True)) as tokens:
            in_threads(20, lambda: got.append(str(tokens.get(AUDIENCE))))
            assert not tokens.get(AUDIENCE).single_use
    assert len(got) == 20
    assert len(set(got)) == len(issuer.token_requests) == 1


def test_an_issuer_that_says_so_is_asked_once_for_an_audience_that_takes_tokens_again() -> None:
    with issuing() as issuer:
        issuer.said = {"single_use": False}
        with TokenClient(issuer.origin, **_settings()) as tokens:
            assert len({str(tokens.get(AUDIENCE)) for _ in range(20)}) == 1


def test_what_is_not_said_to_be_reusable_is_used_once() -> None:
    with issuing() as issuer:
        issuer.said = {}
        with TokenClient(issuer.origin, **_settings()) as tokens:
            assert len({str(tokens.get(AUDIENCE)) for _ in range(20)}) == 20


def test_kinds_of_tokens_are_kept_apart() -> None:
    with issuing(ephemera_max_count=10) as issuer:
        with TokenClient(issuer.origin, **_settings()) as tokens:
            for _ in range(20):
                assert tokens.get(AUDIENCE, scopes={"a"}).scopes == {"a"}
                assert tokens.get(AUDIENCE, scopes=["b", "a"]).scopes == {"a", "b"}
                assert tokens.get("https://other.internal", scopes={"a"}).audience != AUDIENCE
        kinds = Counter((asked["resource"], asked["scope"]) for asked in issuer.token_requests)
    assert len(kinds) == 3


def test_kinds_that_nobody_asks_for_any_more_are_forgotten() -> None:
    ahead = [0.0]

    def clock() -> Instant:
        now = read()
        return Instant(now.wall + ahead[0], now.monotonic + ahead[0])

    with issuing() as issuer, TokenClient(issuer.origin, **_settings(clock=clock)) as tokens:
        for number in range(101):
            tokens.get(f"{AUDIENCE}/{number}")
        ahead[0] = 1000.0
        tokens.get(AUDIENCE)
        assert len(tokens._pool._stocks) < 10


@pytest.mark.parametrize("make", [TokenClient, AsyncTokenClient])
def test_a_client_is_not_pickled_or_copied(make: Any) -> None:
    tokens = make("https://tokens.internal", **_settings())
    for attempt in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="not pickled or copied"):
            attempt(tokens)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_hands_out_none_of_its_parents_tokens() -> None:
    with (
        issuing(ephemera_max_count=100) as issuer,
        TokenClient(issuer.origin, **_settings()) as tokens,
    ):
        ours = [str(tokens.get(AUDIENCE)) for _ in range(100)]

        def child() -> bytes:
            return " ".join(str(tokens.get(AUDIENCE)) for _ in range(100)).encode()

        theirs = [token for _ in range(3) for token in forked(child).decode().split()]
        ours += [str(tokens.get(AUDIENCE)) for _ in range(100)]
    assert len(theirs) == 300
    assert len(set(ours + theirs)) == 500


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_child_forked_in_the_middle_of_a_request_makes_its_own() -> None:
    with held() as holding, TokenClient(holding.issuer.origin, **_settings()) as tokens:
        got: list[str] = []
        thread = threading.Thread(target=lambda: got.append(str(tokens.get(AUDIENCE))))
        thread.start()
        holding.asked.acquire()
        theirs: list[str] = []

        def fork() -> None:
            theirs.append(forked(lambda: tokens.get(AUDIENCE).encode()).decode())

        forking = threading.Thread(target=fork)
        forking.start()
        holding.asked.acquire()
        holding.open.set()
        forking.join()
        thread.join()
    assert theirs[0].count(".") == 2
    assert theirs != got


@anyio_only
async def test_a_task_that_waits_blocks_no_other() -> None:
    with held() as holding:
        tokens = AsyncTokenClient(holding.issuer.origin, **_settings())
        async with tokens, anyio.create_task_group() as group:
            group.start_soon(tokens.get, AUDIENCE)
            await anyio.to_thread.run_sync(holding.asked.acquire)
            for _ in range(100):
                await checkpoint()
            holding.open.set()
