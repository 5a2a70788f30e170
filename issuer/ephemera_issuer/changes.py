"""Word of changes in the database: waiting for it, and not for too long."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

import anyio
import anyio.from_thread
import anyio.to_thread

if TYPE_CHECKING:
    from ephemera_issuer.database import Database


class Changes:
    """Wakes whoever waits once something has changed in a database that sends word of it.

    A server does; for a file, waiting takes its time.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._changed = anyio.Event()

    async def wait(self, longest: float) -> None:
        """Wait until something has changed since the last wait, or for `longest` seconds."""
        with anyio.move_on_after(longest):
            await self._changed.wait()
        self._changed = anyio.Event()

    async def listen(self) -> None:
        """Listen until cancelled."""
        if not self._database.remote:
            return
        from ephemera_issuer.database import postgresql  # noqa: PLC0415 - its driver is an extra

        ended = threading.Event()

        def changed() -> None:
            # Nobody is told any more once this has been cancelled.
            with contextlib.suppress(RuntimeError):
                anyio.from_thread.run_sync(self._tell)

        def listen() -> None:
            postgresql.listen(self._database, ended, changed)

        try:
            # Neither does it take a thread from those that answer requests.
            await anyio.to_thread.run_sync(
                listen, abandon_on_cancel=True, limiter=anyio.CapacityLimiter(1)
            )
        finally:
            ended.set()

    def _tell(self) -> None:
        self._changed.set()
