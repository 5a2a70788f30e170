import os
import threading
import tracemalloc

import pytest
from client.fixtures_verifying import NOW, ManualClock
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from ephemera_client import (
    Claim,
    ConfigurationError,
    IssuedBeforeLedger,
    NoReplayCache,
    ReplayCacheUnavailable,
    SingleProcessReplayCache,
    TokenReplayed,
)
from ephemera_client.replay import Purpose, single_process


def claim_of(
    jti: str = "one", *, iat: int = NOW, exp: int = NOW + 120, purpose: Purpose = "token"
) -> Claim:
    return Claim(purpose, "https://tokens.internal", "orders", jti, iat, exp)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def cache(clock: ManualClock) -> SingleProcessReplayCache:
    return SingleProcessReplayCache(clock=clock)


def test_a_token_is_accepted_once(cache: SingleProcessReplayCache, clock: ManualClock) -> None:
    cache.claim(claim_of(), clock())
    for _ in range(3):
        with pytest.raises(TokenReplayed):
            cache.claim(claim_of(), clock())
    cache.claim(claim_of("two"), clock())
    assert len(cache) == 2


@pytest.mark.anyio
async def test_tasks_and_threads_share_one_ledger(
    cache: SingleProcessReplayCache, clock: ManualClock
) -> None:
    await cache.claim_async(claim_of(), clock())
    with pytest.raises(TokenReplayed):
        cache.claim(claim_of(), clock())


def test_other_times_do_not_make_another_token(
    cache: SingleProcessReplayCache, clock: ManualClock
) -> None:
    cache.claim(claim_of(), clock())
    with pytest.raises(TokenReplayed):
        cache.claim(claim_of(iat=NOW + 1, exp=NOW + 60), clock())


def test_purposes_never_meet(cache: SingleProcessReplayCache, clock: ManualClock) -> None:
    for purpose in ("token", "assertion", "dpop", "federated"):
        cache.claim(claim_of(purpose=purpose), clock())


def test_what_was_issued_before_the_cache_was_made_is_refused(clock: ManualClock) -> None:
    clock.advance(0.9)
    cache = SingleProcessReplayCache(clock=clock)
    with pytest.raises(IssuedBeforeLedger):
        cache.claim(claim_of(iat=NOW - 1), clock())
    cache.claim(claim_of(iat=NOW), clock())


def test_an_id_is_kept_for_a_minute_past_its_end_and_then_makes_room(
    cache: SingleProcessReplayCache, clock: ManualClock
) -> None:
    cache.claim(claim_of(), clock())
    clock.advance(120 + 59)
    cache.claim(claim_of("two", exp=NOW + 300), clock())
    assert len(cache) == 2
    clock.advance(2)
    cache.claim(claim_of("three", exp=NOW + 300), clock())
    assert len(cache) == 2


def test_a_clock_set_back_revives_nothing(
    cache: SingleProcessReplayCache, clock: ManualClock
) -> None:
    cache.claim(claim_of(), clock())
    clock.advance(4000)
    cache.claim(claim_of("later", iat=NOW + 4000, exp=NOW + 4100), clock())
    clock.set_back(4000)
    with pytest.raises(IssuedBeforeLedger):
        cache.claim(claim_of(), clock())


def test_after_a_clock_that_ran_ahead_only_what_is_forgotten_is_refused(
    cache: SingleProcessReplayCache, clock: ManualClock
) -> None:
    cache.claim(claim_of(), clock())
    clock.advance(86400)
    cache.claim(claim_of("ahead", iat=NOW, exp=NOW + 86500), clock())
    clock.set_back(86400)
    cache.claim(claim_of("new", exp=NOW + 121), clock())


def test_after_a_clock_that_ran_ahead_there_is_room_again(clock: ManualClock) -> None:
    cache = SingleProcessReplayCache(max_entries=1, clock=clock)
    clock.advance(86400)
    cache.claim(claim_of("ahead", exp=NOW + 120), clock())
    clock.set_back(86400)
    clock.advance(180)
    cache.claim(claim_of("new", exp=NOW + 300), clock())


def test_a_full_cache_accepts_nothing_until_there_is_room(clock: ManualClock) -> None:
    cache = SingleProcessReplayCache(max_entries=3, clock=clock)
    for jti in "abc":
        cache.claim(claim_of(jti), clock())
    with pytest.raises(ReplayCacheUnavailable) as caught:
        cache.claim(claim_of("d"), clock())
    assert caught.value.cause_code == "full"
    with pytest.raises(TokenReplayed):
        cache.claim(claim_of("a"), clock())
    clock.advance(181)
    cache.claim(claim_of("d", exp=NOW + 300), clock())


