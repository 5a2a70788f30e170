"""One assertion at two issuer processes that share a database and a ledger."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import httpx
import pytest
from system.running import threads_client

from ephemera_client import PrivateKeyJWT
from ephemera_issuer.demo.process import Service

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ISSUER = "https://tokens.internal"
AUDIENCE = "https://billing.internal"
REGISTRY = """
[[audiences]]
id = "https://billing.internal"
scopes = ["invoices:read"]

[[clients]]
id = "orders"
jwks_file = "orders.jwks.json"

[[grants]]
client = "orders"
audience = "https://billing.internal"
scopes = ["invoices:read"]
"""
AT_ONCE = 50
TIMES = 10


@dataclass(frozen=True)
class Replicas:
    """Two processes of one issuer, and the credential of its client."""

    folder: Path
    environment: dict[str, str]
    credential: PrivateKeyJWT
    running: list[Service]

    def start(self) -> None:
        for number in range(2):
            self.running.append(
                Service(
                    f"issuer {number}", ["ephemera_issuer", "serve"], environment=self.environment
                )
            )

    def stop(self) -> None:
        for service in self.running:
            assert service.stop() == 0, "".join(service.output)
        self.running.clear()

    def kill(self) -> None:
        for service in self.running:
            service.process.send_signal(signal.SIGKILL)
            service.stop()
        self.running.clear()

    def form(self) -> dict[str, str]:
        """A token request with an assertion that has not been used."""
        proof = self.credential.prove("orders", issuer=ISSUER)
        return {"grant_type": "client_credentials", "resource": AUDIENCE, **proof.form}

    def ask_at_once(self, form: dict[str, str]) -> list[tuple[int, str]]:
        """Send the same request many times at once, to each process in turn."""
        together = threading.Barrier(AT_ONCE)

        with (
            threads_client(AT_ONCE) as http,
            ThreadPoolExecutor(AT_ONCE) as threads,
        ):

            def ask(number: int) -> tuple[int, str]:
                url = self.running[number % 2].url
                together.wait()
                answer = http.post(f"{url}/oauth2/token", data=form)
                return answer.status_code, answer.json().get("error_description", "")

            return list(threads.map(ask, range(AT_ONCE)))


@pytest.fixture(scope="module")
def replicas(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replicas]:
    folder = tmp_path_factory.mktemp("replicas")
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("EPHEMERA_")
    } | {
        "EPHEMERA_ISSUER": ISSUER,
        "EPHEMERA_DATABASE_URL": f"sqlite:///{folder / 'ephemera.db'}",
        "EPHEMERA_LISTEN": "127.0.0.1:0",
    }
    (folder / "registry.toml").write_text(REGISTRY)
    for command in (
        ["ephemera_client", "keygen", "orders"],
        ["ephemera_issuer", "apply", "registry.toml"],
    ):
        subprocess.run(
            [sys.executable, "-m", *command],
            cwd=folder,
            env=environment,
            check=True,
            capture_output=True,
        )
    made = Replicas(folder, environment, PrivateKeyJWT.from_file(folder / "orders.pem"), [])
    with ExitStack() as stack:
        stack.callback(made.kill)
        made.start()
        yield made
        made.stop()


USED = (401, "assertion has been used before: make a new one for each request")
ONE = [(200, ""), *[USED] * (AT_ONCE - 1)]


@pytest.mark.parametrize("_time", range(TIMES))
def test_of_fifty_requests_with_one_assertion_at_two_processes_exactly_one_succeeds(
    replicas: Replicas, _time: int
) -> None:
    answers = replicas.ask_at_once(replicas.form())
    assert sorted(answers) == ONE


@pytest.mark.parametrize("ended", ["stop", "kill"])
def test_after_a_restart_in_between_none_succeeds(replicas: Replicas, ended: str) -> None:
    used, unused = replicas.form(), replicas.form()
    answer = httpx.post(f"{replicas.running[0].url}/oauth2/token", data=used, trust_env=False)
    assert answer.status_code == 200
    getattr(replicas, ended)()
    replicas.start()
    assert replicas.ask_at_once(used) == [USED] * AT_ONCE
    # It was the ledger that refused, and not the restart: what was not used is good.
    assert sorted(replicas.ask_at_once(unused)) == ONE


def test_without_its_ledger_an_issuer_takes_nothing_from_before(replicas: Replicas) -> None:
    used = replicas.form()
    assert sorted(replicas.ask_at_once(used)) == ONE
    replicas.stop()
    for file in replicas.folder.glob("ephemera.spent.db*"):
        if not file.name.endswith("-witness"):
            file.unlink()
    replicas.start()
    answers = replicas.ask_at_once(used)
    assert (
        answers
        == [(401, "assertion was issued before this ledger began; make a new one")] * AT_ONCE
    )
