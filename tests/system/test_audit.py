"""The audit of real processes: each answer has its record, whoever is killed meanwhile."""

from __future__ import annotations

import random
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Self

import httpx
import pytest
from issuer.fixtures_minting import claims
from system.deployment import AUDIENCE, Deployment, eventually, kill, workers_of
from system.running import threads_client

from ephemera_issuer.audit.opening import opened_source
from ephemera_issuer.audit.search import Wanted, search
from ephemera_issuer.audit.verification import verify
from ephemera_issuer.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from issuer.fixtures_postgresql import PostgresServer

    from ephemera_issuer.audit.source import Source
    from ephemera_issuer.demo.process import Service

CALLERS = 4
KILLS = 5


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

    def __enter__(self) -> Self:
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


def records(deployment: Deployment) -> list[dict[str, Any]]:
    with source(deployment) as opened:
        return [found.members for found in search(opened, Wanted())]


def whole(deployment: Deployment) -> int:
    """Verify, and count the records."""
    with source(deployment) as opened:
        streams = verify(opened)
    assert [stream.problems for stream in streams] == [()] * len(streams)
    return sum(stream.lines for stream in streams)


@contextmanager
def source(deployment: Deployment) -> Iterator[Source]:
    settings = Settings(
        audit=deployment.environment["EPHEMERA_AUDIT"],
        database_url=deployment.environment["EPHEMERA_DATABASE_URL"],
    )
    with opened_source(settings) as opened:
        yield opened


def digests(told: list[dict[str, Any]]) -> list[str]:
    return [jti for each in told if each["kind"] == "minted" for jti in each["jti"]]


def digests_of(jtis: list[str]) -> list[str]:
    return [sha256(jti.encode()).hexdigest() for jti in jtis]


@pytest.fixture(scope="module", params=["file:audit", "database", "database on a server"])
def audited(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    """A deployment with an audit of each kind."""
    folder = tmp_path_factory.mktemp("audited")
    kept, _, server = request.param.partition(" on a ")
    settings = {"EPHEMERA_AUDIT": kept.replace(":", f":{folder}/")}
    if server:
        postgres: PostgresServer = request.getfixturevalue("postgres")
        settings |= {
            "EPHEMERA_DATABASE_URL": postgres.new(),
            "EPHEMERA_SEALING_KEY_FILE": str(folder / "sealing-key"),
            "EPHEMERA_REPLAY_URL": f"sqlite:///{folder / 'spent.db'}",
        }
        (folder / "sealing-key").touch()
    deployment = Deployment(folder, **settings)
    if server:
        (folder / "sealing-key").unlink()
        deployment.run("ephemera_issuer", "keys", "new-sealing-key", "sealing-key")
    return deployment


def test_two_workers_record_each_token_and_each_refusal_and_nothing_else(
    audited: Deployment,
) -> None:
    earlier = len(records(audited))
    with audited.start("--workers", "2") as service:
        with Callers(audited, service) as callers:
            eventually(lambda: len(callers.jtis) > 200, "no tokens")
        audited.run("ephemera_issuer", "clients", "disable", "orders")
        assert service.stop() == 0
    assert callers.lost == 0
    told = records(audited)
    assert whole(audited) == len(told)
    told = told[earlier:]
    assert sorted(digests(told)) == sorted(digests_of(callers.jtis))
    refused = [each for each in told if each["kind"] == "refused"]
    assert len(refused) == callers.refused
    assert {(each["client"], each["reason"]) for each in refused} == {
        ("reports", "scope_not_granted")
    }
    assert [each["id"] for each in told if each.get("action") == "change"] == ["orders"]


@pytest.mark.parametrize("before_answer", [True, False])
def test_killed_workers_leave_whole_records_that_others_go_on_with(
    audited: Deployment, *, before_answer: bool
) -> None:
    """A kill costs the records of its last moment; where answers wait for theirs, none."""
    moments = random.Random(20261127)  # noqa: S311 - moments, not secrets
    setting = str(before_answer).lower()
    with audited.start("--workers", "2", EPHEMERA_AUDIT_BEFORE_ANSWER=setting) as service:
        with Callers(audited, service) as callers:
            for _ in range(KILLS):
                seen = len(callers.jtis)
                eventually(lambda more=seen + 20: len(callers.jtis) > more, "no tokens")  # type: ignore[misc]
                time.sleep(moments.uniform(0, 0.05))
                victim = moments.choice(workers_of(service))
                kill(victim)
                eventually(lambda gone=victim: is_replaced(service, gone), "no other came")  # type: ignore[misc]
        assert service.stop() == 0
    count = whole(audited)
    recorded = digests(records(audited))
    assert len(recorded) == len(set(recorded))
    lost = set(digests_of(callers.jtis)) - set(recorded)
    print(  # noqa: T201 - what the kills cost is part of the result
        f"{KILLS} kills: {count} records, {len(lost)} of {len(callers.jtis)} tokens without one"
    )
    if before_answer:
        assert not lost
    assert len(lost) < len(callers.jtis)


def is_replaced(service: Service, victim: int) -> bool:
    workers = workers_of(service)
    return victim not in workers and len(workers) == 2


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

            answers = [ask(0)]
            assert answers[0].status_code == 200
            service.process.send_signal(signal.SIGUSR1)
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
            service.process.send_signal(signal.SIGUSR1)
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
