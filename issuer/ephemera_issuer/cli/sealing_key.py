"""`ephemera keys new-sealing-key`: the key that signing keys are sealed under."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads the annotation
from typing import Annotated

import typer

from ephemera_keys import SealingKeys


def new_sealing_key(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Made, never overwritten.")],
) -> None:
    """Make a sealing key, readable by you alone: one for all replicas of an issuer.

    EPHEMERA_SEALING_KEY_FILE names it to `serve`. Keep it apart from the database and its backups:
    with both, anybody can sign. To change it, put the new line first in the file and keep the old
    one until two rotations have passed.
    """
    (fingerprint,) = SealingKeys.create(file).fingerprints
    typer.echo(f"Wrote {file}, the sealing key {fingerprint}")
