"""`ephemera backup` and `ephemera restore`."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import Annotated

import typer

from ephemera_client import instant
from ephemera_issuer import backup as backups
from ephemera_issuer import restoration
from ephemera_issuer.admin.documents import moment
from ephemera_issuer.cli.output import Json, print_json
from ephemera_issuer.recorded import connected
from ephemera_issuer.sealing_key import sealing_keys_for_new
from ephemera_issuer.settings import Settings


def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", dir_okay=False)], *, as_json: Json = False
) -> None:
    """Write registry, revocations and public keys to a file, as of one moment.

    Issuers go on meanwhile. The file is readable by you alone; an older one of that name is
    replaced once the new one is complete. No private key is in it, and no sealing key.
    """
    with connected() as (database, audit):
        taken = backups.take(database, now=instant.read().wall)
        location = database.location
        backups.write(taken, file)
        if audit is not None:
            audit.trail.tell(backups.BackedUp(str(file), taken.taken_at))
    if as_json:
        counts = {table: len(rows) for table, rows in taken.rows.items()}
        print_json(
            {
                "file": str(file),
                "database": location,
                "issuer": taken.issuer,
                "revision": taken.revision,
                "taken_at": moment(taken.taken_at),
                "rows": counts,
            }
        )
    else:
        typer.echo(f"Wrote {file}: {location} with {taken.size} rows, of {moment(taken.taken_at)}")


def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", exists=True, dir_okay=False)],
    *,
    replace: Annotated[
        bool,
        typer.Option("--replace", help="Put it in place of what the database holds by now."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Put a backup into the database, and begin anew with everything that is issued.

    The registry is as it was; the signing keys are new, the old ones revoked, and tokens issued
    until now refused. It need not be the kind of database that the backup was taken of.
    """
    settings = Settings()
    held = backups.read(file)
    with connected(settings) as (database, _):
        restored = restoration.restore(
            database,
            held,
            sealing_keys=lambda: sealing_keys_for_new(database, file=settings.sealing_key_file),
            issuer=settings.issuer,
            algorithm=settings.algorithm,
            replace=replace,
            now=lambda: instant.read().wall,
        )
        location = database.location
    if as_json:
        print_json(
            {
                "database": location,
                "issuer": held.issuer,
                "taken_at": moment(held.taken_at),
                "epoch": restored.epoch,
                "revoked_keys": list(restored.revoked),
                "cut_off": moment(restored.cut_off),
            }
        )
        return
    typer.echo(f"{location} is as the backup of {moment(held.taken_at)} has it.")
    if held.issuer is not None:
        typer.echo(f"It has new signing keys; revoked: {' '.join(restored.revoked)}")
    typer.echo(f"Tokens issued up to {moment(restored.cut_off)} are refused.")
