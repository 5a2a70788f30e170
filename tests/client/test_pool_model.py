"""One life of a pool, in any order of events: no token is handed out twice, and none is stale."""

from client.fixtures_pooling import Shop, away
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from ephemera_client.errors import IssuerUnavailable, TokenRequestRefused
from ephemera_client.pool.stock import Order, Ticket
from ephemera_client.token_request import IssuedToken


class Life(RuleBasedStateMachine):
    """Calls come, wait, leave and are refused; requests are sent, land, fail and hang."""

    def __init__(self) -> None:
        super().__init__()
        self.shop = Shop(size=20, most=5)
        self.given: list[IssuedToken] = []
        self.line: dict[Ticket, int] = {}
        self.orders: list[tuple[Order, bool]] = []
        self.workers = 0
        self.spoiled = 0

    def _give(self, token: IssuedToken, spoiled: int) -> None:
        assert token not in self.given
        assert token.batch > spoiled
        assert token.expires_at > self.shop.clock().wall
        self.given.append(token)

    @rule(number=st.integers(1, 8))
    def calls_come(self, number: int) -> None:
        for _ in range(number):
            self._ask(None)

    @precondition(lambda self: self.given)
    @rule(which=st.integers(0, 1000))
    def a_token_is_refused(self, which: int) -> None:
        token = self.given[which % len(self.given)]
        if token.batch > self.spoiled:
            self.spoiled = self.shop.stock._batch
        self._ask(token)

    def _ask(self, instead_of: IssuedToken | None) -> None:
        now = self.shop.clock()
        try:
            found = self.shop.stock.take(now, now.monotonic + 10, instead_of)
        except IssuerUnavailable:
            return
        if isinstance(found, Ticket):
            self.line[found] = self.spoiled
        else:
            self._give(found, self.spoiled)

    @rule()
    def a_worker_begins(self) -> None:
        if self.shop.stock.begins(self.shop.clock()):
            self.workers += 1

    @precondition(lambda self: self.workers > len(self.orders))
    @rule()
    def a_worker_asks_what_is_next(self) -> None:
        step = self.shop.stock.order(self.shop.clock())
        if isinstance(step, Order):
            self.orders.append((step, False))
        elif step is None:
            self.workers -= 1

    @precondition(lambda self: self.orders)
    @rule(which=st.integers(0, 7))
    def a_request_is_sent(self, which: int) -> None:
        which %= len(self.orders)
        order, sent = self.orders[which]
        if not sent:
            assert 1 <= self.shop.send(order) <= self.shop.most
            self.orders[which] = order, True

    @precondition(lambda self: any(sent for _, sent in self.orders))
    @rule(which=st.integers(0, 7))
    def a_request_lands(self, which: int) -> None:
        sent = [order for order, sent in self.orders if sent]
        order = sent[which % len(sent)]
        self.orders.remove((order, True))
        self.shop.land(order)

    @precondition(lambda self: self.orders)
    @rule(which=st.integers(0, 7), refused=st.booleans())
    def a_request_fails(self, which: int, *, refused: bool) -> None:
        order, _ = self.orders.pop(which % len(self.orders))
        self.shop.fail(order, TokenRequestRefused("away") if refused else away())

    @precondition(lambda self: self.line)
    @rule(which=st.integers(0, 1000))
    def a_call_collects(self, which: int) -> None:
        ticket = list(self.line)[which % len(self.line)]
        if ticket.settled:
            spoiled = self.line.pop(ticket)
            if ticket.held:
                self._give(ticket.held.token, spoiled)

    @precondition(lambda self: self.line)
    @rule(which=st.integers(0, 1000))
    def a_call_is_cancelled(self, which: int) -> None:
        ticket = list(self.line)[which % len(self.line)]
        del self.line[ticket]
        self.shop.stock.leave(ticket, self.shop.clock())

    @rule()
    def all_requests_are_sent_and_land(self) -> None:
        for which in range(len(self.orders)):
            self.a_request_is_sent(which)
        while self.orders:
            self.a_request_lands(0)
        for which in reversed(range(len(self.line))):
            self.a_call_collects(which)

    @rule(seconds=st.sampled_from([0.05, 0.3, 1.5, 6, 40, 200]))
    def time_goes_on(self, seconds: float) -> None:
        # A call is gone within its patience, whatever it was given.
        if seconds > 1:
            for ticket in self.line:
                self.shop.stock.leave(ticket, self.shop.clock())
            self.line = {}
        self.shop.clock.advance(seconds)

    @invariant()
    def no_two_calls_are_given_the_same(self) -> None:
        given = [ticket.held.token for ticket in self.line if ticket.held]
        assert len(set(given)) == len(given)
        assert not set(given) & set(self.given)

    @invariant()
    def who_waits_is_in_the_line_and_somebody_sees_to_it(self) -> None:
        waiting = {ticket for ticket in self.line if not ticket.settled}
        assert waiting == set(self.shop.stock._line)
        assert self.shop.stock._workers == self.workers
        assert not (waiting and self.shop.stock._held)


def test_no_token_is_handed_out_twice_whatever_happens() -> None:
    run_state_machine_as_test(
        Life,
        settings=settings(
            max_examples=100,
            stateful_step_count=40,
            deadline=None,
            derandomize=True,
            database=None,
        ),
    )
