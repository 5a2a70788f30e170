"""However a whole `serve` ends under load: what it had acknowledged is true of the next one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from system.deployment import Deployment
from system.restarting import kill_serve

from ephemera_keys import SealingKeys

if TYPE_CHECKING:
    from pathlib import Path

    from issuer.fixtures_postgresql import PostgresServer

KILLS = 15


@pytest.fixture(params=["sqlite", "postgresql"])
def deployment(
    request: pytest.FixtureRequest, postgres: PostgresServer, tmp_path: Path
) -> Deployment:
    settings = {"EPHEMERA_WORKERS": "2"}
    if request.param == "postgresql":
        SealingKeys.create(tmp_path / "sealing-key")
        settings |= {
            "EPHEMERA_DATABASE_URL": postgres.new(),
            "EPHEMERA_SEALING_KEY_FILE": str(tmp_path / "sealing-key"),
            "EPHEMERA_REPLAY_URL": f"sqlite:///{tmp_path / 'spent.db'}",
        }
    return Deployment(tmp_path, **settings)


def test_no_kill_loses_a_key_or_a_revocation_or_makes_a_spent_assertion_good_again(
    deployment: Deployment,
) -> None:
    found = kill_serve(deployment, kills=KILLS, seed=20261127)
    print(found)  # noqa: T201 - what the kills hit is part of the result
    assert found.total == KILLS
    assert found.hits >= KILLS // 3
