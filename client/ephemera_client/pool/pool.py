"""The pool of a client: stocks behind one lock, filled by threads that come and go.

Threads fill it for tasks too, since no task may outlive the one that began it. They are daemons,
so that neither a process nor an event loop waits for a refill.
"""

import contextlib
import math
import os
import threading
import weakref
from collections.abc import Callable, Iterable
from queue import Empty, SimpleQueue

import anyio

from ephemera_client import jitter, token_request
from ephemera_client.errors import (
    ConfigurationError,
    EphemeraError,
    IssuerUnavailable,
    TokenRequestFailed,
)
from ephemera_client.flight import Flight, waker
from ephemera_client.instant import Clock, Instant
from ephemera_client.pool.stock import Order, Stock, Ticket
from ephemera_client.scope import scope_set
from ephemera_client.token_request import IssuedToken
from ephemera_client.token_source import TokenSource

Key = tuple[str, frozenset[str] | None, int | None]

_MANY_STOCKS = 100
# A thread that has nothing to fill waits as long for more.
_IDLE_SECONDS = 10.0


class Pool:
    """Hands out the tokens of `source`: at once where there is one, else a `Ticket` to wait with.

    It is shared by any number of threads, tasks and event loops. A forked child begins with an
    empty one. `size` is the most tokens kept ahead for one kind of call.
    """

    def __init__(
        self, source: TokenSource, *, size: int, reusable: bool, timeout: float, clock: Clock
    ) -> None:
        if type(size) is not int or size < 0:
            raise ConfigurationError("pool_size must be a whole number, zero or more")
        self._source = source
        self._size = size
        self._reusable = reusable
        self._timeout = timeout
        self._clock = clock
        self._stocks: dict[Key, Stock] = {}
        self._closed = False
        self._begin()
        _alive.add(self)

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._work: SimpleQueue[Stock | None] = SimpleQueue()
        self._idle = 0
        self._busy = 0

    def ready(self, audience: str, scopes: frozenset[str] | None) -> IssuedToken | None:
        """Hand out a token where there is plenty; where there is not, `ask`."""
        stock = self._stocks.get((audience, scopes, None))
        if stock is None:
            return None
        now = self._clock()
        with self._lock:
            return stock.ready(now)

    def ask(
        self,
        audience: str,
        *,
        scopes: Iterable[str] | None,
        lifetime: int | None,
        timeout: float | None,
        instead_of: IssuedToken | None,
    ) -> IssuedToken | Ticket:
        """Hand out a token, or a ticket for `wait` or `wait_async`.

        Raises:
            ConfigurationError: an argument is wrong.
            IssuerUnavailable: the issuer has been failing for a while, or the client is closed.
        """
        if scopes is not None and type(scopes) is not frozenset:
            scopes = scope_set(scopes)
        now = self._clock()
        with self._lock:
            stock = self._stock((audience, scopes, lifetime), now)
            found: IssuedToken | Ticket | None = stock.take(now, instead_of)
            if found is None:
                found = stock.queue(now, now.monotonic + self._patience(timeout))
            begins = stock.begins(now)
            self._busy += begins
        if begins:
            self._launch(stock)
        return found

    def wait(self, ticket: Ticket) -> IssuedToken:
        """Block this thread until there is a token.

        Raises:
            TokenRequestFailed: there is none, or not in time.
        """
        event = threading.Event()
        try:
            if self._arm(ticket, event.set):
                event.wait(ticket.deadline - self._clock().monotonic)
        except BaseException:
            self._leave(ticket)
            raise
        return self._collect(ticket)

    async def wait_async(self, ticket: Ticket) -> IssuedToken:
        """Suspend this task until there is a token; cancelled, it leaves its token to the next."""
        event = anyio.Event()
        try:
            if self._arm(ticket, waker(event)):
                with anyio.move_on_after(ticket.deadline - self._clock().monotonic):
                    await event.wait()
        except BaseException:
            self._leave(ticket)
            raise
        return self._collect(ticket)

    def close(self) -> None:
        """Hand out nothing more; connections are closed once no request is under way."""
        with self._lock:
            self._closed = True
            ended = [ticket for stock in self._stocks.values() for ticket in stock.abandon()]
            for ticket in ended:
                ticket.error = _closed()
            self._stocks.clear()
            last = self._busy == 0
            for _ in range(self._idle):
                self._work.put(None)
            self._idle = 0
        self._over.set()
        self._wake(ended)
        if last:
            self._source.close()

    def _patience(self, timeout: float | None) -> float:
        if timeout is None:
            return self._timeout
        if type(timeout) not in {int, float} or not 0 <= timeout < math.inf:
            raise ConfigurationError("timeout must be a number of seconds")
        return timeout

    def _stock(self, key: Key, now: Instant) -> Stock:
        if self._closed:
            raise _closed()
        try:
            stock = self._stocks.get(key)
        except TypeError:
            stock = None
        if stock is None:
            stock = Stock(
                token_request.want(*key),
                size=self._size,
                reusable=self._reusable,
                random=jitter.random,
            )
            if len(self._stocks) >= _MANY_STOCKS:
                for other in [key for key, each in self._stocks.items() if each.idle(now)]:
                    del self._stocks[other]
            self._stocks[key] = stock
        return stock

    def _arm(self, ticket: Ticket, wake: Callable[[], object]) -> bool:
        with self._lock:
            ticket.wake = wake
            return not ticket.settled

    def _collect(self, ticket: Ticket) -> IssuedToken:
        with self._lock:
            held, now = ticket.held, self._clock()
            if held is not None and not ticket.stock.abandoned:
                return held.token
            error = ticket.error or (_forked() if held else ticket.stock.failure(now))
            ticket.stock.leave(ticket, now)
        raise error

    def _leave(self, ticket: Ticket) -> None:
        with self._lock:
            served = ticket.stock.leave(ticket, self._clock())
        self._wake(served)

    def _wake(self, tickets: Iterable[Ticket]) -> None:
        for ticket in tickets:
            try:
                if ticket.wake is not None:
                    ticket.wake()
            except RuntimeError:
                # Its event loop has ended without a word.
                self._leave(ticket)

    def _launch(self, stock: Stock) -> None:
        with self._lock:
            if self._idle:
                self._idle -= 1
                self._work.put(stock)
                return
        try:
            Flight(lambda: self._fill_all(stock))
        except RuntimeError:
            error = IssuerUnavailable("no token: no thread can be started", cause_code="no_thread")
            with self._lock:
                self._busy -= 1
                ended = stock.failed(None, error, self._clock())
            self._wake(ended)

    def _fill_all(self, first: Stock) -> None:
        stock: Stock | None = first
        while stock is not None:
            self._fill(stock)
            stock = self._next_work()

    def _next_work(self) -> Stock | None:
        # To start a thread costs the caller, and so its event loop, milliseconds on a busy machine.
        with self._lock:
            self._busy -= 1
            closed, last = self._closed, self._busy == 0
            self._idle += not closed
        if closed:
            if last:
                self._source.close()
            return None
        try:
            return self._work.get(timeout=_IDLE_SECONDS)
        except Empty:
            with self._lock:
                with contextlib.suppress(Empty):
                    return self._work.get_nowait()
                self._idle -= 1
                return None

    def _fill(self, stock: Stock) -> None:
        while (step := self._step(stock)) is not None:
            if isinstance(step, Order):
                self._wake(self._carry_out(stock, step))
            else:
                self._over.wait(step)

    def _step(self, stock: Stock) -> Order | float | None:
        with self._lock:
            return stock.order(self._clock())

    def _carry_out(self, stock: Stock, order: Order) -> list[Ticket]:
        def number(max_count: int) -> int:
            with self._lock:
                return stock.number(order, max_count, self._clock())

        try:
            tokens, asked = self._source.request(stock.wanted, number)
        except EphemeraError as error:
            failure: EphemeraError = error
        except BaseException as error:  # noqa: BLE001 - those who wait are told, whatever it is
            failure = TokenRequestFailed("no token: the credential cannot be used")
            failure.__cause__ = error
        else:
            with self._lock:
                return stock.landed(order, tokens, asked, self._clock())
        # Its frames hold the credential, and it is kept until the issuer answers.
        failure.with_traceback(None)
        with self._lock:
            return stock.failed(order, failure, self._clock())

    def _forked(self) -> None:
        # The tokens are the parent's to use, and the threads stayed behind with it.
        for stock in self._stocks.values():
            stock.abandon()
        self._stocks = {}
        self._begin()


def _forked() -> IssuerUnavailable:
    # Or closed, in the moment between the token's coming and its taking.
    text = "no token: the process was forked during the wait"
    return IssuerUnavailable(text, cause_code="client_forked")


def _closed() -> IssuerUnavailable:
    return IssuerUnavailable("no token: the client has been closed", cause_code="client_closed")


_alive: weakref.WeakSet[Pool] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for pool in list(_alive):
        pool._forked()  # noqa: SLF001 - this module's own


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
