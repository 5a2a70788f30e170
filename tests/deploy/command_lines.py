"""The command lines that files under deploy/ hold, against the real ones."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from ephemera_issuer.cli import application

if TYPE_CHECKING:
    from collections.abc import Sequence

DEPLOY = Path(__file__).parents[2] / "deploy"


class NoSuchCommand(Exception):
    """`ephemera` has no such command."""


def parse(arguments: Sequence[str]) -> str:
    """Parse a command line of `ephemera` as the command itself does; the command that it is.

    Raises:
        NoSuchCommand: It names none.
        click.ClickException: It would be refused, with status 2.
    """
    command: Any = typer.main.get_command(application())
    rest = list(arguments)
    while names := getattr(command, "commands", None):
        if not rest or rest[0] not in names:
            raise NoSuchCommand(" ".join(arguments))
        command = names[rest.pop(0)]
    name: str = command.name
    with command.make_context(name, rest):
        return name
