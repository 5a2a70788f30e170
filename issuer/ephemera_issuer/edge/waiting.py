"""Requests that wait for news: all of them on one event, and no more of them than there is room."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from typing import TYPE_CHECKING

import anyio

from ephemera_client.flight import waker
from ephemera_issuer.errors import Overcrowded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class News:
    """Wakes whoever waits, from any thread. The waiters are tasks of one event loop.

    There is one event for all of them; news sets it, and the next waiter makes another.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._event: anyio.Event | None = None
        self._wake: Callable[[], object] | None = None
        self.ended = False

    def awaited(self) -> anyio.Event:
        """Return the event of the next news. Take it first, then look whether to wait at all."""
        with self._lock:
            if self._event is None:
                self._event = anyio.Event()
                self._wake = waker(self._event)
            return self._event

    def tell(self) -> None:
        """Wake all who wait now."""
        with self._lock:
            wake, self._wake, self._event = self._wake, None, None
        if wake is not None:
            # The waiters' event loop has ended, and their interest with it.
            with contextlib.suppress(RuntimeError):
                wake()

    def end(self) -> None:
        """Wake all, and let nobody wait any more."""
        self.ended = True
        self.tell()


class Room:
    """How many may wait at once: in all, and from one address."""

    def __init__(self, *, in_all: int, of_address: int) -> None:
        self._in_all = in_all
        self._of_address = of_address
        self._waiting: Counter[str] = Counter()

    @contextlib.contextmanager
    def place(self, address: str) -> Iterator[None]:
        """Take a place for as long as the block lasts.

        Raises:
            Overcrowded: There is none.
        """
        if self._waiting[address] >= self._of_address:
            raise Overcrowded("too many requests of this address wait already", of_address=True)
        if self._waiting.total() >= self._in_all:
            raise Overcrowded("too many requests wait already", of_address=False)
        self._waiting[address] += 1
        try:
            yield
        finally:
            self._waiting[address] -= 1
            if not self._waiting[address]:
                del self._waiting[address]
