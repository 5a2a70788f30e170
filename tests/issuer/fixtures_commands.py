"""The `ephemera` command in this process, in a directory of its own."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ephemera_issuer.cli import main


class Run:
    """The command in this process: what it wrote, and its status."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *arguments: str, status: int = 0) -> tuple[str, str]:
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        out, err = self._capsys.readouterr()
        assert (ended.value.code or 0) == status, err
        return out, err

    def json(self, *arguments: str, status: int = 0) -> Any:
        return json.loads(self(*arguments, "--json", status=status)[0])
