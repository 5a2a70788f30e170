"""A new version is rolled out as docs/operations.md says: tables and processes, in either order."""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Self

import httpx
import pytest
from docs.pages import blocks
from docs.running import shell
from system.deployment import Deployment, environment

from ephemera_issuer.database import connect, migration
from ephemera_issuer.demo.process import Service, ServiceFailed
from ephemera_keys import SealingKeys

if TYPE_CHECKING:
    from pathlib import Path

    from issuer.fixtures_postgresql import PostgresServer

MIGRATE = blocks("docs/operations.md", "sh")[0]
NEWER = "9999"
PATIENCE = 120.0


def until_ready(http: httpx.Client, replica: Service) -> None:
    deadline = time.monotonic() + PATIENCE
    while http.get(f"{replica.url}/readyz").status_code != 200:
        assert time.monotonic() < deadline, "".join(replica.output)
        time.sleep(0.02)


def until_minting(http: httpx.Client, deployment: Deployment, replica: Service) -> None:
    """The registry has been applied, and this replica knows."""
    deadline = time.monotonic() + PATIENCE
    while deployment.ask(http, replica.url).status_code != 200:
        assert time.monotonic() < deadline, "".join(replica.output)
        time.sleep(0.02)


class Balanced:
    """A caller that asks without a pause whichever replica the balancer names."""

    def __init__(self, deployment: Deployment, to: Service) -> None:
        self.to = to.url
        self.statuses: list[int] = []
        self._deployment = deployment
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._ask)

    def _ask(self) -> None:
        with httpx.Client(trust_env=False, timeout=PATIENCE) as http:
            while not self._ended.is_set():
                self.statuses.append(self._deployment.ask(http, self.to).status_code)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def asks_more(self) -> None:
        """Return when a whole request has come and gone since."""
        enough = len(self.statuses) + 2
        deadline = time.monotonic() + PATIENCE
        while len(self.statuses) < enough:
            assert self._thread.is_alive()
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_a_new_version_comes_and_the_old_one_goes_without_a_refused_request(
    tmp_path: Path, postgres: PostgresServer
) -> None:
    url = postgres.new()
    with closing(connect(url)) as database, database.write() as connection:
        migration.upgrade(connection, location=database.location, to="0001")
    key = tmp_path / "sealing-key"
    SealingKeys.create(key)
    settings = {
        "EPHEMERA_DATABASE_URL": url,
        "EPHEMERA_SEALING_KEY_FILE": str(key),
        "EPHEMERA_REPLAY_URL": f"sqlite:///{tmp_path / 'spent.db'}",
    }
    told = environment(tmp_path, **settings)

    def replica(name: str) -> Service:
        return Service(name, ["ephemera_issuer", "serve"], environment=told, patience=PATIENCE)

    def note(revision: str) -> None:
        # As if a later version had migrated, with nothing in it that this one reads.
        name = url.rpartition("/")[2]
        change = f"UPDATE alembic_version SET version_num = '{revision}'"  # noqa: S608 - ours
        postgres.run(change, name)

    with ExitStack() as stack:
        http = stack.enter_context(httpx.Client(trust_env=False, timeout=PATIENCE))
        first = stack.enter_context(replica("first"))
        # The new version is there before its tables: it waits for them.
        assert http.get(f"{first.url}/healthz").status_code == 200
        assert http.get(f"{first.url}/readyz").status_code == 503
        status, said, errors = shell(MIGRATE, tmp_path, told)
        assert status == 0, errors
        assert "a dry run, nothing was done" in said
        until_ready(http, first)
        deployment = Deployment(tmp_path, **settings)
        until_minting(http, deployment, first)
        with Balanced(deployment, first) as caller:
            # The tables of the next version come: the old process goes on, and is told of changes.
            note(NEWER)
            caller.asks_more()
            assert http.get(f"{first.url}/readyz").status_code == 200
            with pytest.raises(ServiceFailed, match="a newer version of Ephemera wrote"):
                replica("an old one that is restarted")
            note(migration.head())
            # Then its processes, and the old one ends.
            second = stack.enter_context(replica("second"))
            until_ready(http, second)
            caller.to = second.url
            caller.asks_more()
            assert first.stop() == 0
            caller.asks_more()
        assert set(caller.statuses) == {200}
        assert second.stop() == 0
