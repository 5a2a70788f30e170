"""One piece of work on a thread of its own, awaited by any number of threads and tasks.

A waiter may be cancelled or lose patience without harm to the work or to the other waiters, and
tasks of several event loops, asyncio's and trio's alike, can wait for the same flight.
"""

import contextlib
import threading
from collections.abc import Callable
from typing import Any

import anyio
from anyio.lowlevel import current_token


class Landing:
    """Something that happens once, awaited by any number of threads and tasks."""

    def __init__(self) -> None:
        self._landed = threading.Event()
        self._lock = threading.Lock()
        self._wakers: list[Callable[[], object]] = []

    def wait(self, seconds: float) -> None:
        """Block this thread until it has happened, at most `seconds`."""
        self._landed.wait(max(seconds, 0.0))

    async def wait_async(self, seconds: float) -> None:
        """Suspend this task until it has happened, at most `seconds`."""
        event = anyio.Event()
        with self._lock:
            if self._landed.is_set():
                return
            self._wakers.append(waker(event))
        with anyio.move_on_after(seconds):
            await event.wait()

    def land(self) -> None:
        """Let it have happened."""
        with self._lock:
            self._landed.set()
        for wake in self._wakers:
            # The waiter's event loop has ended, and its interest with it.
            with contextlib.suppress(RuntimeError):
                wake()


class Flight(Landing):
    """Begins `work` at once; what it raises goes to `threading.excepthook`, and it has landed.

    The thread is a daemon: work that hangs does not keep the process alive.

    Raises:
        RuntimeError: no thread can be started.
    """

    def __init__(self, work: Callable[[], None]) -> None:
        super().__init__()
        self._work = work
        threading.Thread(target=self._fly, name="ephemera-flight", daemon=True).start()

    def _fly(self) -> None:
        try:
            self._work()
        finally:
            self.land()


def waker(event: anyio.Event) -> Callable[[], object]:
    """Return what sets `event`, of the event loop at hand, from any thread.

    What is returned raises RuntimeError once that loop has ended.
    """
    # anyio.from_thread would wait for the loop to run the call, and so let one loop that is stuck
    # hold up all the waiters behind it.
    loop: Any = current_token().native_token
    hand_over = getattr(loop, "call_soon_threadsafe", None) or loop.run_sync_soon
    return lambda: hand_over(event.set)
