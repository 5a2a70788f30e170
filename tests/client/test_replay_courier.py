"""Claims of many tasks at once, which one thread makes together."""

import itertools
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import anyio
import pytest
from client.fixtures_claiming import claim_of
from client.fixtures_requesting import forked
from client.fixtures_verifying import ManualClock

from ephemera_client import (
    Claim,
    EphemeraError,
    IssuedBeforeLedger,
    ReplayCacheUnavailable,
    SQLiteReplayCache,
    TokenReplayed,
)
from ephemera_client.replay import ledger

Outcomes = dict[str, list[type[Exception] | None]]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def cache(tmp_path: Path, clock: ManualClock) -> Iterator[SQLiteReplayCache]:
    with SQLiteReplayCache(
        tmp_path / "ledger.db", clock=clock, boot=lambda: "boot", deadline=10
    ) as cache:
        yield cache


async def taken(cache: SQLiteReplayCache) -> None:
    """Wait until the thread has taken what is there."""
    await anyio.wait_all_tasks_blocked()
    await anyio.to_thread.run_sync(_taken, cache)


def _taken(cache: SQLiteReplayCache) -> None:
    while cache._courier._waiting:
        time.sleep(0.001)


async def claim_together(
    cache: SQLiteReplayCache, clock: ManualClock, claims: list[Claim]
) -> Outcomes:
    """Have all of them wait for the thread before it can make the first, which is one more."""
    outcomes: Outcomes = {}

    async def show(claim: Claim) -> None:
        try:
            await cache.claim_async(claim, clock())
        except (EphemeraError, OverflowError) as error:
            outcomes.setdefault(claim.jti, []).append(type(error))
        else:
            outcomes.setdefault(claim.jti, []).append(None)

    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            cache._lock.acquire()
            try:
                group.start_soon(show, claim_of("first"))
                await taken(cache)
                for claim in claims:
                    group.start_soon(show, claim)
                await anyio.wait_all_tasks_blocked()
            finally:
                cache._lock.release()
    return outcomes


@pytest.mark.anyio
async def test_what_comes_together_is_accepted_together(
    cache: SQLiteReplayCache, clock: ManualClock
) -> None:
    claims = [claim_of(str(number)) for number in range(300)]
    outcomes = await claim_together(cache, clock, claims)
    assert outcomes == {jti: [None] for jti in ("first", *(claim.jti for claim in claims))}
    for claim in claims:
        with pytest.raises(TokenReplayed):
            cache.claim(claim, clock())


@pytest.mark.anyio
async def test_a_replay_among_them_is_refused_alone(
    cache: SQLiteReplayCache, clock: ManualClock
) -> None:
    cache.claim(claim_of("known"), clock())
    claims = [claim_of(jti) for jti in ("a", "known", "b", "twice", "c", "twice", "d")]
    outcomes = await claim_together(cache, clock, claims)
    assert outcomes.pop("known") == [TokenReplayed]
    assert sorted(map(str, outcomes.pop("twice"))) == sorted(map(str, [None, TokenReplayed]))
    assert set(map(tuple, outcomes.values())) == {(None,)}


@pytest.mark.anyio
async def test_one_from_before_the_ledger_is_refused_alone(
    cache: SQLiteReplayCache, clock: ManualClock
) -> None:
    old = claim_of("old")._replace(issued_at=int(clock().wall) - 1000)
    outcomes = await claim_together(cache, clock, [claim_of("a"), old, claim_of("b")])
    assert outcomes == {"first": [None], "a": [None], "old": [IssuedBeforeLedger], "b": [None]}


@pytest.mark.anyio
async def test_one_that_cannot_be_written_harms_no_other(
    cache: SQLiteReplayCache, clock: ManualClock
) -> None:
    odd = claim_of("odd")._replace(expires_at=2**70)

    outcomes = await claim_together(cache, clock, [claim_of("a"), odd, claim_of("b")])
    assert outcomes == {"first": [None], "a": [None], "odd": [OverflowError], "b": [None]}


@pytest.mark.anyio
async def test_a_full_ledger_refuses_all_of_them(tmp_path: Path, clock: ManualClock) -> None:
    with SQLiteReplayCache(tmp_path / "small.db", clock=clock, max_bytes=65_536) as small:
        # The first that is refused needed a page more; on others there is room for a while.
        refused = 0
        for number in itertools.count():
            try:
                small.claim(claim_of(f"filling {number}"), clock())
                refused = 0
            except ReplayCacheUnavailable:
                refused += 1
            if refused > 200:
                break
        outcomes = await claim_together(small, clock, [claim_of(f"{n}" * 9) for n in range(100)])
    assert set(map(tuple, outcomes.values())) == {(ReplayCacheUnavailable,)}


