"""Runs `ephemera` commands one after another in one process, as a script that reads them as JSON.

For each it writes a line: its status, and what it wrote to standard output and standard error.
"""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from system.deployment import Deployment


class Ended(NamedTuple):
    """How a command ended."""

    status: int
    output: str
    errors: str


def run_all(
    deployment: Deployment, commands: Sequence[Sequence[str]], **settings: str
) -> list[Ended]:
    """Run them in the folder of a deployment, with its settings."""
    done = subprocess.run(
        [sys.executable, "-m", "system.commands"],
        cwd=deployment.folder,
        env=deployment.environment | settings,
        input=json.dumps(commands),
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return [Ended(*json.loads(line)) for line in done.stdout.splitlines()]


def _run(arguments: list[str]) -> Ended:
    from ephemera_issuer.cli import main  # noqa: PLC0415 - not for those who only call it

    with (
        contextlib.redirect_stdout(io.StringIO()) as output,
        contextlib.redirect_stderr(io.StringIO()) as errors,
    ):
        try:
            main(arguments)
        except SystemExit as ended:
            status = ended.code
    return Ended(int(status or 0), output.getvalue(), errors.getvalue())


if __name__ == "__main__":
    for command in json.load(sys.stdin):
        print(json.dumps(_run(command)), flush=True)  # noqa: T201 - the answer
