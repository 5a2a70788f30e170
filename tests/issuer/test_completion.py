"""Typer's completion, asked as a shell asks it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ephemera_issuer.cli.clients import known_clients

if TYPE_CHECKING:
    import pytest
    from issuer.fixtures_commands import Run

COMMAND = Path(sys.executable).with_name("ephemera")


def completed(directory: Path, words: str) -> list[str]:
    """What bash is told could follow, for the last of the words."""
    ended = subprocess.run(
        [COMMAND],
        cwd=directory,
        env={
            "PATH": os.environ["PATH"],
            "_EPHEMERA_COMPLETE": "complete_bash",
            "COMP_WORDS": words,
            "COMP_CWORD": str(words.count(" ")),
        },
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return ended.stdout.split()


def test_commands_options_and_clients_are_completed(applied: Run, directory: Path) -> None:
    assert applied
    assert completed(directory, "ephemera e") == ["explain"]
    assert completed(directory, "ephemera clients roll-") == ["roll-secret"]
    assert completed(directory, "ephemera apply --pr") == ["--prune"]
    assert completed(directory, "ephemera clients disable o") == ["orders"]


def test_clients_are_those_of_the_registry(applied: Run) -> None:
    assert applied
    assert known_clients("") == known_clients("ord") == ["orders"]
    assert known_clients("billing") == []


def test_where_there_is_no_registry_no_client_is_known_and_nothing_is_made(
    run: Run, directory: Path
) -> None:
    assert run
    assert known_clients("") == []
    assert [file.name for file in directory.iterdir()] == ["registry.toml"]


def test_a_wrong_setting_does_not_break_the_prompt(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run
    monkeypatch.setenv("EPHEMERA_LISTN", "x")
    assert known_clients("") == []
