"""The audit of real processes: each answer has its record, whoever is killed, wherever it is kept."""

from __future__ import annotations

import json
import random
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from issuer.fixtures_minting import claims
from system.deployment import AUDIENCE, Deployment, eventually, kill, workers_of
from system.running import threads_client

if TYPE_CHECKING:
    from pathlib import Path

    from issuer.fixtures_postgresql import PostgresServer

    from ephemera_issuer.demo.process import Service

CALLERS = 4
KILLS = 6


class Callers:
    """Ask for tokens from several threads until told to stop, and keep what was answered."""

    def __init__(self, deployment: Deployment, service: Service) -> None:
        self.jtis: list[str] = []
        self.refused = 0
        self.lost = 0
        self._deployment = deployment
        self._service = service
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._call) for _ in range(CALLERS)]

    def __enter__(self) -> Callers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _call(self) -> None:
        deployment, url = self._deployment, self._service.url
        with threads_client(1, base_url=url) as http:
            for number in range(1_000_000):
                if self._stop.is_set():
                    return
                wrong = number % 5 == 4
                scope = "invoices:write" if wrong else "invoices:read"
                form = {"grant_type": "client_credentials", "resource": AUDIENCE, "scope": scope}
                try:
                    answer = http.post(
                        "/oauth2/token", data=form, auth=("reports", deployment.secret)
                    )
                except httpx.TransportError:
                    self.lost += 1
                    if self._service.process.poll() is not None:
                        return
                    continue
                if answer.status_code == 200:
                    self.jtis.append(claims(answer.json()["access_token"])["jti"])
                else:
                    assert answer.status_code == 400
                    self.refused += 1


def records(deployment: Deployment, **settings: str) -> list[dict[str, Any]]:
    told = deployment.run("ephemera_issuer", "audit", "search", "--json", **settings)
    return [json.loads(line) for line in told.splitlines()]


def whole(deployment: Deployment, *more: str, **settings: str) -> dict[str, Any]:
    report = deployment.run("ephemera_issuer", "audit", "verify", "--json", *more, **settings)
    document: dict[str, Any] = json.loads(report)
    assert document["whole"]
    return document


def digests(told: list[dict[str, Any]]) -> list[str]:
    return [jti for each in told if each["kind"] == "minted" for jti in each["jti"]]


@pytest.fixture(params=["file:audit", "database", "database on a server"])
def audited(request: pytest.FixtureRequest, tmp_path: Path) -> Deployment:
    """A deployment with an audit of each kind."""
    kept, _, server = request.param.partition(" on a ")
    settings = {"EPHEMERA_AUDIT": kept.replace(":", f":{tmp_path}/")}
    if server:
        postgres: PostgresServer = request.getfixturevalue("postgres")
        settings |= {
            "EPHEMERA_DATABASE_URL": postgres.new(),
            "EPHEMERA_SEALING_KEY_FILE": str(tmp_path / "sealing-key"),
            "EPHEMERA_REPLAY_URL": f"sqlite:///{tmp_path / 'spent.db'}",
        }
        (tmp_path / "sealing-key").touch()
    deployment = Deployment(tmp_path, **settings)
    if server:
        (tmp_path / "sealing-key").unlink()
        deployment.run("ephemera_issuer", "keys", "new-sealing-key", "sealing-key")
    return deployment


def test_two_workers_record_each_token_and_each_refusal_and_nothing_else(
    audited: Deployment,
) -> None:
    with audited.start("--workers", "2") as service:
        with Callers(audited, service) as callers:
            eventually(lambda: len(callers.jtis) > 300, "no tokens")
        audited.run("ephemera_issuer", "clients", "disable", "orders")
        assert service.stop() == 0
    assert callers.lost == 0
    report = whole(audited)
    told = records(audited)
    assert report["records"] == len(told)
    assert sorted(digests(told)) == sorted(sha256(jti.encode()).hexdigest() for jti in callers.jtis)
    refused = [each for each in told if each["kind"] == "refused"]
    assert len(refused) == callers.refused
    assert {(each["client"], each["rule"]) for each in refused} == {
        ("reports", "scope_not_granted")
    }
    assert [each["id"] for each in told if each.get("action") == "change"] == ["orders"]


