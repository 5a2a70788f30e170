"""The thread that writes records: off the path of requests, many at once, and none is dropped.

Whoever has something to record puts it in a queue. The queue refuses nothing; that it does not grow
without end is for those to see to who ask `behind` before they let a request in.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Protocol

import structlog

from ephemera_issuer.errors import AuditNotWritten, IssuerError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

MOST_WAITING = 20_000
"""Tokens on record in the queue, from which on the writer is behind: some 20 MB."""
PATIENCE = 5.0
FLUSH = 3.0
"""Seconds that the last records get at the end."""

_GATHER = 0.05
"""Seconds in which records come together to be written at once, where nobody waits for them."""
_MOST_AT_ONCE = 2000
_PAUSE = 0.25
"""Seconds between attempts, where one failed."""


class Sink(Protocol):
    """Where records are written."""

    @property
    def facts(self) -> Mapping[str, object]:
        """What was found when it was opened, for its first record to say."""
        ...

    def append(self, bodies: Sequence[bytes]) -> None:
        """Extend the chain, durably.

        Raises:
            IssuerError: It was not, or nobody knows whether it was.
        """
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


class Writer:
    """Writes to one sink, on a thread that begins with the first record.

    Attributes:
        behind: Whether the queue is as long as it may get.
        written: How many records are durable.
        patience: Seconds that whoever cannot go on without its record waits for it.
        failure: Why the last attempt failed, while none has succeeded since.
    """

    def __init__(  # noqa: PLR0913 - the parts of a writer
        self,
        sink: Sink,
        *,
        opening: Callable[[Mapping[str, object]], bytes],
        closing: Callable[[], bytes],
        most_waiting: int = MOST_WAITING,
        patience: float = PATIENCE,
        flush: float = FLUSH,
    ) -> None:
        self.patience = patience
        self.behind = False
        self.written = 0
        self.failure: str | None = None
        self._sink = sink
        self._opening: Callable[[Mapping[str, object]], bytes] | None = opening
        self._closing = closing
        self._most_waiting = most_waiting
        self._flush = flush
        self._queue: deque[tuple[Callable[[], bytes], int]] = deque()
        self._weight = 0
        self._put = 0
        self._idle = False
        self._hurry = threading.Event()
        self._ended: float | None = None
        # Taken for each record: a bare lock takes no call of Python's, a condition two.
        self._lock = threading.Lock()
        self._state = threading.Condition(self._lock)
        self._thread: threading.Thread | None = None
        self._told: tuple[Callable[[], None], ...] = ()

    def watch(self, told: Callable[[], None]) -> None:
        """Call `told` after each attempt to write, in the writer's thread: be quick."""
        self._told += (told,)

    @property
    def waiting(self) -> int:
        """How many records are not durable yet."""
        return self._put - self.written

    def put(self, body: Callable[[], bytes], *, weight: int = 1, hurry: bool = False) -> int:
        """Queue a record, and return its number: it is durable once `written` has reached it.

        Args:
            body: Makes what is to be written, later and in the writer's thread.
            weight: For how many records of the usual size it counts.
            hurry: Whether somebody waits for it.
        """
        with self._lock:
            self._queue.append((body, weight))
            self._put += 1
            self._weight += weight
            if self._weight >= self._most_waiting:
                self.behind = True
            if self._idle:
                self._idle = False
                self._state.notify_all()
            elif self._thread is None:
                self._start()
            number = self._put
        if hurry:
            self._hurry.set()
        return number

    def wait(self, number: int) -> None:
        """Return once a record is durable. Blocks, for as long as others before it come to be.

        Raises:
            AuditNotWritten: For some seconds none did; it may come to be later.
        """
        with self._lock:
            before = self.written
            while not self._state.wait_for(lambda: self.written >= number, self.patience):
                if self.written == before:
                    raise AuditNotWritten(
                        self.failure or "the audit: records are not written in time"
                    )
                before = self.written

    def close(self) -> None:
        """Write what is left, and let go of the sink.

        Raises:
            AuditNotWritten: It cannot be written; the text says how many records are lost.
        """
        with self._lock:
            self._ended = time.monotonic() + self._flush
            self._idle = False
            self._state.notify_all()
        self._hurry.set()
        if self._thread is not None:
            self._thread.join()
        self._sink.close()
        if self.waiting:
            raise AuditNotWritten(
                f"{self.failure or 'the audit: its writer failed'}; "
                f"{self.waiting} records could not be written and are lost"
            )

    def _start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="audit", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            while batch := self._batch():
                weight = sum(each for _, each in batch)
                if not self._write([body() for body, _ in batch]):
                    return
                with self._lock:
                    self.written += len(batch)
                    self._weight -= weight
                    self.behind = self._weight >= self._most_waiting
                    self._state.notify_all()
                self._tell()
            if self._opening is None:
                self._write([self._closing()])
        except Exception:  # noqa: BLE001 - whatever it is, it must stop the mint
            # Nothing is to be minted any more that nobody records.
            structlog.get_logger().exception("audit_failed")
            self._most_waiting = 0
            self.behind = True
            self._tell()

    def _batch(self) -> list[tuple[Callable[[], bytes], int]]:
        """Wait for records, and take some; none at the end."""
        with self._lock:
            while not self._queue and self._ended is None:
                self._idle = True
                self._state.wait()
        if len(self._queue) < _MOST_AT_ONCE:
            self._hurry.wait(_GATHER)
        # Whoever hurries from now on is in this batch, or hurries the next one.
        if self._ended is None:
            self._hurry.clear()
        with self._lock:
            return [self._queue.popleft() for _ in range(min(len(self._queue), _MOST_AT_ONCE))]

    def _write(self, bodies: list[bytes]) -> bool:
        """Write at last; whether it was done, rather than given up at the end."""
        if self._opening is not None:
            bodies.insert(0, self._opening(self._sink.facts))
        while True:
            try:
                self._sink.append(bodies)
            except IssuerError as error:
                if self.failure is None:
                    structlog.get_logger().error("audit_not_written", reason=str(error))
                self.failure = str(error)
                self._tell()
                if self._ended is not None and time.monotonic() > self._ended:
                    return False
                with self._lock:
                    self._state.wait(_PAUSE)
            else:
                self._opening = None
                if self.failure is not None:
                    structlog.get_logger().info("audit_written_again")
                self.failure = None
                return True

    def _tell(self) -> None:
        for told in self._told:
            told()
