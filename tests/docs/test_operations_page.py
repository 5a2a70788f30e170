"""docs/operations.md: its commands, but for the drill and the upgrade, and its numbers.

Those two are in tests/system: test_compromise_drill.py and test_upgrade.py.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from deploy.command_lines import DEPLOY
from docs.pages import ROOT, blocks
from docs.running import shell, without_settings
from issuer.fixtures_registry import WHOLE

from ephemera_issuer.database.postgresql import CONNECTIONS
from ephemera_issuer.snapshot import FRESH_FOR

if TYPE_CHECKING:
    from pathlib import Path

PAGE = "docs/operations.md"
TEXT = (ROOT / PAGE).read_text()
BACKUP, CLIENT = (blocks(PAGE, "sh")[number] for number in (1, -1))


def test_a_backup_is_taken_and_a_client_stopped_as_the_page_says(tmp_path: Path) -> None:
    inherited = without_settings()
    environment = inherited | {"EPHEMERA_DATABASE_URL": f"sqlite:///{tmp_path / 'ephemera.db'}"}
    (tmp_path / "registry.toml").write_text(WHOLE)
    commands = f"ephemera apply registry.toml --secrets-dir secrets\n{BACKUP}{CLIENT}"
    status, said, errors = shell(commands, tmp_path, environment)
    assert status == 0, errors
    assert (tmp_path / "backup.jsonl").stat().st_mode & 0o077 == 0
    assert "All tokens of orders minted up to" in said


def test_the_numbers_of_the_page_are_those_of_the_code() -> None:
    assert f"{CONNECTIONS + 1} connections a process" in TEXT
    assert f"the {FRESH_FOR:.0f} seconds for which a replica mints without its database" in TEXT
    scaler = (DEPLOY / "kubernetes" / "base" / "autoscaler.yaml").read_text()
    (rate,) = re.findall(r'averageValue: "(\d+)"', scaler)
    assert f"{rate} requests a second and replica" in TEXT


def test_what_the_page_looks_for_in_the_log_is_logged() -> None:
    sources = "".join(file.read_text() for file in (ROOT / "issuer").rglob("*.py"))
    named = set(re.findall(r"`([a-z]+_[a-z_]+)`(?= or `| in the| with| while|, with)", TEXT))
    assert {"snapshot_not_refreshed", "clock_jumped", "worker_died"} <= named
    assert all(f'"{name}"' in sources for name in named), named