def test_a_killed_issuer_leaves_whole_records_that_the_next_goes_on_with(
    audited: Deployment,
) -> None:
    """Of the tokens that were sent, at most the last moment's lack a record."""
    moments = random.Random(20261127)  # noqa: S311 - moments, not secrets
    sent: list[str] = []
    recorded: set[str] = set()
    for _ in range(KILLS):
        with audited.start() as service, Callers(audited, service) as callers:
            eventually(lambda c=callers: len(c.jtis) > 20, "no tokens")  # type: ignore[misc]
            time.sleep(moments.uniform(0, 0.15))
            kill(service.process.pid)
            service.process.wait()
        sent += callers.jtis
        whole(audited)
    with audited.start() as service:
        with Callers(audited, service) as callers:
            eventually(lambda: len(callers.jtis) > 20, "no tokens")
        assert service.stop() == 0
    report = whole(audited)
    recorded = set(digests(records(audited)))
    last = {sha256(jti.encode()).hexdigest() for jti in callers.jtis}
    assert last <= recorded
    lost = {sha256(jti.encode()).hexdigest() for jti in sent} - recorded
    print(  # noqa: T201 - what the kills cost is part of the result
        f"{report['records']} records, {len(sent)} tokens before {KILLS} kills, {len(lost)} lost"
    )
    assert len(lost) < len(sent)


def test_before_the_answer_no_kill_costs_a_record(tmp_path: Path) -> None:
    deployment = Deployment(
        tmp_path,
        EPHEMERA_AUDIT=f"file:{tmp_path}/audit",
        EPHEMERA_AUDIT_BEFORE_ANSWER="true",
    )
    moments = random.Random(20261128)  # noqa: S311 - moments, not secrets
    with deployment.start("--workers", "2") as service:
        with Callers(deployment, service) as callers:
            for number in range(KILLS):
                goal = 40 * (number + 1)
                eventually(lambda g=goal: len(callers.jtis) > g, "no tokens")  # type: ignore[misc]
                time.sleep(moments.uniform(0, 0.05))
                kill(moments.choice(workers_of(service)))
                eventually(lambda: len(workers_of(service)) == 2, "no worker came in its place")
        assert service.stop() == 0
    whole(deployment)
    told = records(deployment)
    recorded = digests(told)
    assert {sha256(jti.encode()).hexdigest() for jti in callers.jtis} <= set(recorded)
    assert len(recorded) == len(set(recorded))
    assert [each for each in told if each.get("after") == "a process that did not end in order"]


def test_an_issuer_whose_disk_is_full_goes_on_until_the_queue_is_full_and_then_stops(
    tmp_path: Path,
) -> None:
    deployment = Deployment(
        tmp_path,
        EPHEMERA_AUDIT=f"file:{tmp_path}/audit",
        EPHEMERA_AUDIT_WHEN_BEHIND="stop",
    )
    with deployment.start(module="system.short_of_disk") as service:
        with httpx.Client(trust_env=False) as http, ThreadPoolExecutor(CALLERS) as threads:
            form = {"grant_type": "client_credentials", "resource": AUDIENCE, "count": "100"}

            def ask(_: int) -> httpx.Response:
                return http.post(
                    f"{service.url}/oauth2/token", data=form, auth=("reports", deployment.secret)
                )

            first = ask(0)
            assert first.status_code == 200
            answers = [first]
            while answers[-1].status_code == 200:
                answers += threads.map(ask, range(CALLERS))
                assert len(answers) < 1000
            stopped = answers[-1]
            assert stopped.status_code == 503
            assert stopped.headers["retry-after"] == "1"
            assert stopped.json()["error_description"] == "the audit cannot keep up"
            # There is room again.
            service.process.send_signal(signal.SIGUSR1)

            def again() -> bool:
                answers.append(ask(0))
                return answers[-1].status_code == 200

            eventually(again, "it did not go on")
        assert service.stop() == 0
    assert any("audit_not_written" in line for line in service.output)
    assert any("audit_written_again" in line for line in service.output)
    whole(deployment)
    told = records(deployment)
    minted = [answer for answer in answers if answer.status_code == 200]
    assert len(digests(told)) == 100 * len(minted)
    away = sum(each["count"] for each in told if each["kind"] == "turned_away")
    assert away == len(answers) - len(minted) > 0


def test_an_issuer_that_must_end_with_a_full_disk_says_how_many_records_are_lost(
    tmp_path: Path,
) -> None:
    deployment = Deployment(tmp_path, EPHEMERA_AUDIT=f"file:{tmp_path}/audit")
    with deployment.start(module="system.short_of_disk") as service:
        with httpx.Client(trust_env=False) as http:
            # What is written before the limit is found out is durable.
            eventually(
                lambda: (
                    deployment.ask(http, service.url).status_code == 200
                    and any("audit_not_written" in line for line in service.output)
                ),
                "the disk was not full",
            )
        assert service.stop() == 1
    assert "records could not be written and are lost" in service.output[-1]
    whole(deployment)
