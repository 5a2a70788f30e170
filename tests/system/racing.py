"""Rotates when it is told to, in a process of its own, so that many do it at once."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from system.changes import ISSUER

from ephemera_issuer.database import connect
from ephemera_issuer.errors import KeysConflict
from ephemera_issuer.rotation import SigningKeys
from ephemera_keys import RotationRefused, SealingKeys

if TYPE_CHECKING:
    from multiprocessing.connection import Connection as Pipe
    from multiprocessing.synchronize import Barrier
    from pathlib import Path

WON, TOO_EARLY, CONFLICT = "won", "too early", "conflict"


def rotate(pipe: Pipe, together: Barrier, url: str, sealing_key_file: Path) -> None:
    """For each moment that comes through the pipe rotate as of then, with all the others."""
    with closing(connect(url)) as database:
        keys = SigningKeys(
            database=database, sealing_keys=SealingKeys.load(sealing_key_file), issuer=ISSUER
        )
        while (now := pipe.recv()) is not None:
            together.wait()
            try:
                ring = keys.rotate("ES256", now=now, emergency=False)
            except RotationRefused:
                pipe.send((TOO_EARLY, ""))
            except KeysConflict:
                pipe.send((CONFLICT, ""))
            else:
                pipe.send((WON, ring.active.kid))
