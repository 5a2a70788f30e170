"""That the process is about to end, for those who would otherwise wait or promise more."""

from __future__ import annotations

import anyio


class Ending:
    """Begins once and for all, on the event loop that serves."""

    def __init__(self) -> None:
        self.begun = False
        self._waiting: set[anyio.Event] = set()

    def begin(self) -> None:
        """Wake all who wait."""
        self.begun = True
        for event in self._waiting:
            event.set()

    async def wait(self) -> None:
        """Return when it has begun: what is polled for long is answered at once."""
        if self.begun:
            return
        event = anyio.Event()
        self._waiting.add(event)
        try:
            await event.wait()
        finally:
            self._waiting.discard(event)