def test_many_ids_that_end_at_once_are_dropped_by_the_claims_that_follow(
    cache: SingleProcessReplayCache, clock: ManualClock
) -> None:
    for number in range(250):
        cache.claim(claim_of(str(number)), clock())
    clock.advance(181)
    sizes = []
    for number in range(20):
        cache.claim(claim_of(f"later {number}", exp=NOW + 300), clock())
        sizes.append(len(cache))
    assert sizes[0] > 200
    assert sizes[:15] == sorted(sizes[:15], reverse=True)
    assert sizes[-1] == 20
    with pytest.raises(IssuedBeforeLedger):
        cache.claim(claim_of("0"), clock())


def test_a_key_that_is_seen_across_two_others_is_not_taken_for_one_of_them() -> None:
    record = single_process._RECORD.pack
    key = single_process._KEY
    first, second = record(0x6161616161616161, 0x6262626200000000), record(0x6363636363636363, 1)
    shard = first + second
    across = shard[12:20]
    assert single_process._holds(shard, first[key])
    assert single_process._holds(shard, second[key])
    assert not single_process._holds(shard, across)
    assert single_process._holds(shard + across + second[key], across)


def test_of_many_threads_one_wins_each_token(
    cache: SingleProcessReplayCache, clock: ManualClock
) -> None:
    tokens = [claim_of(str(number)) for number in range(300)]
    accepted: list[str] = []
    start = threading.Barrier(8)

    def race() -> None:
        start.wait(10)
        for token in tokens:
            try:
                cache.claim(token, clock())
            except TokenReplayed:
                continue
            accepted.append(token.jti)

    threads = [threading.Thread(target=race) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(accepted) == sorted(token.jti for token in tokens)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_forked_child_refuses_it(cache: SingleProcessReplayCache, clock: ManualClock) -> None:
    child = os.fork()
    if child == 0:
        # In the child nothing of pytest may run on.
        try:
            cache.claim(claim_of(), clock())
        except ReplayCacheUnavailable as error:
            os._exit(0 if error.cause_code == "forked" else 2)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    cache.claim(claim_of(), clock())


def test_an_id_takes_at_most_100_bytes(clock: ManualClock) -> None:
    cache = SingleProcessReplayCache(clock=clock)
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    for number in range(40_000):
        cache.claim(claim_of(str(number), exp=NOW + 1 + number % 300), clock())
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (after - before) / 40_000 <= 100


@pytest.mark.parametrize("entries", [0, -1, 1.5, True, "9"])
def test_a_size_that_makes_no_sense_is_refused(entries: int) -> None:
    with pytest.raises(ConfigurationError):
        SingleProcessReplayCache(max_entries=entries)


@pytest.mark.anyio
async def test_without_a_replay_cache_a_token_is_accepted_again(clock: ManualClock) -> None:
    cache = NoReplayCache()
    for _ in range(2):
        cache.claim(claim_of(), clock())
        await cache.claim_async(claim_of(), clock())


def test_each_says_among_whom_a_token_is_accepted_once(cache: SingleProcessReplayCache) -> None:
    assert (cache.accepted_once, NoReplayCache().accepted_once) == ("process", "off")
    assert repr(cache) == "SingleProcessReplayCache(max_entries=1000000)"


class Ledger(RuleBasedStateMachine):
    """Tokens shown in any order while the wall clock goes where it likes."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = ManualClock()
        self.cache = SingleProcessReplayCache(max_entries=20, clock=self.clock)
        self.accepted: set[str] = set()

    @rule(seconds=st.integers(0, 400))
    def go_on(self, seconds: int) -> None:
        self.clock.advance(seconds)

    @rule(seconds=st.integers(0, 5000))
    def set_back(self, seconds: int) -> None:
        self.clock.set_back(seconds)

    @rule(number=st.integers(0, 30), lifetime=st.integers(1, 900))
    def show(self, number: int, lifetime: int) -> None:
        self._show(f"{number}-{lifetime}", NOW + 10 * number, NOW + 10 * number + lifetime)

    @rule(lifetime=st.integers(1, 900))
    def show_a_fresh_one(self, lifetime: int) -> None:
        now = int(self.clock().wall)
        self._show(f"{now}-{lifetime}", now, now + lifetime)

    def _show(self, jti: str, iat: int, exp: int) -> None:
        now = self.clock()
        if exp <= now.wall - 30:
            return  # no verifier would ask
        try:
            self.cache.claim(claim_of(jti, iat=iat, exp=exp), now)
        except (TokenReplayed, IssuedBeforeLedger, ReplayCacheUnavailable):
            return
        assert jti not in self.accepted
        assert iat >= NOW
        self.accepted.add(jti)

    @invariant()
    def the_two_halves_agree(self) -> None:
        by_end = self.cache._shards_by_end
        indexed = [(end, number) for end, numbers in by_end.items() for number in numbers]
        kept = [
            (end, number)
            for number in {number for _, number in indexed}
            for _, end in single_process._RECORD.iter_unpack(self.cache._shards[number])
        ]
        assert sorted(kept) == sorted(indexed)
        assert len(self.cache) == len(kept) <= 20


TestLedger = Ledger.TestCase
TestLedger.settings = settings(max_examples=50, stateful_step_count=50, deadline=None)
