"""Claims of many tasks, carried out together by one thread."""

import threading
from collections import deque
from collections.abc import Callable

from ephemera_client.instant import Instant
from ephemera_client.replay.claim import Claim
from ephemera_client.waiting import TaskWaiter, wake_all

BATCH = 128
_IDLE = 30.0


class Errand:
    """One claim on its way, of the task that makes it.

    Once `is_done`, it was accepted, unless there is a `refusal` for that task to raise.
    """

    __slots__ = ("claim", "give_up_at", "is_done", "now", "refusal", "waiter")

    def __init__(self, claim: Claim, now: Instant, *, give_up_at: float) -> None:
        self.claim = claim
        self.now = now
        self.give_up_at = give_up_at
        self.is_done = False
        self.refusal: Exception | None = None
        self.waiter = TaskWaiter()


class Courier:
    """Carries errands out on a thread, those that come while it is under way together.

    A hop to a thread and back costs more than a claim; shared by a batch it costs little. The
    thread works while there is something to do, and half a minute longer.

    Args:
        carry_out: given up to 128 errands, marks those that `is_done`.
    """

    def __init__(self, carry_out: Callable[[list[Errand]], None]) -> None:
        self._carry_out = carry_out
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._waiting: deque[Errand] = deque()
        self._thread: threading.Thread | None = None
        self._closing = False

    def submit(self, errand: Errand) -> None:
        """Take an errand.

        Raises:
            RuntimeError: no thread can be started.
        """
        with self._lock:
            self._closing = False
            if self._thread is None:
                self._thread = self._start()
            if not self._waiting:
                self._changed.notify()
            self._waiting.append(errand)

    def close(self) -> None:
        """Let the thread end once it has done what it has."""
        with self._lock:
            self._closing = True
            self._changed.notify()

    def _start(self) -> threading.Thread:
        thread = threading.Thread(target=self._work, name="ephemera-claims", daemon=True)
        thread.start()
        return thread

    def _work(self) -> None:
        while batch := self._next():
            try:
                self._carry_out(batch)
            except BaseException:
                with self._lock:
                    self._thread = None
                raise
            finally:
                wake_all([errand.waiter for errand in batch])

    def _next(self) -> list[Errand]:
        with self._lock:
            while not self._waiting:
                if self._closing or not (self._changed.wait(_IDLE) or self._waiting):
                    self._thread = None
                    return []
            return [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]
