"""Waiting for what a thread does: any number of tasks and threads, woken many at a time."""

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

    __slots__ = ("_event", "loop", "wake")

    def __init__(self) -> None:
        self.loop = current_token().native_token
        self._event = anyio.Event()
        self.wake = self._event.set

    async def wait(self, seconds: float) -> None:
        """Suspend this task until woken, at most `seconds`."""
        call_later = getattr(self.loop, "call_later", None)
        if call_later is None:
            with anyio.move_on_after(seconds):
                await self._event.wait()
            return
        # Where the loop has timers: a cancel scope costs as much as half a signature.
        timer = call_later(max(seconds, 0.0), self.wake)
        try:
            await self._event.wait()
        finally:
            timer.cancel()


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
