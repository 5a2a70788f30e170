import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, get_args

import anyio
import pytest
from client.fixtures_redis import (
    ClockedServer,
    CuttingProxy,
    RedisServer,
    TlsFront,
    eventually,
    moved_clock_library,
    shown,
    token_of,
)
from client.fixtures_requesting import certificate, closed_port, forked
from client.fixtures_verifying import ManualClock, mint, signing_key, verifier_of

from ephemera_client import (
    Claim,
    ConfigurationError,
    RedisReplayCache,
    ReplayCacheUnavailable,
    TokenReplayed,
)
from ephemera_client.instant import Instant, read
from ephemera_client.replay import Purpose
from ephemera_client.replay.redis_cluster import Primaries
from ephemera_client.replay.redis_primary import LinkFailed
from ephemera_client.replay.redis_wire import Wire, server

Make = Callable[..., RedisReplayCache]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A server whose ledger began long ago, for tests that do it no harm."""
    with RedisServer(tmp_path_factory.mktemp("shared")) as running:
        with RedisReplayCache(running.url) as cache:
            cache.warm()
        time.sleep(1.01 - time.time() % 1)
        yield running


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    """A server for one test alone."""
    with RedisServer(tmp_path) as running:
        yield running


@pytest.fixture
def make() -> Iterator[Make]:
    made: list[RedisReplayCache] = []

    def open_it(url: str, **arguments: Any) -> RedisReplayCache:
        made.append(RedisReplayCache(url, **arguments))
        return made[-1]

    yield open_it
    for cache in made:
        cache.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "ephemera-redis"]


@pytest.fixture
def cache(shared: RedisServer, make: Make) -> RedisReplayCache:
    return make(shared.url)


_count = iter(range(1_000_000))


def fresh(**changes: Any) -> Claim:
    """Make a claim that no other test has made, issued just now."""
    return token_of(f"fresh {next(_count)}", **({"iat": int(time.time())} | changes))


def test_a_token_is_accepted_once(cache: RedisReplayCache) -> None:
    token = fresh()
    assert [shown(cache, token) for _ in range(3)] == ["accepted"] + ["token_replayed"] * 2
    assert shown(cache, fresh()) == "accepted"


def test_what_one_accepted_the_next_refuses(
    cache: RedisReplayCache, shared: RedisServer, make: Make
) -> None:
    token = fresh()
    cache.claim(token, read())
    assert shown(make(shared.url), token) == "token_replayed"
    cache.close()
    assert shown(cache, token) == "token_replayed"


def test_purposes_never_meet(cache: RedisReplayCache) -> None:
    token = fresh()
    for purpose in get_args(Purpose):
        cache.claim(token._replace(purpose=purpose), read())


def test_prefixes_are_ledgers_of_their_own(
    cache: RedisReplayCache, shared: RedisServer, make: Make
) -> None:
    token = token_of("of two ledgers")
    other = make(shared.url, prefix="other:")
    assert [shown(cache, token), shown(other, token)] == ["accepted"] * 2
    assert [shown(cache, token), shown(other, token)] == ["token_replayed"] * 2


@pytest.mark.anyio
async def test_tasks_share_the_ledger_and_one_wins(cache: RedisReplayCache) -> None:
    await cache.warm_async()
    token, won = fresh(), []

    async def show(number: int) -> None:
        try:
            await cache.claim_async(token, read())
        except TokenReplayed:
            return
        won.append(number)

    async with anyio.create_task_group() as group:
        for number in range(200):
            group.start_soon(show, number)
    assert len(won) == 1


def test_two_event_loops_share_a_cache(cache: RedisReplayCache) -> None:
    one, two = fresh(), fresh()
    anyio.run(cache.claim_async, one, read())
    anyio.run(cache.claim_async, two, read(), backend="trio")
    with pytest.raises(TokenReplayed):
        anyio.run(cache.claim_async, two, read())


def test_of_many_threads_one_wins_each_token(
    cache: RedisReplayCache, shared: RedisServer, make: Make
) -> None:
    caches = [cache, make(shared.url)]
    tokens = [fresh() for _ in range(50)]
    won: list[str] = []
    barrier = threading.Barrier(8)

    def compete(mine: RedisReplayCache) -> None:
        barrier.wait(10)
        won.extend(token.jti for token in tokens if shown(mine, token) == "accepted")

    threads = [threading.Thread(target=compete, args=(caches[n % 2],)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(won) == sorted(token.jti for token in tokens)


@pytest.mark.anyio
async def test_a_task_that_is_cancelled_harms_no_other(cache: RedisReplayCache) -> None:
    async with anyio.create_task_group() as group:
        with anyio.CancelScope() as scope:
            scope.cancel()
            await cache.claim_async(fresh(), read())
        for _ in range(20):
            group.start_soon(cache.claim_async, fresh(), read())


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_forked_child_shares_the_ledger_over_a_connection_of_its_own(
    cache: RedisReplayCache,
) -> None:
    ours, theirs = fresh(), fresh()
    cache.claim(ours, read())

    def in_the_child() -> bytes:
        return f"{shown(cache, theirs)} {shown(cache, ours)}".encode()

    assert forked(in_the_child) == b"accepted token_replayed"
    assert shown(cache, theirs) == "token_replayed"
    assert shown(cache, fresh()) == "accepted"


def test_a_new_ledger_refuses_what_was_issued_in_its_first_second(
    redis: RedisServer, make: Make
) -> None:
    cache = make(redis.url)
    before = int(time.time())
    cache.warm()
    assert shown(cache, token_of(iat=before)) == "issued_before_ledger"
    assert shown(cache, token_of(iat=int(time.time()) + 1)) == "accepted"


def test_an_api_that_starts_again_refuses_nothing(shared: RedisServer, make: Make) -> None:
    token = fresh(iat=int(time.time()))
    cache = make(shared.url)
    cache.warm()
    assert shown(cache, token) == "accepted"


def test_a_ledger_that_was_flushed_refuses_what_was_issued_before(
    redis: RedisServer, make: Make
) -> None:
    cache = make(redis.url)
    cache.warm()
    tokens = [token_of(str(number)) for number in range(20)]
    assert {shown(cache, token) for token in tokens} == {"accepted"}
    eventually(lambda: time.time() > tokens[-1].issued_at, "no second passes")
    redis.run("FLUSHALL")
    assert {shown(cache, token) for token in tokens} == {"issued_before_ledger"}
    assert shown(cache, token_of("new")) == "accepted"


def test_a_ledger_that_has_begun_anew_begins_everywhere_at_once(
    redis: RedisServer, make: Make
) -> None:
    cache = make(redis.url)
    cache.warm()
    redis.run("FLUSHALL")
    (primary,) = cache._primaries._known.values()
    primary._surveyed -= 2
    for number in range(2):
        shown(cache, token_of(f"another {number}"))
    births = {redis.run("HGET", f"ephemera:{{{part:02x}}}", "birth") for part in range(256)}
    assert None not in births
    assert len(births) <= 2


@pytest.mark.parametrize("persistence", [(), ("--appendonly", "yes", "--appendfsync", "always")])
def test_a_server_that_was_killed_refuses_what_was_issued_before(
    persistence: tuple[str, ...], tmp_path: Path, make: Make
) -> None:
    with RedisServer(tmp_path, *persistence) as redis:
        cache = make(redis.url)
        cache.warm()
        tokens = [token_of(str(number)) for number in range(20)]
        assert {shown(cache, token) for token in tokens[:10]} == {"accepted"}
        redis.kill()
        assert shown(cache, tokens[0]) in {"connection_lost", "connect_failed"}
        eventually(lambda: time.time() > tokens[-1].issued_at, "no second passes")
        redis.start()
        eventually(lambda: shown(cache, tokens[0]) != "connect_failed", "no way back")
        seen = {shown(cache, token) for token in tokens}
        assert seen <= {"issued_before_ledger", "token_replayed"}
        assert shown(cache, token_of("new")) == "accepted"


def replicating(primary: RedisServer, replica: RedisServer, *, port: int | None = None) -> None:
    replica.run("REPLICAOF", "127.0.0.1", port or primary.port)
    eventually(lambda: replica.info("replication").get("master_link_status") == "up", "no replica")


def test_a_failover_that_loses_the_last_claims_refuses_their_tokens(
    tmp_path: Path, make: Make
) -> None:
    options = ("--repl-diskless-sync-delay", "0")
    with RedisServer(tmp_path, *options) as one, RedisServer(tmp_path, *options) as two:
        between = CuttingProxy(one.port, cut_after=(10**9, 10**9))
        replicating(one, two, port=between.port)
        cache = make(one.url)
        cache.warm()
        eventually(lambda: two.run("DBSIZE") == one.run("DBSIZE"), "nothing is replicated")
        between.close()
        token = token_of("lost in the failover")
        assert shown(cache, token) == "accepted"
        eventually(lambda: time.time() > token.issued_at, "no second passes")
        one.kill()
        two.run("REPLICAOF", "NO", "ONE")
        after = make(two.url)
        assert shown(after, token) == "issued_before_ledger"
        assert shown(after, token_of("new")) == "accepted"


def test_a_server_that_was_primary_before_is_a_new_primary_all_the_same(
    tmp_path: Path, make: Make
) -> None:
    options = ("--repl-diskless-sync-delay", "0")
    with RedisServer(tmp_path, *options) as one, RedisServer(tmp_path, *options) as two:
        replicating(one, two)
        cache = make(one.url)
        cache.warm()
        token = token_of("lost meanwhile")
        two.run("REPLICAOF", "NO", "ONE")
        assert shown(cache, token) == "accepted"
        replicating(two, one)
        assert shown(cache, token_of("x")) == "not_primary"
        one.run("REPLICAOF", "NO", "ONE")
        eventually(lambda: time.time() > token.issued_at, "no second passes")
        eventually(lambda: shown(cache, token) == "issued_before_ledger", "not refused", seconds=5)


def test_a_replica_that_is_asked_says_that_it_is_none(tmp_path: Path, make: Make) -> None:
    with RedisServer(tmp_path) as one, RedisServer(tmp_path) as two:
        replicating(one, two)
        assert shown(make(two.url), token_of()) == "not_primary"


def test_too_few_replicas_is_said(redis: RedisServer, make: Make) -> None:
    redis.run("CONFIG", "SET", "min-replicas-to-write", 1)
    assert shown(make(redis.url), token_of()) == "no_replicas"


class LosesReplies(Wire):
    """A connection that carries out what it is told, and then breaks, as often as planned."""

    planned = 0

    def exchange(self, commands: Sequence[Sequence[bytes | str | int]]) -> list[Any]:
        replies = super().exchange(commands)
        if (
            commands[0][0] == "EVALSHA"
            and commands[0][3] != commands[0][4]
            and LosesReplies.planned
        ):
            LosesReplies.planned -= 1
            raise LinkFailed("connection_lost")
        return replies


@pytest.fixture
def losing(cache: RedisReplayCache, shared: RedisServer) -> RedisReplayCache:
    cache._primaries = Primaries(
        server(shared.url, ca_file=None),
        connect=lambda at: LosesReplies(at, timeout=1),
        prefix="ephemera:",
        clock=read,
    )
    return cache


def test_a_claim_whose_reply_was_lost_knows_itself(losing: RedisReplayCache) -> None:
    LosesReplies.planned = 1
    token = fresh()
    assert shown(losing, token) == "accepted"
    assert shown(losing, token) == "token_replayed"


def test_a_claim_whose_outcome_is_unknown_is_no_replay(losing: RedisReplayCache) -> None:
    LosesReplies.planned = 2
    token = fresh()
    assert shown(losing, token) == "connection_lost"
    eventually(lambda: shown(losing, token) == "token_replayed", "not there")


def test_a_lost_reply_does_not_let_another_have_the_token(
    losing: RedisReplayCache, shared: RedisServer, make: Make
) -> None:
    LosesReplies.planned = 1
    token = fresh()
    other = make(shared.url)
    results = []
    threads = [
        threading.Thread(target=lambda by: results.append(shown(by, token)), args=(by,))
        for by in (losing, other)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == ["accepted", "token_replayed"]


def test_connections_cut_at_random_cost_no_second_acceptance(
    shared: RedisServer, make: Make
) -> None:
    proxy = CuttingProxy(shared.port, cut_after=(40_000, 90_000))
    caches = [make(proxy.url), make(proxy.url)]
    tokens = [fresh() for _ in range(400)]
    won: list[str] = []

    def compete(mine: RedisReplayCache) -> None:
        for token in tokens:
            while (outcome := shown(mine, token)) not in {"accepted", "token_replayed"}:
                assert outcome in {"connection_lost", "connect_failed", "timeout"}
            if outcome == "accepted":
                won.append(token.jti)

    threads = [threading.Thread(target=compete, args=(mine,)) for mine in caches]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    proxy.close()
    assert len(won) == len(set(won))
    assert len(won) >= 300
    assert proxy.cuts > 2


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl", "volatile-random"])
def test_a_server_that_may_evict_is_not_used(policy: str, redis: RedisServer, make: Make) -> None:
    redis.run("CONFIG", "SET", "maxmemory-policy", policy)
    cache = make(redis.url)
    with pytest.raises(ReplayCacheUnavailable) as caught:
        cache.warm()
    assert caught.value.cause_code == "evicting"
    assert shown(cache, token_of()) == "evicting"
    redis.run("CONFIG", "SET", "maxmemory-policy", "noeviction")
    eventually(lambda: shown(cache, token_of()) == "accepted", "no way back")


def test_a_server_that_begins_to_evict_is_found_out_within_a_minute(
    redis: RedisServer, make: Make
) -> None:
    cache = make(redis.url)
    assert shown(cache, token_of()) == "accepted"
    redis.run("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    (primary,) = cache._primaries._known.values()
    primary._surveyed -= 60
    assert shown(cache, token_of("two")) == "evicting"


def test_a_full_server_accepts_nothing_and_forgets_nothing(redis: RedisServer, make: Make) -> None:
    cache = make(redis.url)
    cache.warm()
    assert shown(cache, token_of()) == "accepted"
    redis.run("CONFIG", "SET", "maxmemory", 1)
    assert shown(cache, token_of("two")) == "full"
    redis.run("CONFIG", "SET", "maxmemory", 0)
    assert shown(cache, token_of("two")) == "accepted"
    assert shown(cache, token_of()) == "token_replayed"


def test_scripts_that_were_flushed_are_loaded_again(redis: RedisServer, make: Make) -> None:
    cache = make(redis.url)
    assert shown(cache, token_of()) == "accepted"
    redis.run("SCRIPT", "FLUSH")
    assert shown(cache, token_of("two")) == "accepted"


def test_a_server_that_hangs_costs_the_deadline_once_and_then_nothing(
    redis: RedisServer, make: Make
) -> None:
    cache = make(redis.url, deadline=0.3)
    cache.warm()
    redis.freeze()
    began = time.monotonic()
    results = [shown(cache, token_of(str(number))) for number in range(300)]
    took = time.monotonic() - began
    redis.thaw()
    assert set(results) == {"timeout"}
    assert took < 300 * 0.3 / 10
    eventually(lambda: shown(cache, token_of("new")) == "accepted", "no way back")


def test_a_dead_server_is_not_asked_for_each_claim(make: Make) -> None:
    cache = make(f"redis://127.0.0.1:{closed_port()}")
    asked: list[Any] = []

    def connect(at: Any) -> Wire:
        asked.append(at)
        return Wire(at, timeout=1)

    cache._primaries._connect = connect
    assert {shown(cache, token_of(str(number))) for number in range(500)} == {"connect_failed"}
    assert len(asked) < 20


def test_a_name_that_means_nothing_is_said(make: Make) -> None:
    assert shown(make("redis://redis.invalid"), token_of()) == "dns_failed"


@pytest.mark.parametrize("label", ["a" * 64, "b..c"])
def test_a_name_that_cannot_be_one_is_said_each_time(label: str, make: Make) -> None:
    cache = make(f"redis://{label}.example", deadline=5)
    for _ in range(3):
        eventually(lambda: shown(cache, token_of()) == "dns_failed", "another code")


def test_an_error_that_nobody_foresaw_stops_no_later_claim(
    shared: RedisServer, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    raised: list[threading.ExceptHookArgs] = []
    monkeypatch.setattr(threading, "excepthook", raised.append)
    cache = make(shared.url, deadline=5)
    planned = [ZeroDivisionError(), ZeroDivisionError()]

    def connect(at: Any) -> Wire:
        if planned:
            raise planned.pop()
        return Wire(at, timeout=5)

    cache._primaries._connect = connect
    assert shown(cache, token_of()) == "failed"
    eventually(lambda: shown(cache, fresh()) == "accepted", "no way back")
    assert [one.exc_type for one in raised] == [ZeroDivisionError] * 2


def test_over_tls_only_the_named_authority_and_the_named_host_will_do(
    shared: RedisServer, make: Make, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    good, other = certificate(tmp_path), certificate(tmp_path / "other", name="redis.internal")
    front, elsewhere = TlsFront(shared.port, good.tls), TlsFront(shared.port, other.tls)
    url = f"rediss://127.0.0.1:{front.port}"
    assert shown(make(url), fresh()) == "tls_unknown_authority"
    assert shown(make(url, ca_file=other.file), fresh()) == "tls_unknown_authority"
    misnamed = make(f"rediss://127.0.0.1:{elsewhere.port}", ca_file=other.file)
    assert shown(misnamed, fresh()) == "tls_host_mismatch"
    trusted = make(url, ca_file=good.file, deadline=5)
    token = fresh()
    assert [shown(trusted, token), shown(trusted, token)] == ["accepted", "token_replayed"]
    trusted.close()
    front.close()
    elsewhere.close()


def test_a_server_with_a_password_wants_it_and_errors_do_not_tell_it(
    tmp_path: Path, make: Make
) -> None:
    with RedisServer(tmp_path) as redis:
        redis.run("CONFIG", "SET", "requirepass", "open sesame")
        for user in ("", ":wrong@"):
            assert shown(make(f"redis://{user}127.0.0.1:{redis.port}"), token_of()) == "auth_failed"
        cache = make(f"redis://:open%20sesame@127.0.0.1:{redis.port}/3")
        assert shown(cache, token_of()) == "accepted"
        assert repr(cache) == f"RedisReplayCache('127.0.0.1:{redis.port}')"


def test_a_unix_socket_leads_to_the_same_ledger(
    shared: RedisServer, cache: RedisReplayCache, make: Make
) -> None:
    token = fresh()
    cache.claim(token, read())
    near = make(f"unix://{shared.directory}/redis.sock")
    assert shown(near, token) == "token_replayed"


@pytest.fixture(scope="module")
def moved_clock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return moved_clock_library(tmp_path_factory.mktemp("clock"))


@pytest.fixture
def clocked(tmp_path: Path, moved_clock: Path) -> Iterator[ClockedServer]:
    with ClockedServer(tmp_path, moved_clock) as running:
        yield running


def now(ahead: float = 0) -> Instant:
    wall, monotonic = read()
    return Instant(wall + ahead, monotonic)


def test_a_verifier_whose_clock_is_set_back_is_not_served(
    cache: RedisReplayCache,
) -> None:
    token = fresh()
    cache.claim(token, read())
    assert shown(cache, token, now(-3600)) == "clocks_differ"
    assert shown(cache, fresh(), now(3600)) == "clocks_differ"
    assert shown(cache, token) == "token_replayed"


@pytest.mark.parametrize("ahead", [-3600, 3600])
def test_a_server_whose_clock_is_wrong_begins_no_ledger(
    ahead: int, clocked: ClockedServer, make: Make
) -> None:
    cache = make(clocked.url)
    cache.warm()
    token = token_of()
    assert shown(cache, token) == "accepted"
    eventually(lambda: time.time() > token.issued_at, "no second passes")
    clocked.set(ahead)
    clocked.run("FLUSHALL")
    assert shown(cache, token) == "clocks_differ"
    clocked.set(0)
    assert shown(cache, token) == "issued_before_ledger"


def test_a_clock_that_leapt_ahead_and_back_revives_nothing(
    clocked: ClockedServer, make: Make
) -> None:
    cache = make(clocked.url)
    cache.warm()
    token = token_of()
    assert shown(cache, token) == "accepted"
    clocked.set(3600)
    eventually(lambda: clocked.run("DBSIZE") == 256, "nothing was dropped")
    assert shown(cache, token) == "clocks_differ"
    clocked.set(0)
    assert shown(cache, token) == "issued_before_ledger"
    assert shown(cache, token_of("ends later", lifetime=300)) == "accepted"


def test_an_hour_that_all_clocks_go_through_twice_revives_nothing(
    clocked: ClockedServer, make: Make
) -> None:
    ahead = 0
    cache = make(clocked.url, clock=lambda: now(ahead))
    cache.warm()
    token = token_of()
    assert shown(cache, token) == "accepted"
    ahead = 3600
    clocked.set(ahead)
    eventually(lambda: clocked.run("DBSIZE") == 256, "nothing was dropped")
    later = token._replace(jti="later", issued_at=token.issued_at + 3600, expires_at=2**33)
    for number in range(1000):
        assert shown(cache, later._replace(jti=f"{number}"), now(ahead)) == "accepted"
    ahead = 0
    clocked.set(ahead)
    assert shown(cache, token) == "issued_before_ledger"


def test_an_id_is_kept_for_a_minute_past_its_end(
    shared: RedisServer, cache: RedisReplayCache
) -> None:
    token = fresh(lifetime=100)
    cache.claim(token, now(20))
    key = f"ephemera:{{{token.key[0]:02x}}}:".encode() + token.key
    assert 158 <= shared.run("TTL", key) <= 160


def test_what_is_long_over_leaves_all_the_same(redis: RedisServer, make: Make) -> None:
    cache = make(redis.url)
    cache.warm()
    assert shown(cache, token_of(lifetime=-1000)) == "accepted"
    eventually(lambda: redis.run("DBSIZE") == 256, "it stays")


@pytest.mark.parametrize(
    "arguments",
    [
        {"url": ""},
        {"url": 7},
        {"url": "http://127.0.0.1"},
        {"url": "redis://"},
        {"url": "unix://"},
        {"url": "redis://127.0.0.1/x"},
        {"url": "redis://127.0.0.1:99999"},
        {"url": "redis://127.0.0.1?retry_on_timeout=yes"},
        {"url": "redis://127.0.0.1", "deadline": 0},
        {"url": "redis://127.0.0.1", "deadline": 61},
        {"url": "redis://127.0.0.1", "deadline": True},
        {"url": "redis://127.0.0.1", "prefix": ""},
        {"url": "redis://127.0.0.1", "prefix": "{one}"},
        {"url": "redis://127.0.0.1", "ca_file": "ca.pem"},
        {"url": "rediss://127.0.0.1", "ca_file": "/none.pem"},
    ],
)
def test_an_argument_that_makes_no_sense_is_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        RedisReplayCache(**arguments)


def test_a_wrong_url_is_not_quoted_with_its_password() -> None:
    with pytest.raises(ConfigurationError) as caught:
        RedisReplayCache("redis://:sesame@127.0.0.1:99999")
    assert "sesame" not in f"{caught.value!r} {caught.value.__cause__!r}"


def test_a_verifier_says_that_its_tokens_are_accepted_once_in_the_fleet(
    cache: RedisReplayCache,
) -> None:
    key = signing_key("ES256")
    at = int(time.time())
    verifier = verifier_of(key, clock=ManualClock(at), replay_cache=cache)
    raw = mint(key, iat=at, exp=at + 60, jti=f"verified at {time.time()}")
    assert verifier.verify(raw).client_id == "orders"
    with pytest.raises(TokenReplayed):
        verifier.verify(raw)
    assert verifier.status().accepted_once == "fleet"
