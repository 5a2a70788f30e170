"""An issuer under load agrees with its callers on what happened, in metrics and in its audit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from system.endurance import WORKERS, endure

if TYPE_CHECKING:
    from pathlib import Path

SECONDS = 2
SWOLLEN = 64 << 20
"""Far beyond what a start needs: only what is kept of each request gets there in seconds."""


def test_half_of_full_load_is_answered_counted_and_recorded_to_the_last_request(
    tmp_path: Path,
) -> None:
    endured = endure(tmp_path, SECONDS, full_for=1)
    assert endured.failures == []
    assert endured.called.requests > 0
    names = {name for name, _ in endured.recorded}
    assert {"ephemera_mints_total", "ephemera_refusals_total"} <= names
    assert endured.verified["records"] > 0
    assert len(endured.memory) == 1 + WORKERS
    for memory in endured.memory.values():
        assert max(memory.resident) - memory.resident[0] < SWOLLEN
