"""docs/deploy.md: its commands, with stand-ins for what needs a daemon, a cluster or root.

A stand-in refuses what it does not know. What is ours in a command is real: the manifests, the
settings and `ephemera` itself, on a real PostgreSQL and with the settings of the files.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from typing import TYPE_CHECKING

import pytest
from client.fixtures_authority import Authority
from docs.pages import ROOT, blocks
from docs.running import shell, without_settings
from issuer.fixtures_postgresql import PASSWORD
from issuer.fixtures_registry import WHOLE

if TYPE_CHECKING:
    from pathlib import Path

    from issuer.fixtures_postgresql import PostgresServer

IMAGE, SECRETS, COMPOSE, KUBERNETES, SYSTEMD, COMMAND = blocks("docs/deploy.md", "sh")
OVERLAY = "deploy/kubernetes/overlays/production"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A checkout as far as deploying goes, and what the reader brings."""
    for name in ("keys", "client", "issuer"):
        (tmp_path / name).symlink_to(ROOT / name)
    shutil.copytree(ROOT / "deploy", tmp_path / "deploy", dirs_exist_ok=True)
    (tmp_path / "requirements-run.lock").symlink_to(ROOT / "requirements-run.lock")
    (tmp_path / "registry.toml").write_text(WHOLE)
    Authority(tmp_path / "authority").server("tokens.internal")
    certificate, begin, key = (
        (tmp_path / "authority" / "server.pem").read_text().partition("-----BEGIN PRIVATE")
    )
    (tmp_path / "tls.crt").write_text(certificate)
    (tmp_path / "tls.key").write_text(begin + key)
    for name in ("database-ca", "ledger-ca", "database-password"):
        (tmp_path / name).write_text(f"{name} of this test\n")
    return tmp_path


@pytest.fixture
def environment(folder: Path) -> dict[str, str]:
    stand_ins = folder / "stand-ins"
    stand_ins.mkdir()
    for name in ("docker", "kubectl", "sudo", "systemctl", "systemd-sysusers"):
        program = stand_ins / name
        program.write_text(
            f"#!{sys.executable}\nimport sys\nfrom docs import stand_ins\n"
            f"sys.exit(stand_ins.{name.replace('-', '_')}(sys.argv[1:]))\n"
        )
        program.chmod(0o755)
    kept = without_settings()
    return kept | {
        "PYTHONPATH": f"{ROOT / 'tests'}:{os.environ.get('PYTHONPATH', '')}",
        "STAND_INS": str(folder / "stand-ins.json"),
    }


def runs(commands: str, folder: Path, environment: dict[str, str], **places: str) -> str:
    (folder / "stand-ins.json").write_text(json.dumps(places))
    status, said, errors = shell(commands, folder, environment, programs=folder / "stand-ins")
    assert status == 0, said + errors
    return said


def test_containers_on_one_machine(
    folder: Path, environment: dict[str, str], postgres: PostgresServer
) -> None:
    places = {"database:5432/ephemera": postgres.new().partition("@")[2]}
    runs(IMAGE, folder, environment)
    runs(SECRETS, folder, environment)
    secrets = folder / "deploy" / "secrets"
    assert len((secrets / "database-password").read_text().strip()) == 64
    for file in secrets.iterdir():
        assert file.stat().st_mode & 0o077 == 0, file
    # This server has a password already.
    (secrets / "database-password").write_text(PASSWORD)
    said = runs(COMPOSE + first(COMMAND), folder, environment, **places)
    assert "the registry is at version 1" in said
    assert (folder / "deploy" / "work" / "secrets").is_dir()
    assert said.count("pending") == 2


def first(commands: str) -> str:
    return commands.splitlines()[0]


def test_kubernetes(folder: Path, environment: dict[str, str]) -> None:
    (folder / "sealing-key").write_text("one that was made before\n")
    (typed,) = [line for line in COMMAND.splitlines() if line.startswith("kubectl")]
    said = runs(KUBERNETES + typed, folder, environment)
    assert "Deployment ephemera" in said
    assert "Job ephemera-migrate" in said
    assert said.endswith("in a pod: list\n")


def test_systemd(folder: Path, environment: dict[str, str]) -> None:
    here = str(folder / "root")
    commands = SYSTEMD + COMMAND.splitlines()[2]
    for place in ("/etc/", "/opt/"):
        commands = commands.replace(f" {place}", f" {here}{place}").replace(
            f"={place}", f"={here}{place}"
        )
    # There is no such group here, so the key is for this user alone.
    commands = commands.replace(" -m 0640 --group ephemera", " -m 0600")
    said = runs(commands, folder, environment, root=here)
    assert "enabled ephemera" in said
    assert "pending" in said
