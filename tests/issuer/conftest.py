"""What the tests of commands share."""

from __future__ import annotations

import os
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from issuer.fixtures_commands import Run
from issuer.fixtures_registry import WHOLE

from ephemera_issuer.database import Database, open_database

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from issuer.fixtures_postgresql import PostgresServer


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty database of either kind, for any number of connections and processes."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'ephemera.db'}"
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    lent = server.lend()
    yield lent
    server.give_back(lent)


@pytest.fixture(params=["memory", "postgresql"])
def database(request: pytest.FixtureRequest) -> Iterator[Database]:
    """An empty database of either kind, open, for this process alone."""
    if request.param == "memory":
        with closing(open_database("sqlite://", create=True)) as opened:
            yield opened
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    lent = server.lend()
    with closing(open_database(lent, create=False)) as opened:
        yield opened
    server.give_back(lent)


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
