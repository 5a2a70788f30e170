"""Several processes that serve one listener, and the parent that keeps their number.

The parent opens nothing but the listener and forks; it must have no threads. A worker that dies is
replaced, at once the first time and later the less often the less it lives. Workers whose parent
is gone end in order by themselves.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NoReturn

import structlog

from ephemera_issuer.errors import IssuerError
from ephemera_issuer.server import DRAIN, LINGER
from ephemera_keys import KeysError

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Collection, Iterator

    from structlog.typing import FilteringBoundLogger

STEADY: Final = 30.0
"""Seconds after which a worker that dies counts as one that had been well."""
LONGEST_PAUSE: Final = 30.0
PATIENCE: Final = DRAIN + LINGER + 5.0
"""Seconds in which workers must have ended before they are killed."""

_FIRST_PAUSE: Final = 0.1
_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)


def pause_before(deaths: int) -> float:
    """Seconds to wait before a worker is replaced that died `deaths` times in a row, 1 and up."""
    # Capped before the power, which would outgrow a float.
    return 0.0 if deaths <= 1 else min(_FIRST_PAUSE * 2 ** min(deaths - 2, 16), LONGEST_PAUSE)


@dataclass(slots=True)
class _Place:
    """What is known of the worker in one place."""

    pid: int | None = None
    born: float = 0.0
    ready: bool = False
    deaths: int = 0
    due: float = 0.0


class Workers:
    """A fixed number of workers.

    Args:
        count: How many.
        work: What each does, given its number from 0, the function to call when it is ready and
            the file descriptor whose end tells that the parent has gone. It returns once SIGTERM
            has ended it.
        listeners: What they share; closed here when they are to end.
        ready: Called once, when all are ready for the first time.
        died: Called with the number of a worker that has died and is to be replaced.
    """

    def __init__(
        self,
        count: int,
        work: Callable[[int, Callable[[], None], int], None],
        *,
        listeners: Collection[socket.socket],
        ready: Callable[[], None],
        died: Callable[[int], None],
    ) -> None:
        self._places = [_Place() for _ in range(count)]
        self._work = work
        self._listeners = listeners
        self._ready = ready
        self._died = died
        self._announced = False
        self._kill_at: float | None = None
        self._status = 0
        self._log: FilteringBoundLogger = structlog.get_logger()

    def run(self) -> int:
        """Keep them until SIGTERM or SIGINT; the status that the process should end with.

        That is 0 if each ended in order, the worker's own where one could not start, and 1 where
        one had to be killed.
        """
        with (
            _pipe() as (self._leash, self._leash_end),
            _pipe() as (self._news, self._news_end),
            _pipe() as (wakened, wakening),
            selectors.DefaultSelector() as selector,
            _signals_to(wakening),
        ):
            selector.register(self._news, selectors.EVENT_READ)
            selector.register(wakened, selectors.EVENT_READ)
            while self._kill_at is None or any(place.pid for place in self._places):
                self._start_due()
                for key, _ in selector.select(self._patience()):
                    told = os.read(key.fd, 4096)
                    if key.fd == wakened and {signal.SIGTERM, signal.SIGINT} & set(told):
                        self._end()
                    elif key.fd == self._news:
                        self._note_ready(told)
                self._reap()
                self._kill_the_late()
        return self._status

    def _start_due(self) -> None:
        now = time.monotonic()
        for number, place in enumerate(self._places):
            if place.pid is None and self._kill_at is None and now >= place.due:
                place.pid, place.born, place.ready = self._fork(number), now, False

    def _fork(self, number: int) -> int:
        # A signal between the fork and the worker's own handlers would be told to the parent.
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            if pid := os.fork():
                return pid
            self._be_worker(number)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)

    def _be_worker(self, number: int) -> NoReturn:
        status: str | int | None = 1
        try:
            signal.set_wakeup_fd(-1)
            for name in _SIGNALS:
                signal.signal(name, signal.SIG_DFL)
            os.close(self._leash_end)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
            structlog.contextvars.bind_contextvars(worker=number)
            self._work(number, lambda: _write(self._news_end, bytes([number])), self._leash)
            status = 0
        except SystemExit as ended:
            status = ended.code or 0
        except (IssuerError, KeysError) as error:
            for line in str(error).splitlines():
                self._log.error("worker_failed", reason=line)
        except BaseException:  # noqa: BLE001 - whatever it is ends here, with this process
            # Logged here, for what is above on the stack is the parent's.
            self._log.exception("worker_failed")
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status if isinstance(status, int) else 1)

    def _note_ready(self, numbers: bytes) -> None:
        for number in numbers:
            self._places[number].ready = True
        if not self._announced and all(place.ready for place in self._places):
            self._announced = True
            self._ready()

    def _reap(self) -> None:
        for number, place in enumerate(self._places):
            if place.pid is None:
                continue
            pid, raw = os.waitpid(place.pid, os.WNOHANG)
            if pid:
                self._note_death(number, place, os.waitstatus_to_exitcode(raw))

    def _note_death(self, number: int, place: _Place, status: int) -> None:
        pid, place.pid = place.pid, None
        if self._kill_at is not None:
            if status not in {0, -signal.SIGTERM}:
                self._status = self._status or 1
            return
        if status > 0 and not self._announced:
            # It said why. What cannot start now would not a moment later.
            self._status = status
            self._end()
            return
        self._died(number)
        now = time.monotonic()
        place.deaths = place.deaths + 1 if now - place.born < STEADY else 1
        place.due = now + pause_before(place.deaths)
        self._log.error(
            "worker_died",
            worker=number,
            pid=pid,
            status=status,
            replaced_in=pause_before(place.deaths),
        )

    def _end(self) -> None:
        if self._kill_at is None:
            self._kill_at = time.monotonic() + PATIENCE
            for listener in self._listeners:
                listener.close()
        self._tell_all(signal.SIGTERM)

    def _kill_the_late(self) -> None:
        if self._kill_at is not None and time.monotonic() >= self._kill_at:
            self._log.error("workers_killed", seconds=PATIENCE)
            self._kill_at = time.monotonic() + PATIENCE
            self._tell_all(signal.SIGKILL)

    def _tell_all(self, number: signal.Signals) -> None:
        for place in self._places:
            if place.pid is not None:
                # Not reaped yet, so the pid is still its own.
                os.kill(place.pid, number)

    def _patience(self) -> float | None:
        moments = [place.due for place in self._places if place.pid is None]
        if self._kill_at is not None:
            moments = [self._kill_at]
        return max(min(moments) - time.monotonic(), 0.0) if moments else None


@contextlib.contextmanager
def _pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    try:
        yield reading, writing
    finally:
        os.close(reading)
        os.close(writing)


@contextlib.contextmanager
def _signals_to(wakening: int) -> Iterator[None]:
    found = {number: signal.signal(number, lambda *_: None) for number in _SIGNALS}
    signal.set_wakeup_fd(wakening, warn_on_full_buffer=False)
    try:
        yield
    finally:
        signal.set_wakeup_fd(-1)
        for number, handler in found.items():
            signal.signal(number, handler)


def _write(fd: int, told: bytes) -> None:
    # Without its parent a worker ends anyway.
    with contextlib.suppress(OSError):
        os.write(fd, told)
