"""Three issuer processes on one PostgreSQL serve one issuer, whatever becomes of the database."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import httpx
import pytest
from issuer.fixtures_postgresql import PASSWORD, PostgresServer
from system.running import threads_client

from ephemera_client import PrivateKeyJWT
from ephemera_issuer.demo.process import Service
from ephemera_keys import SealingKeys

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

ISSUER = "https://tokens.internal"
AUDIENCE = "https://billing.internal"
REPLICAS = 3
CHANGES = 10
AT_ONCE = 30
PATIENCE = 60
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


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """A server of this module, to be stopped at will."""
    made = PostgresServer()
    yield made
    made.end()


@dataclass
class Fleet:
    """The replicas of one issuer, and what its operators and its client do."""

    folder: Path
    environment: dict[str, str] = field(repr=False)
    replicas: list[Service] = field(default_factory=list)

    def command(self, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", *arguments],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def start(self, count: int = REPLICAS) -> None:
        for number in range(count):
            self.replicas.append(
                Service(
                    f"replica {number}",
                    ["ephemera_issuer", "serve"],
                    environment=self.environment,
                    patience=PATIENCE,
                )
            )

    def stop(self) -> None:
        while self.replicas:
            replica = self.replicas.pop()
            status = replica.stop()
            assert status == 0, "".join(replica.output)
            assert PASSWORD not in "".join(replica.output)

    def kill(self) -> None:
        for replica in self.replicas:
            replica.process.send_signal(signal.SIGKILL)
            replica.stop()

    def form(self) -> dict[str, str]:
        """A token request with an assertion that has not been used."""
        credential = PrivateKeyJWT.from_file(self.folder / "orders.pem")
        proof = credential.prove("orders", issuer=ISSUER)
        return {"grant_type": "client_credentials", "resource": AUDIENCE, **proof.form}

    def mint(self, http: httpx.Client, replica: Service) -> int:
        return http.post(f"{replica.url}/oauth2/token", data=self.form()).status_code

    def minting(self, http: httpx.Client, replica: Service, status: int) -> Callable[[], bool]:
        """Whether a replica answers a token request so by now."""
        return lambda: self.mint(http, replica) == status

    def jwks(self, http: httpx.Client) -> set[tuple[bytes, str]]:
        answers = [http.get(f"{it.url}/.well-known/jwks.json") for it in self.replicas]
        assert {answer.status_code for answer in answers} == {200}
        return {(answer.content, answer.headers["etag"]) for answer in answers}


@contextmanager
def fleet_on(url: str, folder: Path) -> Iterator[Fleet]:
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("EPHEMERA_")
    } | {
        "EPHEMERA_ISSUER": ISSUER,
        "EPHEMERA_DATABASE_URL": url,
        "EPHEMERA_REPLAY_URL": f"sqlite:///{folder / 'spent.db'}",
        "EPHEMERA_SEALING_KEY_FILE": str(folder / "sealing-key"),
        "EPHEMERA_LISTEN": "127.0.0.1:0",
    }
    (folder / "registry.toml").write_text(REGISTRY)
    made = Fleet(folder, environment)
    made.command("ephemera_client", "keygen", "orders")
    SealingKeys.create(folder / "sealing-key")
    with ExitStack() as stack:
        stack.callback(made.kill)
        yield made
        made.stop()


@pytest.fixture(scope="module")
def fleet(server: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Three replicas that were started at much the same time, on an empty database."""
    with fleet_on(server.new(), tmp_path_factory.mktemp("fleet")) as made:
        with ThreadPoolExecutor(REPLICAS) as threads:
            list(threads.map(made.start, [1] * REPLICAS))
        made.command("ephemera_issuer", "apply", "registry.toml")
        yield made


@pytest.fixture
def late(server: PostgresServer, tmp_path: Path) -> Iterator[Fleet]:
    """An issuer of which no replica runs yet, on an empty database."""
    with fleet_on(server.new(), tmp_path) as made:
        yield made


@pytest.fixture
def http() -> Iterator[httpx.Client]:
    with httpx.Client(trust_env=False, timeout=PATIENCE) as client:
        yield client


def eventually(happened: Callable[[], bool]) -> float:
    """Ask over and over, each time over the network; how long it took."""
    began = time.monotonic()
    while not happened():
        assert time.monotonic() - began < PATIENCE
    return time.monotonic() - began


