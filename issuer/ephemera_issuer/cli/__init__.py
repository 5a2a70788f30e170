"""The `ephemera` command; each of its nouns and verbs is a module here."""

from __future__ import annotations

import gc
import sys
from importlib import import_module
from typing import TYPE_CHECKING

import typer

from ephemera_issuer.cli.administration import choose
from ephemera_issuer.errors import IssuerError
from ephemera_keys import KeysError

if TYPE_CHECKING:
    from collections.abc import Sequence

_COMMANDS = {
    "init": "init",
    "serve": "serve",
    "apply": "apply",
    "explain": "explain",
    "revoke": "revoke",
    "clients": "clients",
    "keys": "keys",
    "audit": "audit",
    "migrate": "migrate",
    "backup": "backup",
    "restore": "backup",
    "demo": "demo",
}
"""The commands, in the order of the help, and the modules that they are in."""


def application(*names: str) -> typer.Typer:
    """Make the application of these commands, or of all.

    Loading a module takes longer than most of them run, and `serve` is waited for.
    """
    app = typer.Typer(
        name="ephemera",
        help="Short-lived, single-use tokens for services that call each other. "
        "Settings come from EPHEMERA_* variables; `ephemera serve --help` lists them.",
        no_args_is_help=True,
        # A traceback of typer's would show local variables, and with them secrets.
        pretty_exceptions_enable=False,
        # With a callback, one command alone is still called by its name.
        callback=choose,
    )
    for name in names or _COMMANDS:
        module = import_module(f"ephemera_issuer.cli.{_COMMANDS[name]}")
        if hasattr(module, "app"):
            app.add_typer(module.app)
        else:
            app.command(name)(getattr(module, name))
    return app


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; an error of ours is told on stderr, a line for each problem.

    Raises:
        SystemExit: Always. Status 1 for an error of ours, 2 for wrong usage, 3 where `explain`
            finds a refusal.
    """
    given = sys.argv[1:] if arguments is None else arguments
    known = [name for name in given[:1] if name in _COMMANDS]
    # What modules are made of stays: to look for garbage in it is a tenth of the time to load them.
    gc.disable()
    app = application(*known)
    gc.freeze()
    gc.enable()
    try:
        app(arguments)
    except (IssuerError, KeysError) as error:
        for line in str(error).splitlines():
            sys.stderr.write(f"ephemera: {line}\n")
        raise SystemExit(1) from None
