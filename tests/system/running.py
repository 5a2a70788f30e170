"""A real issuer process on SQLite, filled by `ephemera apply`."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import httpx

from ephemera_issuer.demo.process import Service
from ephemera_issuer.demo.story import REGISTRY

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path


@dataclass(frozen=True)
class Issuer:
    """A running issuer: where it is, and what its client knows."""

    url: str
    secret_file: Path
    environment: dict[str, str] = field(repr=False)
    service: Service

    @property
    def client_secret(self) -> str:
        return self.secret_file.read_text().strip()

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "ephemera_issuer", *arguments],
            env=self.environment | {"EPHEMERA_ISSUER": self.url},
            capture_output=True,
            text=True,
            check=True,
        )


def threads_client(threads: int, *, base_url: str = "") -> httpx.Client:
    """Make a client that this many threads may share.

    Its pool keeps every connection: above its limit of idle ones it would close one that it has
    just given to another thread.
    """
    limits = httpx.Limits(max_connections=threads, max_keepalive_connections=threads)
    return httpx.Client(base_url=base_url, trust_env=False, timeout=30, limits=limits)


@contextmanager
def run_issuer(
    folder: Path, *, registry: str = REGISTRY, settings: Mapping[str, str] | None = None
) -> Iterator[Issuer]:
    """Run a new issuer in `folder`, on a free port, until the block ends or the service is ended.

    `settings` come before those of these tests.
    """
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("EPHEMERA_")
    } | {
        "EPHEMERA_DATABASE_URL": f"sqlite:///{folder / 'ephemera.db'}",
        "EPHEMERA_LISTEN": "127.0.0.1:0",
        **(settings or {}),
    }
    (folder / "registry.toml").write_text(registry)
    subprocess.run(
        [sys.executable, "-m", "ephemera_issuer"]
        + ["apply", "registry.toml", "--secrets-dir", "secrets"],
        cwd=folder,
        env=environment,
        check=True,
        capture_output=True,
    )
    secret_file = folder / "secrets" / "orders.secret"
    service = Service("issuer", ["ephemera_issuer", "serve"], environment=environment)
    try:
        yield Issuer(service.url, secret_file, environment, service)
    finally:
        assert service.stop() == 0, "".join(service.output)
