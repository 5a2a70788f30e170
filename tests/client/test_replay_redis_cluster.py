import contextlib
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
from client.fixtures_redis import cluster, eventually, move_slot, shown, token_of

from ephemera_client import Claim, RedisReplayCache, ReplayCacheUnavailable
from ephemera_client.replay.redis_cluster import _SLOT_OF

FINAL = frozenset({"accepted", "token_replayed", "issued_before_ledger"})


class Race:
    """Two caches that are shown each token at once, again and again until its fate is known."""

    def __init__(self, caches: list[RedisReplayCache]) -> None:
        self.accepted: Counter[str] = Counter()
        self.tokens: list[Claim] = []
        self.passing: Counter[str] = Counter()
        self._caches = caches
        self._over = threading.Event()
        self._barrier = threading.Barrier(len(caches), action=self._mint)
        self._threads = [
            threading.Thread(target=self._compete, args=(it,), daemon=True) for it in caches
        ]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(60)

    def _mint(self) -> None:
        now = int(time.time())
        count = 0 if self._over.is_set() else 50
        self.tokens = [token_of(f"{time.monotonic()} {number}", iat=now) for number in range(count)]

    def _compete(self, cache: RedisReplayCache) -> None:
        while self._barrier.wait(60) >= 0 and self.tokens:
            for token in self.tokens:
                give_up_at = time.monotonic() + 0.5
                while (outcome := shown(cache, token)) not in FINAL and not self._over.is_set():
                    self.passing[outcome] += 1
                    if time.monotonic() > give_up_at:
                        break
                    time.sleep(0.002)
                if outcome == "accepted":
                    self.accepted[token.jti] += 1


def serves(cache: RedisReplayCache) -> bool:
    return all(shown(cache, token_of(f"{time.time()} {n}")) == "accepted" for n in range(60))


def test_a_cluster_of_three_loses_a_primary_and_moves_slots_during_claims(tmp_path: Path) -> None:
    with (
        cluster(tmp_path, replicas=1) as nodes,
        RedisReplayCache(nodes[1].url) as one,
        RedisReplayCache(nodes[2].url) as two,
        contextlib.ExitStack() as stack,
    ):
        one.warm()
        two.warm()
        eventually(lambda: serves(one) and serves(two), "no cluster")
        old = [token_of(f"old {number}") for number in range(300)]
        assert {shown(one, token) for token in old} == {"accepted"}
        assert {shown(two, token) for token in old} == {"token_replayed"}
        assert all(int(node.run("DBSIZE")) > 100 for node in nodes[:3])
        eventually(lambda: time.time() > old[-1].issued_at, "no second passes")

        race = stack.enter_context(contextlib.closing(Race([one, two])))
        moving = [slot for slot in _SLOT_OF if slot <= 16384 // 3][:12]
        for slot in moving:
            move_slot(slot, nodes[:3], nodes[0], nodes[1])
        eventually(lambda: serves(one) and serves(two), "not served after the move")
        moved_by = len(race.accepted)
        refused = {shown(it, token) for token in old for it in (one, two)}
        assert refused <= {"token_replayed", "issued_before_ledger"}

        nodes[0].kill()
        eventually(lambda: serves(one) and serves(two), "not served after the failover")
        race.close()
        refused = {shown(it, token) for token in old for it in (one, two)}
        assert refused <= {"token_replayed", "issued_before_ledger"}
        assert set(race.accepted.values()) == {1}
        assert len(race.accepted) > moved_by > 0
        assert race.passing["connect_failed"]


def test_one_primary_that_may_evict_is_enough_to_say_so(tmp_path: Path) -> None:
    with cluster(tmp_path) as nodes, RedisReplayCache(nodes[0].url) as cache:
        nodes[2].run("CONFIG", "SET", "maxmemory-policy", "allkeys-random")
        with pytest.raises(ReplayCacheUnavailable) as caught:
            cache.warm()
        assert caught.value.cause_code == "evicting"
        outcomes = {shown(cache, token_of(str(number))) for number in range(100)}
        assert outcomes == {"accepted", "evicting"}


def test_a_slot_that_stays_half_moved_is_waited_for_no_longer_than_the_deadline(
    tmp_path: Path,
) -> None:
    with cluster(tmp_path) as nodes, RedisReplayCache(nodes[0].url, deadline=1) as cache:
        cache.warm()
        token = token_of()
        slot = _SLOT_OF[token.key[0]]
        source = nodes[slot * 3 // 16384]
        sink = nodes[(slot * 3 // 16384 + 1) % 3]
        sink.run("CLUSTER", "SETSLOT", slot, "IMPORTING", source.run("CLUSTER", "MYID"))
        source.run("CLUSTER", "SETSLOT", slot, "MIGRATING", sink.run("CLUSTER", "MYID"))
        assert shown(cache, token) == "slot_moving"
        source.run("CLUSTER", "SETSLOT", slot, "STABLE")
        assert shown(cache, token) == "accepted"
