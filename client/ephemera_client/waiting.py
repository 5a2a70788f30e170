"""Waiting for what a thread does: any number of tasks and threads, woken many at a time."""

import asyncio
import sys
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, Protocol

import anyio
from anyio.lowlevel import current_token


class Waiter(Protocol):
    """Whoever waits for one thing."""

    loop: Any
    """The event loop of a task that waits; None for a thread."""

    @property
    def wake(self) -> Callable[[], object]:
        """What ends the wait, to be called in that loop."""
        ...


class ThreadWaiter:
    """Waits in a thread."""

    __slots__ = ("_event", "wake")

    loop: Any = None

    def __init__(self) -> None:
        self._event = threading.Event()
        self.wake = self._event.set

    def wait(self, seconds: float) -> None:
        """Block until woken, at most `seconds`."""
        self._event.wait(max(seconds, 0.0))


class TaskWaiter:
    """Waits in the task that makes it, of asyncio or trio."""

    __slots__ = ("_event", "_future", "loop", "wake")

    def __init__(self) -> None:
        self.loop = _running_loop()
        self._future: asyncio.Future[None] | None = None
        if isinstance(self.loop, asyncio.AbstractEventLoop):
            # An anyio event with a cancel scope around it costs three times as much.
            self._future = self.loop.create_future()
            self.wake = self._wake_future
        else:
            self._event = anyio.Event()
            self.wake = self._event.set

    async def wait(self, seconds: float) -> None:
        """Suspend this task until woken, at most `seconds`."""
        if self._future is None:
            with anyio.move_on_after(seconds):
                await self._event.wait()
            return
        timer = self.loop.call_later(max(seconds, 0.0), self.wake)
        try:
            await self._future
        finally:
            timer.cancel()

    def _wake_future(self) -> None:
        if self._future is not None and not self._future.done():
            self._future.set_result(None)


def _running_loop() -> Any:
    trio = sys.modules.get("trio")
    if trio is None or not trio.lowlevel.in_trio_run():
        # It can only be asyncio then; to ask anyio costs as much as all the rest of a waiter.
        return asyncio.get_running_loop()
    return current_token().native_token


def wake_all(waiters: Iterable[Waiter]) -> None:
    """Wake them from any thread, those of one event loop in one go; who has left is left alone."""
    by_loop: defaultdict[Any, list[Callable[[], object]]] = defaultdict(list)
    for waiter in waiters:
        by_loop[waiter.loop].append(waiter.wake)
    for loop, wakes in by_loop.items():
        if loop is None:
            _call(wakes)
            continue
        hand_over = getattr(loop, "call_soon_threadsafe", None) or loop.run_sync_soon
        # The loop may have ended, and its interest with it.
        with suppress(RuntimeError):
            hand_over(_call, wakes)


def _call(wakes: Iterable[Callable[[], object]]) -> None:
    for wake in wakes:
        wake()
