"""An application that is made when it is first asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import ASGIApp, Receive, Scope, Send


class Deferred:
    """Stands for what `make` makes, which is called once, in a thread.

    The models of the admin API take as long to make as half of what else an issuer starts with,
    and most processes are never asked for it.
    """

    __slots__ = ("_app", "_make", "_making")

    def __init__(self, make: Callable[[], ASGIApp]) -> None:
        self._make = make
        self._app: ASGIApp | None = None
        self._making = anyio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if self._app is None:
            async with self._making:
                if self._app is None:
                    self._app = await anyio.to_thread.run_sync(self._make)
        await self._app(scope, receive, send)
