"""Work of one turn of the event loop, done together at its end."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")


class Turns:
    """Does the cryptography of all tasks that have come as far in one turn of their loop.

    A busy issuer has dozens of requests in hand. Signature after signature, what signing needs
    stays in the processor's caches; with the rest of a request in between, each takes half as long
    again, and so does that rest: one by one, a mint costs a seventh more processor time.
    """

    __slots__ = ("_pending",)

    def __init__(self) -> None:
        self._pending: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[Any], Any]]] = {}

    def do(self, work: Callable[[], T]) -> Awaitable[T]:
        """Have `work` done: what is returned gives, or raises, what it does.

        Without asyncio it is done when that is awaited.
        """
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return _by_itself(work)
        future: asyncio.Future[T] = loop.create_future()
        pending = self._pending.get(loop)
        if pending is None:
            pending = self._pending[loop] = []
            loop.call_soon(self._end, loop)
        pending.append((future, work))
        return future

    def _end(self, loop: asyncio.AbstractEventLoop) -> None:
        for future, work in self._pending.pop(loop):
            if future.done():
                continue  # its task was cancelled
            try:
                future.set_result(work())
            except Exception as error:  # noqa: BLE001 - it is the task's
                future.set_exception(error)


async def _by_itself(work: Callable[[], T]) -> T:
    return work()
