import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from client import fixtures_fleet
from client.fixtures_claiming import start
from client.fixtures_redis import CuttingProxy, RedisServer, eventually
from client.fixtures_verifying import mint, signing_key

from ephemera_client.replay.redis_primary import PARTITIONS


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path) as running:
        yield running


class Fleet:
    """Two API processes."""

    def __init__(self, url: str) -> None:
        key = signing_key("ES256")
        self._apis = [start(fixtures_fleet.serve, url, key.jwk) for _ in range(2)]
        for _, connection in self._apis:
            assert connection.recv() == "ready"

    def show(self, count: int, *, meanwhile: threading.Thread | None = None) -> Counter[int]:
        """Mint so many tokens, show each to both at once, and count its acceptances."""
        now = int(time.time())
        tokens = [mint(iat=now, exp=now + 120) for _ in range(count)]
        if meanwhile is not None:
            meanwhile.start()
        for _, connection in self._apis:
            connection.send(tokens)
        accepted: Counter[int] = Counter()
        for _, connection in self._apis:
            accepted.update(connection.recv())
        return accepted

    def close(self) -> None:
        for process, connection in self._apis:
            connection.send(None)
            process.join(10)
            assert process.exitcode == 0


def next_second() -> None:
    time.sleep(1.01 - time.time() % 1)


def test_of_two_apis_behind_one_redis_one_accepts_each_of_10_000_tokens(
    redis: RedisServer,
) -> None:
    fleet = Fleet(redis.url)
    next_second()
    accepted = fleet.show(10_000)
    fleet.close()
    assert len(accepted) == 10_000
    assert set(accepted.values()) == {1}


def test_connections_cut_at_random_moments_let_no_token_be_accepted_twice(
    redis: RedisServer,
) -> None:
    proxy = CuttingProxy(redis.port, cut_after=(50_000, 200_000))
    fleet = Fleet(proxy.url)
    next_second()
    accepted = fleet.show(10_000)
    fleet.close()
    proxy.close()
    assert set(accepted.values()) == {1}
    assert len(accepted) > 9_000
    assert proxy.cuts > 5


def test_a_redis_that_is_killed_and_started_again_lets_no_token_be_accepted_twice(
    redis: RedisServer,
) -> None:
    fleet = Fleet(redis.url)
    next_second()
    total = 0
    for claims in (40, 600, 200, 1200, 900):

        def restart(at: int = PARTITIONS + claims) -> None:
            eventually(lambda: redis.run("DBSIZE") >= at, "too few claims")
            redis.kill()
            redis.start()

        killer = threading.Thread(target=restart)
        accepted = fleet.show(2_000, meanwhile=killer)
        killer.join()
        next_second()
        assert set(accepted.values()) == {1}
        total += len(accepted)
    assert 0 < total < 10_000
    assert len(fleet.show(100)) == 100
    fleet.close()
