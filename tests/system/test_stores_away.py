"""What an issuer needs goes away under load and comes back: the database, the ledger in Redis."""

from __future__ import annotations

import signal
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING

import httpx
import pytest
from client.fixtures_redis import RedisServer, moved_clock_library
from issuer.fixtures_postgresql import PostgresServer
from system.changes import begin
from system.changing import Changers, Kills, all_is_there, held_in, looking
from system.deployment import USED, Deployment
from system.faults import deployment_on
from system.history import Stage
from system.killable import Aim
from system.loading import Load
from system.restarting import EXPIRED, stays_true

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CRASHES = 4
FORGOTTEN = (401, "assertion was issued before this ledger began; make a new one")


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """A server of this module, to be stopped at will."""
    made = PostgresServer()
    yield made
    made.end()


def test_a_server_that_crashes_inside_commits_loses_nothing_that_was_acknowledged(
    server: PostgresServer, tmp_path: Path
) -> None:
    url, sealing_key_file = server.new(), tmp_path / "sealing-key"
    begin(url, sealing_key_file)
    first, looks = held_in(url), Kills()
    changers = Changers(url, sealing_key_file, seed=1)
    try:
        with looking(url, looks) as wrong:
            for number in range(CRASHES):
                changers.wait_for(2)
                stage = (Stage.OPEN, Stage.COMMITTING)[number % 2]
                changers.strike(
                    number % 3, Aim(stage, 0), partial(server.process.send_signal, signal.SIGQUIT)
                )
                server.process.wait(60)
                server.start()
            changers.wait_for(2)
    finally:
        changers.kill_all()
    assert wrong == []
    all_is_there(url, sealing_key_file, changers, first)
    stages = Counter(write.stage.name for write in changers.writes)
    print(f"{CRASHES} crashes: {dict(stages)}")  # noqa: T201 - what they hit is the result
    assert stages["UNDONE"] + stages["UNKNOWN"] >= CRASHES


def test_without_its_database_an_issuer_mints_for_thirty_seconds_and_recovers_alone(
    server: PostgresServer, tmp_path: Path
) -> None:
    deployment = deployment_on(tmp_path, server)
    clock = tmp_path / "offset"
    clock.write_text("0")
    moved = {"LD_PRELOAD": str(moved_clock_library(tmp_path)), "MOVED_CLOCK": str(clock)}
    with (
        deployment.start(**moved) as service,
        httpx.Client(base_url=service.url, trust_env=False, timeout=60) as http,
    ):
        with Load(deployment, service.url) as load:
            load.wait_for(10)
            load.wait_for(2, kind="revocation")
            server.stop()
            # Tokens need no database; to revoke one does.
            load.wait_for(20)
            load.wait_for(2, kind="revocation", status=503)
            assert {status for kind, status in load.statuses if kind != "revocation"} == {200}
            clock.write_text("31")
            load.wait_for(10, status=503)
            load.wait_for(2, kind="secret", status=503)
            assert http.get("/readyz").status_code == 503
            assert http.get("/.well-known/jwks.json").status_code == 200
            server.start()
            load.wait_for(10)
            load.wait_for(2, kind="revocation")
            assert http.get("/readyz").status_code == 200
        assert {status for _, status in load.statuses} == {200, 503}
        assert all("'retry-after': '1'" in said for said in load.unexpected)
        stays_true(service.url, load.take())
        assert service.stop() == 0, "".join(service.output)


def test_without_redis_only_what_needs_it_is_refused_and_no_spent_assertion_is_good_again(
    tmp_path: Path,
) -> None:
    deployment = Deployment(tmp_path, EPHEMERA_WORKERS="2")
    with (
        RedisServer(tmp_path) as redis,
        deployment.start(EPHEMERA_REPLAY_URL=redis.url) as service,
        Load(deployment, service.url) as load,
    ):
        for frozen in (False, True, False):
            load.wait_for(20)
            redis.freeze() if frozen else redis.kill()
            load.wait_for(5, status=503)
            load.wait_for(5, kind="secret")
            redis.thaw() if frozen else redis.start()
            load.wait_for(10)
            remembered = load.take()
            assert len(remembered.spent) >= 20
            assert remembered.unanswered
            stays_true(service.url, remembered, refusals={USED, EXPIRED, FORGOTTEN})
        assert {status for kind, status in load.statuses if kind != "assertion"} == {200}
        # 401: made before Redis was, which has begun anew.
        assert {status for _, status in load.statuses} <= {200, 401, 503}
        assert all("'retry-after': '1'" in said for said in load.unexpected if " 503 " in said)
        assert all(FORGOTTEN[1] in said for said in load.unexpected if " 401 " in said)
