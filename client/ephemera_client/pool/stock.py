"""The tokens of one kind, and the calls that wait for them: a state machine that never waits.

A token that an audience accepts once is handed out once; it leaves the stock in the same step in
which it is given to a call. One that may be used again is shared until it is about to end. What
has to be done is a worker's: it asks for an order, has it carried out, and reports.
"""

import copy
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

from ephemera_client.errors import EphemeraError, IssuerUnavailable, ResponseInvalid
from ephemera_client.instant import Instant
from ephemera_client.pool.demand import Demand
from ephemera_client.pool.outage import Outage
from ephemera_client.token_request import IssuedToken, Wanted

# A token is handed out only if the call has this long to arrive, or a quarter of a short life.
MARGIN_SECONDS = 10.0
_MARGIN_SHARE = 0.25
# One at a time where the issuer gives many for one request. Where it does not, or where more calls
# wait than one answer serves, this many.
MOST_WORKERS = 8
# A request that takes longer holds up nobody: another may begin beside it.
SLOW_SECONDS = 1.0
# Until the issuer's metadata are known, one request is taken to be enough for everybody.
_UNKNOWN = 2**31
IDLE_SECONDS = 900.0


class Held(NamedTuple):
    """A token that may be handed out within `usable` seconds of when it was asked for."""

    token: IssuedToken
    asked: Instant
    usable: float


class Ticket:
    """A call's place in the line: settled by a token or an error, and then woken by `wake`."""

    __slots__ = ("deadline", "error", "held", "stock", "wake")

    def __init__(self, stock: "Stock", deadline: float) -> None:
        self.stock = stock
        self.deadline = deadline
        self.held: Held | None = None
        self.error: EphemeraError | None = None
        self.wake: Callable[[], object] | None = None

    @property
    def settled(self) -> bool:
        """Whether there is nothing left to wait for."""
        return self.held is not None or self.error is not None


class Order:
    """One token request; how many tokens it is for is said right before it is sent."""

    __slots__ = ("batch", "began", "number")

    def __init__(self, batch: int, began: Instant, number: int) -> None:
        self.batch = batch
        self.began = began
        self.number = number


