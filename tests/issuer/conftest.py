"""What the tests of commands share."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from issuer.fixtures_commands import Run
from issuer.fixtures_registry import WHOLE

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the command runs: a registry file is there, and nothing else."""
    for name in list(os.environ):
        if name.startswith("EPHEMERA_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "registry.toml").write_text(WHOLE)
    return tmp_path


@pytest.fixture
def run(directory: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    assert directory.is_dir()
    return Run(capsys)


@pytest.fixture
def applied(run: Run) -> Run:
    """The same, once `registry.toml` is applied."""
    run("apply", "registry.toml", "--secrets-dir", "secrets")
    return run
