"""The `ephemera` command; each of its nouns and verbs is a module here."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import typer

from ephemera_issuer.cli import clients, keys
from ephemera_issuer.cli.administration import choose
from ephemera_issuer.cli.apply import apply
from ephemera_issuer.cli.backup import backup, restore
from ephemera_issuer.cli.demo import demo
from ephemera_issuer.cli.explain import explain
from ephemera_issuer.cli.init import init
from ephemera_issuer.cli.migrate import migrate
from ephemera_issuer.cli.revoke import revoke
from ephemera_issuer.cli.sealing_key import new_sealing_key
from ephemera_issuer.cli.serve import serve
from ephemera_issuer.errors import IssuerError
from ephemera_keys import KeysError

if TYPE_CHECKING:
    from collections.abc import Sequence

app = typer.Typer(
    name="ephemera",
    help="Short-lived, single-use tokens for services that call each other. "
    "Settings come from EPHEMERA_* variables; `ephemera serve --help` lists them.",
    no_args_is_help=True,
    # A traceback of typer's would show local variables, and with them secrets.
    pretty_exceptions_enable=False,
)
app.callback()(choose)
app.command()(init)
app.command()(serve)
app.command()(apply)
app.command()(explain)
app.command()(revoke)
app.add_typer(clients.app)
app.add_typer(keys.app)
app.command()(migrate)
app.command()(backup)
app.command()(restore)
app.command()(demo)
keys.app.command()(new_sealing_key)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; an error of ours is told on stderr, a line for each problem.

    Raises:
        SystemExit: Always. Status 1 for an error of ours, 2 for wrong usage, 3 where `explain`
            finds a refusal.
    """
    try:
        app(arguments)
    except (IssuerError, KeysError) as error:
        for line in str(error).splitlines():
            sys.stderr.write(f"ephemera: {line}\n")
        raise SystemExit(1) from None
