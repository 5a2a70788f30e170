"""`ephemera migrate`: bring the tables of the database to this version."""

from __future__ import annotations

from typing import Annotated

import typer

from ephemera_issuer import database
from ephemera_issuer.cli.output import Json, print_json
from ephemera_issuer.database import migration
from ephemera_issuer.errors import DatabaseMissing
from ephemera_issuer.recorded import connected


def migrate(
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be done, and change nothing.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Bring the tables of the database to this version, all or nothing.

    Several at once take turns. `serve` and `apply` do it by themselves where the database is new
    or a SQLite file; on PostgreSQL, replicas of the older version may still be running.
    """
    with connected() as (opened, _):
        try:
            before = database.found(opened)
        except DatabaseMissing:
            before = None
        steps = migration.steps(before)
        if not dry_run:
            database.prepare(opened, create=True, migrating=True)
    if as_json:
        document = {
            "dry_run": dry_run,
            "database": opened.location,
            "before": before,
            "after": before if dry_run else migration.head(),
            "steps": [step._asdict() for step in steps],
        }
        print_json(document)
        return
    for step in steps:
        typer.echo(f"{step.revision}  {step.summary}")
    if not steps:
        typer.echo(f"{opened.location} is at revision {before}, as this version wants it.")
    elif dry_run:
        typer.echo(f"{opened.location} is at {before or 'nothing'}; a dry run, nothing was done.")
    else:
        typer.echo(f"{opened.location} is at revision {migration.head()}.")