class Stock:
    """The state of one audience, scopes and lifetime. Not thread-safe.

    `size` is the most tokens that are kept ahead. `reusable` says what a token is taken for until
    an answer has said it. Moments are `Instant`, deadlines of its monotonic clock.
    """

    def __init__(
        self, wanted: Wanted, *, size: int, reusable: bool, random: Callable[[], float]
    ) -> None:
        self.wanted = wanted
        self.abandoned = False
        self._size = size
        self._sharing = reusable
        self._random = random
        self._demand = Demand()
        self._outage = Outage(random)
        self._held: deque[Held] = deque()
        self._shared: Held | None = None
        self._line: OrderedDict[Ticket, None] = OrderedDict()
        self._orders: list[Order] = []
        self._workers = 0
        self._batch = 0
        self._spoiled = 0
        self._latest: frozenset[int] = frozenset()
        self._max_count = _UNKNOWN
        self._usable = 0.0
        self._mark = random()
        self._asked = Instant(0.0, 0.0)

    # What calls do.

    def take(
        self, now: Instant, deadline: float, instead_of: IssuedToken | None = None
    ) -> IssuedToken | Ticket:
        """Hand out a token, or a place in the line.

        `instead_of` was refused by its audience for what may be wrong with all of its age: none
        that was asked for before now is handed out any more.

        Raises:
            IssuerUnavailable: the issuer has been failing for so long that nobody waits for it.
        """
        self._asked = now
        self._demand.note(now)
        if instead_of is not None and instead_of.batch > self._spoiled:
            self._spoil()
        held = self._next(now)
        if held is not None:
            return held.token
        outage = self._outage
        if outage.passing and outage.rest(now) and not outage.worth_waiting(now):
            raise self.failure(now)
        ticket = Ticket(self, deadline)
        self._line[ticket] = None
        return ticket

    def leave(self, ticket: Ticket, now: Instant) -> list[Ticket]:
        """Take a call out of the line; a token that it was given goes to whom is returned."""
        self._line.pop(ticket, None)
        held, ticket.held = ticket.held, None
        if held is None or held.token.batch <= self._spoiled or not held.token.single_use:
            return []
        self._held.appendleft(held)
        return self._serve(now)

    def failure(self, now: Instant) -> EphemeraError:
        """Return the error for a call that got nothing in its time."""
        known = self._outage.error
        if known is None:
            text = "no token: the issuer gave none in the time that the call had"
            return IssuerUnavailable(text, cause_code="timeout")
        # One for each: what is raised in two places at once gets the traceback of both.
        error = copy.copy(known)
        error.__cause__ = known.__cause__
        if isinstance(error, IssuerUnavailable):
            error.retry_after = self._outage.retry_after(now)
        return error

    # What workers do.

    def begins(self, now: Instant) -> bool:
        """Say whether a worker should begin; it then counts until `order` lets it go."""
        if not self._due(now, others=self._workers) or (self._pause(now) and not self._line):
            return False
        self._workers += 1
        return True

    def order(self, now: Instant) -> Order | float | None:
        """Tell a worker what is next: a request, seconds to wait, or None: it may go."""
        if self._due(now, others=self._workers - 1):
            pause = self._pause(now)
            if not pause:
                self._batch += 1
                order = Order(self._batch, now, self._max_count)
                self._orders.append(order)
                return order
            if self._line:
                return pause
        self._workers -= 1
        return None

    def number(self, order: Order, max_count: int, now: Instant) -> int:
        """Say how many tokens to ask for, of at most `max_count`, as the request is sent."""
        self._max_count = max_count
        others = sum(other.number for other in self._timely(now) if other is not order)
        short = len(self._line) + max(self._target(now) - len(self._held), 0) - others
        order.number = 1 if self._sharing else max(1, min(short, max_count))
        return order.number

    def landed(
        self, order: Order, tokens: Sequence[IssuedToken], asked: Instant, now: Instant
    ) -> list[Ticket]:
        """Take the tokens that `order` brought, asked for at `asked`; return whom they go to."""
        digests = frozenset(map(hash, tokens))
        if tokens[0].single_use and digests & self._latest:
            return self.failed(order, _given_before(self.wanted.audience), now)
        self._orders.remove(order)
        self._outage.over()
        self._latest = digests
        self._mark = self._random()
        if order.batch <= self._spoiled:
            return []
        life = tokens[0].expires_at - asked.wall
        self._usable = life - min(MARGIN_SECONDS, life * _MARGIN_SHARE)
        self._sharing = not tokens[0].single_use
        for token in tokens:
            token.batch = order.batch
        held = [Held(token, asked, self._usable) for token in tokens]
        self._shared = held[0] if self._sharing else None
        self._held.extend(() if self._sharing else held)
        return self._serve(now)

    def failed(self, order: Order | None, error: EphemeraError, now: Instant) -> list[Ticket]:
        """Take note that `order` brought nothing; return the calls that this is the end of.

        Without an order, it was the worker that could not begin.
        """
        if order is None:
            self._workers -= 1
        else:
            self._orders.remove(order)
        self._outage.failed(error, now)
        resumed = now.monotonic + self._outage.rest(now)
        patient = self._outage.worth_waiting(now)
        ended = [ticket for ticket in self._line if not patient or ticket.deadline <= resumed]
        return self._end(ended, now)

    def abandon(self) -> list[Ticket]:
        """Drop everything, for good; return the calls that were waiting."""
        waiting = list(self._line)
        self.abandoned = True
        self._held.clear()
        self._line.clear()
        self._shared = None
        return waiting

    def idle(self, now: Instant) -> bool:
        """Say whether nobody has asked for a long time."""
        return not self._workers and now.since(self._asked) > IDLE_SECONDS

    # How it is decided.

    def _next(self, now: Instant) -> Held | None:
        shared = self._shared
        if shared is not None:
            return shared if now.since(shared.asked) < shared.usable else None
        while self._held:
            held = self._held.popleft()
            if now.since(held.asked) < held.usable:
                return held
        return None

    def _serve(self, now: Instant) -> list[Ticket]:
        served = []
        while self._line and (held := self._next(now)):
            ticket, _ = self._line.popitem(last=False)
            ticket.held = held
            served.append(ticket)
        return served

    def _end(self, tickets: Sequence[Ticket], now: Instant) -> list[Ticket]:
        for ticket in tickets:
            ticket.error = self.failure(now)
            del self._line[ticket]
        return list(tickets)

    def _spoil(self) -> None:
        self._spoiled = self._batch
        self._held.clear()
        self._shared = None
        # An audience that refuses everything is no reason to have many tokens made for it.
        self._demand = Demand()

    def _target(self, now: Instant) -> int:
        return min(self._demand.ahead(now, self._usable), self._size)

    def _due(self, now: Instant, *, others: int) -> bool:
        """Say whether one more worker is wanted beside these."""
        if self.abandoned:
            return False
        if others == 0:
            return bool(self._line) or self._low(now)
        if others >= MOST_WORKERS or self._sharing or self._outage.error is not None:
            return False
        timely = self._timely(now)
        if self._line and not timely and others == len(self._orders):
            return True
        about_to = (others - len(self._orders)) * self._max_count
        covered = about_to + sum(order.number for order in timely)
        return len(self._line) - covered >= self._max_count

    def _low(self, now: Instant) -> bool:
        shared = self._shared
        if shared is not None:
            return now.since(shared.asked) > shared.usable * (0.7 + 0.2 * self._mark)
        target = self._target(now)
        return target > 0 and len(self._held) <= target * (0.4 + 0.2 * self._mark)

    def _pause(self, now: Instant) -> float:
        # Whoever is refused may ask again at once; only what nobody waits for is put off.
        return self._outage.rest(now) if self._outage.passing or not self._line else 0.0

    def _timely(self, now: Instant) -> list[Order]:
        return [order for order in self._orders if now.since(order.began) <= SLOW_SECONDS]


def _given_before(audience: str) -> ResponseInvalid:
    return ResponseInvalid(
        f"the issuer gave a token for {audience} a second time; if its tokens may be used more "
        "than once, say reusable=True"
    )