def test_three_replicas_on_one_database_serve_one_issuer(fleet: Fleet, http: httpx.Client) -> None:
    assert len(fleet.jwks(http)) == 1
    for replica in fleet.replicas:
        eventually(fleet.minting(http, replica, 200))
    before = fleet.jwks(http)
    fleet.command("ephemera_issuer", "keys", "rotate", "--emergency")
    eventually(lambda: len(fleet.jwks(http)) == 1 and fleet.jwks(http) != before)
    together = threading.Barrier(AT_ONCE)
    form = fleet.form()
    with threads_client(AT_ONCE) as shared, ThreadPoolExecutor(AT_ONCE) as threads:

        def ask(number: int) -> int:
            url = fleet.replicas[number % REPLICAS].url
            together.wait()
            return shared.post(f"{url}/oauth2/token", data=form).status_code

        answers = list(threads.map(ask, range(AT_ONCE)))
    assert sorted(answers) == [200] + [401] * (AT_ONCE - 1)


def test_a_change_of_the_registry_is_in_force_at_every_replica(
    fleet: Fleet, http: httpx.Client
) -> None:
    took = []
    for number in range(CHANGES):
        verb, status = (("disable", 400), ("enable", 200))[number % 2]
        fleet.command("ephemera_issuer", "clients", verb, "orders")
        # Counted from when the command has ended, so a change may well be in force before.
        took.append(max(eventually(fleet.minting(http, it, status)) for it in fleet.replicas))
    print(  # noqa: T201 - the figure is the result
        f"{CHANGES} changes in force at each of {REPLICAS} replicas after at most "
        f"{max(took) * 1000:.0f} ms, half of them within {sorted(took)[CHANGES // 2] * 1000:.0f} ms"
    )


@pytest.mark.parametrize("number", [signal.SIGQUIT, signal.SIGSTOP])
def test_replicas_outlive_their_database_and_follow_again_once_it_is_back(
    fleet: Fleet, http: httpx.Client, server: PostgresServer, number: signal.Signals
) -> None:
    for replica in fleet.replicas:
        eventually(fleet.minting(http, replica, 200))
    frozen = number == signal.SIGSTOP
    if frozen:
        server.signal_all(number)
    else:
        server.stop(number)
    for replica in fleet.replicas:
        assert fleet.mint(http, replica) == 200
        assert http.get(f"{replica.url}/healthz").status_code == 200
    if frozen:
        server.signal_all(signal.SIGCONT)
    else:
        server.start()
    for verb, status in (("disable", 400), ("enable", 200)):
        fleet.command("ephemera_issuer", "clients", verb, "orders")
        for replica in fleet.replicas:
            eventually(fleet.minting(http, replica, status))


def test_the_order_of_starting_does_not_matter(
    late: Fleet, http: httpx.Client, server: PostgresServer
) -> None:
    server.stop()
    late.start(1)
    (replica,) = late.replicas
    assert http.get(f"{replica.url}/healthz").status_code == 200
    for path in ("/readyz", "/.well-known/jwks.json"):
        answer = http.get(replica.url + path)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert late.mint(http, replica) == 503
    assert any("waiting_for_the_database" in line for line in replica.output)
    server.start()
    late.command("ephemera_issuer", "apply", "registry.toml")
    eventually(late.minting(http, replica, 200))


def test_a_replica_that_waits_for_its_database_ends_when_it_is_told_to(
    late: Fleet, server: PostgresServer
) -> None:
    server.signal_all(signal.SIGSTOP)
    try:
        late.start(1)
        late.stop()
    finally:
        server.signal_all(signal.SIGCONT)


def test_from_sqlite_to_postgresql_by_a_backup(late: Fleet, http: httpx.Client) -> None:
    target = late.environment["EPHEMERA_DATABASE_URL"]
    late.environment["EPHEMERA_DATABASE_URL"] = f"sqlite:///{late.folder / 'ephemera.db'}"
    late.command("ephemera_issuer", "apply", "registry.toml")
    late.start(1)
    (before,) = late.jwks(http)
    late.command("ephemera_issuer", "backup", "backup.jsonl")
    late.stop()
    late.environment["EPHEMERA_DATABASE_URL"] = target
    said = late.command("ephemera_issuer", "restore", "backup.jsonl")
    assert "It has new signing keys; revoked: " in said
    late.start(1)
    (after,) = late.jwks(http)
    assert after != before
    eventually(late.minting(http, late.replicas[0], 200))
