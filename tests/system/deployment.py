"""An issuer of several processes in a folder of its own, to be started, killed and asked."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from system.running import threads_client

from ephemera_client import PrivateKeyJWT
from ephemera_issuer.demo.process import Service

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx

TESTS = Path(__file__).parent.parent
ISSUER = "https://tokens.internal"
AUDIENCE = "https://billing.internal"
REGISTRY = """
[[audiences]]
id = "https://billing.internal"
scopes = ["invoices:read"]

[[clients]]
id = "orders"
jwks_file = "orders.jwks.json"

[[clients]]
id = "reports"
secret = "generate"

[[grants]]
client = "orders"
audience = "https://billing.internal"
scopes = ["invoices:read"]

[[grants]]
client = "reports"
audience = "https://billing.internal"
scopes = ["invoices:read"]
"""
USED = (401, "assertion has been used before: make a new one for each request")
TRIES = 2000


def environment(folder: Path, **settings: str) -> dict[str, str]:
    """What its processes are told; `settings` come before those of these tests."""
    path = os.pathsep.join([str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])])
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith("EPHEMERA_")
    }
    return inherited | {
        "PYTHONPATH": path,
        "EPHEMERA_ISSUER": ISSUER,
        "EPHEMERA_DATABASE_URL": f"sqlite:///{folder / 'ephemera.db'}",
        "EPHEMERA_LISTEN": "127.0.0.1:0",
        **settings,
    }


class Deployment:
    """A database, a registry and a client's credentials; `start` runs a `serve` on them."""

    def __init__(self, folder: Path, *, registry: str = REGISTRY, **settings: str) -> None:
        self.folder = folder
        self.environment = environment(folder, **settings)
        (folder / "registry.toml").write_text(registry)
        self.run("ephemera_client", "keygen", "orders")
        self.run("ephemera_issuer", "apply", "registry.toml", "--secrets-dir", "secrets")
        self.credential = PrivateKeyJWT.from_file(folder / "orders.pem")
        self.secret = (folder / "secrets" / "reports.secret").read_text()

    def run(self, *command: str, **settings: str) -> str:
        """Run a module to its end in the folder; what it wrote."""
        return subprocess.run(
            [sys.executable, "-m", *command],
            cwd=self.folder,
            env=self.environment | settings,
            check=True,
            capture_output=True,
            text=True,
        ).stdout

    def start(self, *arguments: str, module: str = "ephemera_issuer", **settings: str) -> Service:
        return Service(
            "issuer", [module, "serve", *arguments], environment=self.environment | settings
        )

    def form(self) -> dict[str, str]:
        """A token request with an assertion that has not been used."""
        proof = self.credential.prove("orders", issuer=ISSUER)
        return {"grant_type": "client_credentials", "resource": AUDIENCE, **proof.form}

    def ask_at_once(
        self, urls: list[str], form: dict[str, str], times: int
    ) -> list[tuple[int, str]]:
        """Send the same request many times at once, to each URL in turn."""
        together = threading.Barrier(times)
        with threads_client(times) as http, ThreadPoolExecutor(times) as threads:

            def ask(number: int) -> tuple[int, str]:
                together.wait()
                answer = http.post(f"{urls[number % len(urls)]}/oauth2/token", data=form)
                return answer.status_code, answer.json().get("error_description", "")

            return list(threads.map(ask, range(times)))

    def ask(self, http: httpx.Client, url: str, *, lifetime: int = 120) -> httpx.Response:
        """Ask for a token with the secret."""
        form = {"grant_type": "client_credentials", "resource": AUDIENCE, "lifetime": str(lifetime)}
        return http.post(f"{url}/oauth2/token", data=form, auth=("reports", self.secret))


def workers_of(service: Service) -> list[int]:
    """The processes that the parent has forked and that still live, in the order of their ids."""
    pid = service.process.pid
    try:
        return sorted(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))
    except FileNotFoundError:
        return []


def has_ended(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def eventually(holds: Callable[[], bool], otherwise: str, *, tries: int = TRIES) -> None:
    """Look over and over, giving the processors to others in between."""
    pause = threading.Event()
    for _ in range(tries):
        if holds():
            return
        pause.wait(0.01)
    raise AssertionError(otherwise)
