"""A signing key is stolen, and the drill of docs/operations.md ends what the thief can do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from system.drilling import AFTER, BEFORE, drill, load
from system.revoking import REFUSED, audience_of, kid_of

from ephemera_issuer.rotation import require_ring

if TYPE_CHECKING:
    from pathlib import Path

    from issuer.fixtures_postgresql import PostgresServer
    from system.drilling import Drill

TRIALS = 2


def states(drilled: Drill) -> dict[str, str]:
    with drilled.running.database.read() as connection:
        ring = require_ring(connection).ring
    return {record.kid: record.state.value for record in ring.records}


def test_after_the_drill_nothing_of_the_thief_is_accepted_and_callers_have_noticed_nothing(
    tmp_path: Path, postgres: PostgresServer
) -> None:
    with drill(tmp_path, database_url=postgres.new()) as drilled:
        audience = "https://billing.internal"
        drilled.types(BEFORE.replace(audience, audience_of(0)))
        assert drilled.running.accepted(0, (tmp_path / "before.token").read_text().strip())
        keys = states(drilled)
        assert sorted(keys.values()) == ["active", "pending"]
        with load(drilled.running, 1) as callers:
            trials = [drilled.once(0, callers) for _ in range(TRIALS)]
            newest = callers.latest
        # Callers were given tokens all the while, and never anything else.
        assert callers.refused == []
        assert all(trial.minted for trial in trials)
        assert drilled.running.accepted(1, newest)
        said = drilled.types(AFTER.replace(audience, audience_of(0)))
        assert "valid: from 'client-0'" in said
        after = states(drilled)
        assert sorted(after.values()) == ["active", "pending", *["revoked"] * TRIALS]
        assert {kid for kid in keys if after[kid] == "revoked"} == set(keys)
        assert after[kid_of(newest)] == "active"
        before = (tmp_path / "before.token").read_text().strip()
        assert drilled.running.outcomes(0, before) <= REFUSED