def test_of_two_caches_and_many_tasks_one_wins_each_token(
    tmp_path: Path, clock: ManualClock
) -> None:
    caches = [SQLiteReplayCache(tmp_path / "ledger.db", clock=clock, deadline=30) for _ in range(2)]
    won: list[str] = []

    async def race(cache: SQLiteReplayCache) -> None:
        async def show(claim: Claim) -> None:
            try:
                await cache.claim_async(claim, clock())
            except TokenReplayed:
                return
            won.append(claim.jti)

        for start in range(0, 300, 30):
            async with anyio.create_task_group() as group:
                for number in range(start, start + 30):
                    group.start_soon(show, claim_of(str(number)))

    with ThreadPoolExecutor(4) as threads:
        kinds = ["asyncio", "trio", "asyncio", "trio"]
        racing = [
            threads.submit(partial(anyio.run, race, caches[number % 2], backend=kind))
            for number, kind in enumerate(kinds)
        ]
        for one in racing:
            one.result(60)
    for cache in caches:
        cache.close()
    assert sorted(won, key=int) == [str(number) for number in range(300)]


@pytest.mark.anyio
async def test_who_is_cancelled_before_the_thread_comes_has_claimed_nothing(
    cache: SQLiteReplayCache, clock: ManualClock
) -> None:
    cache._lock.acquire()
    try:
        async with anyio.create_task_group() as group:
            group.start_soon(cache.claim_async, claim_of("first"), clock())
            await taken(cache)
            with anyio.move_on_after(0.01):
                await cache.claim_async(claim_of("cancelled"), clock())
            cache._lock.release()
    finally:
        if cache._lock.locked():
            cache._lock.release()
    await cache.claim_async(claim_of("cancelled"), clock())


def test_a_closed_cache_leaves_no_thread_and_opens_again(
    cache: SQLiteReplayCache, clock: ManualClock
) -> None:
    anyio.run(cache.claim_async, claim_of("before"), clock(), backend="trio")
    thread = cache._courier._thread
    assert thread is not None
    cache.close()
    thread.join(10)
    assert not thread.is_alive()
    anyio.run(cache.claim_async, claim_of("after"), clock())
    with pytest.raises(TokenReplayed):
        anyio.run(cache.claim_async, claim_of("before"), clock())


def test_a_forked_child_claims_with_a_thread_of_its_own(
    cache: SQLiteReplayCache, clock: ManualClock
) -> None:
    anyio.run(cache.claim_async, claim_of("before"), clock())

    def in_the_child() -> bytes:
        anyio.run(cache.claim_async, claim_of("in the child"), clock())
        return b"accepted"

    assert forked(in_the_child) == b"accepted"
    with pytest.raises(TokenReplayed):
        anyio.run(cache.claim_async, claim_of("in the child"), clock())


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_claim_without_a_thread_fails_closed(
    backend: str, cache: SQLiteReplayCache, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_thread(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    async def show() -> None:
        await cache.claim_async(claim_of(), clock())

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", no_thread)
        # Somebody else is claiming, so that asyncio's tasks need the thread too.
        with cache._lock, pytest.raises(ReplayCacheUnavailable) as caught:
            anyio.run(show, backend=backend)
    assert caught.value.cause_code == "no_thread"
    anyio.run(show, backend=backend)


def test_what_need_not_wait_is_claimed_without_a_thread(
    cache: SQLiteReplayCache, clock: ManualClock
) -> None:
    async def show() -> None:
        async with anyio.create_task_group() as group:
            for number in range(40):
                group.start_soon(cache.claim_async, claim_of(str(number)), clock())

    anyio.run(show)
    assert cache._courier._thread is None
    for number in range(40):
        with pytest.raises(TokenReplayed):
            cache.claim(claim_of(str(number)), clock())


def test_what_would_wait_for_the_disk_is_the_threads(
    tmp_path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "FOLD_EVERY", 5)
    log = tmp_path / "ledger.db-wal"

    async def show(cache: SQLiteReplayCache) -> list[bool]:
        by_thread = []
        for number in range(12):
            await cache.claim_async(claim_of(str(number)), clock())
            by_thread.append(cache._courier._thread is not None)
        return by_thread

    with SQLiteReplayCache(tmp_path / "ledger.db", clock=clock, boot=lambda: "boot") as cache:
        assert anyio.run(show, cache) == [False] * 5 + [True] * 7
        assert cache._ledger is not None
        assert cache._ledger._unfolded == 2
        assert log.stat().st_size > 0
    with SQLiteReplayCache(tmp_path / "other.db", clock=clock, boot=lambda: None) as cache:
        # Where boots have no names, each write waits for the disk.
        assert anyio.run(show, cache) == [True] * 12


def test_the_log_is_folded_and_stays_small(tmp_path: Path, clock: ManualClock) -> None:
    with SQLiteReplayCache(tmp_path / "ledger.db", clock=clock) as cache:
        sizes = []
        for number in range(4 * ledger.FOLD_EVERY):
            cache.claim(claim_of(str(number)), clock())
            sizes.append((tmp_path / "ledger.db-wal").stat().st_size)
    assert max(sizes) < 16 * 1024 * 1024
    assert max(sizes[len(sizes) // 2 :]) <= 1.5 * max(sizes[: len(sizes) // 2])


@pytest.mark.anyio
async def test_a_claim_that_cannot_be_spelled_fails_alone_and_at_once(
    cache: SQLiteReplayCache, clock: ManualClock
) -> None:
    with pytest.raises(UnicodeEncodeError):
        await cache.claim_async(claim_of("\ud800"), clock())
    await cache.claim_async(claim_of("next"), clock())
