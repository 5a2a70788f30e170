"""Waiting for what a thread does: any number of tasks and threads, woken many at a time."""

import asyncio
import sys
import threading
import time
from collections import defaultdict, deque
from collections.abc import Awaitable, Iterable
from contextlib import suppress
from typing import Any, Protocol

import anyio
from anyio.lowlevel import current_token


class Waiter(Protocol):
    """Whoever waits for one thing."""

    loop: Any
    """The event loop of a task that waits; None for a thread."""

    def wake(self) -> None:
        """End the wait; to be called in that loop."""
        ...


class ThreadWaiter:
    """Waits in a thread."""

    __slots__ = ("_event",)

    loop: Any = None

    def __init__(self) -> None:
        self._event = threading.Event()

    def wake(self) -> None:
        """End the wait."""
        self._event.set()

    def wait(self, seconds: float) -> None:
        """Block until woken, at most `seconds`."""
        self._event.wait(max(seconds, 0.0))


class TaskWaiter:
    """Waits in the task that makes it, of asyncio or trio.

    Attributes:
        future: Done once a task of asyncio has been woken, or has left; None for one of trio.
    """

    __slots__ = ("_event", "_seconds", "future", "loop")

    def __init__(self) -> None:
        self.loop = _running_loop()
        self._seconds: float | None = None
        self.future: asyncio.Future[None] | None = None
        if isinstance(self.loop, asyncio.AbstractEventLoop):
            # An anyio event with a cancel scope around it costs three times as much.
            self.future = self.loop.create_future()
        else:
            self._event = anyio.Event()

    def limit(self, seconds: float) -> None:
        """Wait at most `seconds` from now; to be called in the event loop."""
        if self.future is None:
            self._seconds = seconds
        else:
            self.loop.call_later(max(seconds, 0.0), self.wake)

    def wait(self) -> Awaitable[None]:
        """Return what suspends this task until woken."""
        return self.future or self._wait()

    async def _wait(self) -> None:
        with anyio.move_on_after(self._seconds):
            await self._event.wait()

    def wake(self) -> None:
        """End the wait; to be called in the event loop."""
        future = self.future
        if future is None:
            self._event.set()
        elif not future.done():
            future.set_result(None)


class Patience:
    """Ends the waits of many tasks, all of which may last equally long.

    A timer for each, made and cancelled, costs as much as all the rest of a wait. Those of one loop
    end in the order in which they began: so each loop of asyncio has one timer for all.
    """

    def __init__(self) -> None:
        self._waiting: dict[Any, deque[tuple[float, asyncio.Future[None]]]] = {}

    def limit(self, waiter: TaskWaiter, give_up_at: float) -> None:
        """Limit one wait, to that moment of the monotonic clock; to be called in its event loop."""
        loop, future = waiter.loop, waiter.future
        if future is None:
            waiter.limit(give_up_at - time.monotonic())
            return
        waiting = self._waiting.get(loop)
        if waiting is None:
            waiting = self._begin(loop, give_up_at)
        while waiting and waiting[0][1].done():
            waiting.popleft()
        waiting.append((give_up_at, future))

    def _begin(self, loop: Any, give_up_at: float) -> deque[tuple[float, asyncio.Future[None]]]:
        for ended in [other for other in list(self._waiting) if other.is_closed()]:
            self._waiting.pop(ended, None)
        waiting = self._waiting[loop] = deque()
        loop.call_later(give_up_at - time.monotonic(), self._end, loop)
        return waiting

    def _end(self, loop: Any) -> None:
        waiting = self._waiting[loop]
        now = time.monotonic()
        while waiting and (waiting[0][0] <= now or waiting[0][1].done()):
            _, future = waiting.popleft()
            if not future.done():
                future.set_result(None)
        if waiting:
            loop.call_later(waiting[0][0] - now, self._end, loop)
        else:
            del self._waiting[loop]


def _running_loop() -> Any:
    trio = sys.modules.get("trio")
    if trio is None or not trio.lowlevel.in_trio_run():
        # It can only be asyncio then; to ask anyio costs as much as all the rest of a waiter.
        return asyncio.get_running_loop()
    return current_token().native_token


def wake_all(waiters: Iterable[Waiter]) -> None:
    """Wake them from any thread, those of one event loop in one go; who has left is left alone."""
    by_loop: defaultdict[Any, list[Waiter]] = defaultdict(list)
    for waiter in waiters:
        by_loop[waiter.loop].append(waiter)
    for loop, of_loop in by_loop.items():
        if loop is None:
            _wake(of_loop)
            continue
        hand_over = getattr(loop, "call_soon_threadsafe", None) or loop.run_sync_soon
        # The loop may have ended, and its interest with it.
        with suppress(RuntimeError):
            hand_over(_wake, of_loop)


def _wake(waiters: Iterable[Waiter]) -> None:
    for waiter in waiters:
        waiter.wake()
