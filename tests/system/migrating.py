"""`ephemera migrate` in a process of its own that tells how far it has come, to be killed.

As a script it reads attempts from standard input, a JSON object a line, and answers each likewise.
"""

from __future__ import annotations

import contextlib
import io
import json
import mmap
import os
import signal
import sys
import time
from enum import IntEnum
from typing import TYPE_CHECKING, Any, NoReturn
from unittest import mock

import psycopg  # noqa: F401 - so that it is there before an attempt begins

from ephemera_issuer.cli import main
from ephemera_issuer.database import migration, postgresql  # noqa: F401 - the same

if TYPE_CHECKING:
    from sqlalchemy import Connection


class Stage(IntEnum):
    """How far a migration has come, as a byte in memory that outlives the process."""

    LOOKING = 0
    OPEN = 1  # the transaction has begun
    WRITTEN = 2  # every step is done, none is committed
    DONE = 3  # the command has ended


def attempt(url: str, kill_after: float | None) -> dict[str, Any]:
    """Fork an `ephemera migrate` and kill it after so many seconds, unless it ends before."""
    stage = mmap.mmap(-1, 1)  # shared with the child
    started = time.monotonic()
    child = os.fork()
    if not child:
        _migrate(url, stage)
    if kill_after is not None:
        time.sleep(kill_after)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return {
        "status": os.waitstatus_to_exitcode(status),
        "stage": stage[0],
        "seconds": time.monotonic() - started,
    }


def _migrate(url: str, stage: mmap.mmap) -> NoReturn:
    status: str | int | None = 1
    upgrade = migration.upgrade

    def watched(connection: Connection, **places: Any) -> None:
        stage[0] = Stage.OPEN
        upgrade(connection, **places)
        stage[0] = Stage.WRITTEN

    try:
        os.environ["EPHEMERA_DATABASE_URL"] = url
        with (
            mock.patch.object(migration, "upgrade", watched),
            contextlib.redirect_stdout(io.StringIO()),
        ):
            main(["migrate"])
    except SystemExit as ended:
        status = ended.code or 0
        stage[0] = Stage.DONE
    finally:
        os._exit(status if isinstance(status, int) else 1)


if __name__ == "__main__":
    # Everything is imported by now, so that an attempt costs a fork.
    for line in sys.stdin:
        print(json.dumps(attempt(**json.loads(line))), flush=True)  # noqa: T201 - the answer
