"""Several processes behind one listener: one ledger, deaths that nobody notices, orderly ends."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Self

import httpx
import pytest
from client.fixtures_redis import RedisServer
from system.deployment import (
    ISSUER,
    USED,
    Deployment,
    eventually,
    has_ended,
    kill,
    workers_of,
)

from ephemera_issuer.demo.process import Service, ServiceFailed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

AT_ONCE = 50
TIMES = 5
CALLERS = 4


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    return Deployment(tmp_path_factory.mktemp("issuer"))


class Load:
    """Callers that ask for tokens without a break, and what they got."""

    def __init__(self, deployment: Deployment, url: str, *, keep_alive: bool) -> None:
        self.url = url
        self.statuses: list[int] = []
        self.refused = 0
        self.lost: list[str] = []
        self.stop = threading.Event()
        self._deployment = deployment
        kept = CALLERS if keep_alive else 0
        self._limits = httpx.Limits(max_connections=CALLERS, max_keepalive_connections=kept)

    def __enter__(self) -> Self:
        self._threads = [threading.Thread(target=self._call) for _ in range(CALLERS)]
        for thread in self._threads:
            thread.start()
        self.wait_for(50)
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        for thread in self._threads:
            thread.join()

    def wait_for(self, more: int) -> None:
        enough = len(self.statuses) + more
        eventually(lambda: len(self.statuses) >= enough, f"no answers: {self.lost}")

    def _call(self) -> None:
        with httpx.Client(trust_env=False, timeout=30, limits=self._limits) as http:
            while not self.stop.is_set():
                try:
                    answer = self._deployment.ask(http, self.url)
                except httpx.ConnectError:
                    self.refused += 1
                    self.stop.wait(0.05)
                except httpx.TransportError as error:
                    self.lost.append(repr(error))
                else:
                    self.statuses.append(answer.status_code)


@pytest.fixture(params=["sqlite", "redis"])
def shared(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[dict[str, str]]:
    """Settings for the ledger that the workers share."""
    if request.param == "sqlite":
        yield {}
        return
    with RedisServer(tmp_path) as redis:
        yield {"EPHEMERA_REPLAY_URL": redis.url}


def test_of_fifty_requests_with_one_assertion_at_two_workers_exactly_one_succeeds(
    deployment: Deployment, shared: dict[str, str]
) -> None:
    with deployment.start("--workers", "2", **shared) as service:
        # In Redis a ledger is young for a second, and refuses what is older than itself.
        eventually(
            lambda: deployment.ask_at_once([service.url], deployment.form(), 1) == [(200, "")],
            "no assertion is taken",
        )
        for _ in range(TIMES):
            answers = deployment.ask_at_once([service.url], deployment.form(), AT_ONCE)
            assert sorted(answers) == [(200, ""), *[USED] * (AT_ONCE - 1)]
        assert service.stop() == 0, "".join(service.output)


def test_the_serving_line_is_written_once_when_all_workers_answer(deployment: Deployment) -> None:
    with deployment.start("--workers", "3") as service:
        workers = workers_of(service)
        assert len(workers) == 3
        assert httpx.get(f"{service.url}/readyz", trust_env=False).status_code == 200
        assert service.stop() == 0
        assert all(has_ended(pid) for pid in workers)
    (line,) = service.output
    begins = f"ephemera: serving {ISSUER} (listening on {service.url}), private listener on http://"
    assert line.startswith(begins)


@pytest.mark.parametrize(
    ("number", "workers", "keep_alive"),
    [
        (signal.SIGTERM, 1, False),
        (signal.SIGTERM, 1, True),
        (signal.SIGTERM, 2, False),
        (signal.SIGTERM, 2, True),
        (signal.SIGINT, 2, False),
    ],
)
def test_under_load_a_signal_to_end_loses_no_request(
    deployment: Deployment, number: signal.Signals, *, workers: int, keep_alive: bool
) -> None:
    with deployment.start("--workers", str(workers)) as service:
        children = workers_of(service)
        with Load(deployment, service.url, keep_alive=keep_alive) as load:
            service.process.send_signal(number)
            assert service.process.wait(30) == 0, "".join(service.output)
            eventually(lambda: load.refused > 0, "still taken")
        assert load.lost == []
        assert set(load.statuses) == {200}
        assert all(has_ended(pid) for pid in children)
    assert len(service.output) == 1, "".join(service.output)


def is_replaced(service: Service, victim: int) -> bool:
    return len(set(workers_of(service)) - {victim}) == 2


def test_a_worker_that_is_killed_under_load_is_replaced_and_the_others_go_on(
    deployment: Deployment,
) -> None:
    with deployment.start("--workers", "2") as service:
        with Load(deployment, service.url, keep_alive=True) as load:
            for _ in range(3):
                victim, other = workers_of(service)
                kill(victim)
                eventually(partial(is_replaced, service, victim), "not replaced")
                assert other in workers_of(service)
                load.wait_for(50)
        assert load.refused == 0
        assert set(load.statuses) == {200}
        # Only what was on its way to or from the one that was killed.
        assert len(load.lost) <= 3 * CALLERS
        assert service.stop() == 0, "".join(service.output)
    logged = [json.loads(line) for line in service.output if line.startswith("{")]
    assert [entry["event"] for entry in logged] == ["worker_died"] * 3
    assert {entry["status"] for entry in logged} == {-signal.SIGKILL}


def test_workers_whose_parent_is_killed_end_by_themselves_and_give_the_port_back(
    deployment: Deployment,
) -> None:
    with deployment.start("--workers", "2") as service:
        workers = workers_of(service)
        with Load(deployment, service.url, keep_alive=True) as load:
            kill(service.process.pid)
            eventually(lambda: all(map(has_ended, workers)), "orphans")
            eventually(lambda: load.refused > 0, "still taken")
        assert set(load.statuses) == {200}
        assert service.process.wait(10) == -signal.SIGKILL


def test_first_starts_at_once_make_one_set_of_keys(tmp_path: Path) -> None:
    deployment = Deployment(tmp_path)
    together = threading.Barrier(3)

    def start(_: int) -> Service:
        together.wait()
        return deployment.start("--workers", "2")

    with ThreadPoolExecutor(3) as threads:
        services = list(threads.map(start, range(3)))
    try:
        documents = {
            httpx.get(f"{service.url}/.well-known/jwks.json", trust_env=False).content
            for service in services
            for _ in range(4)
        }
        (document,) = documents
        assert len(json.loads(document)["keys"]) == 2
    finally:
        assert [service.stop() for service in services] == [0] * 3


def test_what_cannot_start_is_told_once(deployment: Deployment) -> None:
    wrong = {"EPHEMERA_SEALING_KEY_FILE": str(deployment.folder / "registry.toml")}
    with pytest.raises(ServiceFailed) as caught:
        deployment.start("--workers", "3", **wrong)
    assert str(caught.value).count("sealing key") == 1


def test_development_is_one_process(deployment: Deployment) -> None:
    arguments = ["serve", "--dev", "registry.toml", "--workers", "2"]
    with pytest.raises(subprocess.CalledProcessError) as caught:
        deployment.run("ephemera_issuer", *arguments)
    assert caught.value.stderr == (
        "ephemera: EPHEMERA_WORKERS: is 2, and --dev is for one process\n"
    )
