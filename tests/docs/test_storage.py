"""docs/storage.md: its commands, on a server and on a file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from docs.pages import blocks
from docs.running import shell, without_settings
from issuer.fixtures_registry import WHOLE

from ephemera_issuer.demo.process import Service

if TYPE_CHECKING:
    from pathlib import Path

    from issuer.fixtures_postgresql import PostgresServer

START, BACKUP, DRILL = blocks("docs/storage.md", "sh")


@pytest.fixture
def environment(tmp_path: Path, postgres: PostgresServer) -> dict[str, str]:
    inherited = without_settings()
    return inherited | {
        "EPHEMERA_DATABASE_URL": postgres.new(),
        "EPHEMERA_SEALING_KEY_FILE": str(tmp_path / "sealing-key"),
        "EPHEMERA_REPLAY_URL": f"sqlite:///{tmp_path / 'spent.db'}",
        "EPHEMERA_LISTEN": "127.0.0.1:0",
    }


def test_a_registry_is_started_backed_up_restored_and_the_restoring_practised(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    (tmp_path / "registry.toml").write_text(WHOLE)
    status, said, errors = shell(START, tmp_path, environment)
    assert status == 0, errors
    assert "the registry is at version 1" in said
    with Service("issuer", ["ephemera_issuer", "serve"], environment=environment) as replica:
        assert replica.stop() == 0
    status, said, errors = shell(BACKUP, tmp_path, environment)
    assert status == 0, errors
    assert "It has new signing keys; revoked: " in said
    status, said, errors = shell(DRILL, tmp_path, environment)
    assert status == 0, errors
    assert "drill.db is as the backup of " in said
    assert "orders" in said
    assert said.count("revoked") >= 3
