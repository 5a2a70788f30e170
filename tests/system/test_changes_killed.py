"""However a process ends that changes the keys, the registry or the revocations: nothing is lost.

Three change one database at once; one after another is killed, most of them between the beginning
of a transaction and the answer to its commit.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from system.changing import kill_changes

if TYPE_CHECKING:
    from pathlib import Path

    from issuer.fixtures_postgresql import PostgresServer

KILLS = 30


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_no_kill_loses_a_key_or_an_acknowledged_change(
    tmp_path: Path, postgres: PostgresServer, kind: str
) -> None:
    url = f"sqlite:///{tmp_path / 'ephemera.db'}" if kind == "sqlite" else postgres.new()
    found = kill_changes(url, tmp_path, kills=KILLS, seed=20261127)
    print(f"{kind}: {found}")  # noqa: T201 - what the kills hit is part of the result
    assert found.total == KILLS
    assert found.hits >= KILLS // 4
    if kind == "sqlite":
        with closing(sqlite3.connect(tmp_path / "ephemera.db")) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
