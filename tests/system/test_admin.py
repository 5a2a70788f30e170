"""The admin API of a real issuer: workers that share a ledger, and replicas that follow."""

from __future__ import annotations

import json
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from system.deployment import ISSUER, REGISTRY, Deployment, eventually
from system.running import threads_client

from ephemera_client import PrivateKeyJWT

if TYPE_CHECKING:
    from pathlib import Path

AT_ONCE = 8
PRIVATE = re.compile(r"private listener on (http://[0-9.:]+)")
ADMIN = '\n[[admins]]\nid = "ops"\njwks_file = "ops.jwks.json"\n'


@pytest.fixture
def deployment(tmp_path: Path) -> Deployment:
    made = Deployment(tmp_path)
    made.run("ephemera_client", "keygen", "ops")
    (tmp_path / "registry.toml").write_text(REGISTRY + ADMIN)
    made.run("ephemera_issuer", "apply", "registry.toml", "--secrets-dir", "secrets")
    return made


def test_an_assertion_is_good_for_one_worker_and_a_change_reaches_all(
    deployment: Deployment,
) -> None:
    key = PrivateKeyJWT.from_file(deployment.folder / "ops.pem")

    def proof() -> dict[str, str]:
        form = key.prove("ops", issuer=f"{ISSUER}/admin").form
        return {"Authorization": f"Bearer {form['client_assertion']}"}

    with (
        deployment.start("--workers", "2") as workers,
        deployment.start() as alone,
        threads_client(AT_ONCE) as http,
    ):
        urls = [PRIVATE.findall("".join(service.output))[0] for service in (workers, alone)]
        together, same = threading.Barrier(AT_ONCE), proof()

        def ask(number: int) -> int:
            together.wait(60)
            return http.get(f"{urls[number % 2]}/admin/v1/status", headers=same).status_code

        with ThreadPoolExecutor(AT_ONCE) as threads:
            assert sorted(threads.map(ask, range(AT_ONCE))) == [200] + [401] * (AT_ONCE - 1)

        assert deployment.ask(http, alone.url).status_code == 200
        stopped = http.put(
            f"{urls[0]}/admin/v1/clients/reports/disabled",
            json={"disabled": True},
            headers=proof(),
        )
        assert stopped.status_code == 200
        eventually(
            lambda: deployment.ask(http, alone.url).status_code == 400,
            "the other replica goes on minting for a client that was stopped",
        )
        said = deployment.run(
            "ephemera_issuer",
            *("--server", urls[1], "--admin-id", "ops", "--admin-key", "ops.pem"),
            *("clients", "show", "reports", "--json"),
        )
        assert json.loads(said)["client"]["disabled"] is True
        public = http.get(f"{alone.url}/admin/v1/status", headers=proof())
        assert public.status_code == 404  # the public listener has none of it
        written = "".join(workers.output + alone.output)
    assert "administered" in written
    assert same["Authorization"].partition(" ")[2] not in written
