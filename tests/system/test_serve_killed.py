"""However a whole `serve` ends under load: what it had acknowledged is true of the next one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from system.faults import deployment_on
from system.restarting import kill_serve

if TYPE_CHECKING:
    from pathlib import Path

    from issuer.fixtures_postgresql import PostgresServer

KILLS = 5


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_no_kill_loses_a_key_or_a_revocation_or_makes_a_spent_assertion_good_again(
    tmp_path: Path, postgres: PostgresServer, kind: str
) -> None:
    deployment = deployment_on(tmp_path, postgres if kind == "postgresql" else None)
    found = kill_serve(deployment, kills=KILLS, seed=20261127)
    print(f"{kind}: {found}")  # noqa: T201 - what the kills hit is part of the result
    assert found.total == KILLS
    assert found.hits > 0
    assert found.acknowledged["assertion spent"] > KILLS
