"""One life of a pool, in any order of events: no token is handed out twice, and none is stale."""

from client.fixtures_pooling import PATIENCE, Shop, away
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from ephemera_client.errors import IssuerUnavailable, TokenRequestFailed, TokenRequestRefused
from ephemera_client.pool.stock import Order, Ticket
from ephemera_client.token_request import IssuedToken


class Life(RuleBasedStateMachine):
    """Calls come, wait, leave and are refused; requests are sent, land, fail and hang."""

    def __init__(self) -> None:
        super().__init__()
        self.shop = Shop(size=20, most=5)
        self.given: list[IssuedToken] = []
        self.line: dict[Ticket, int] = {}
        self.orders: list[Order] = []
        self.workers = 0
        self.spoiled = 0

    @initialize(number=st.integers(1, 8))
    def calls_come(self, number: int) -> None:
        for _ in range(number):
            self._ask(None)

    @precondition(lambda self: self.given)
    @rule(age=st.integers(0, 5), meanwhile=st.integers(0, 8))
    def a_token_is_refused(self, age: int, meanwhile: int) -> None:
        token = self.given[-1 - age % len(self.given)]
        self.calls_come_and_a_request_is_sent(meanwhile, found=True)
        if token.batch > self.spoiled:
            self.spoiled = self.shop.stock._batch
        self._ask(token)

    def _ask(self, instead_of: IssuedToken | None) -> None:
        now = self.shop.clock()
        try:
            found = self.shop.stock.take(now, now.monotonic + PATIENCE, instead_of)
        except IssuerUnavailable:
            return
        if isinstance(found, Ticket):
            self.line[found] = self.spoiled
        else:
            self._give(found, self.spoiled)

    def _give(self, token: IssuedToken, spoiled: int) -> None:
        assert token not in self.given
        assert token.batch > spoiled
        assert token.expires_at > self.shop.clock().wall
        self.given.append(token)

    @rule(number=st.integers(0, 8), found=st.sampled_from([True, True, True, False]))
    def calls_come_and_a_request_is_sent(self, number: int, *, found: bool) -> None:
        self.calls_come(number)
        now = self.shop.clock()
        self.workers += self.shop.stock.begins(now)
        if self.workers == len(self.orders):
            return
        step = self.shop.stock.order(now)
        if isinstance(step, Order):
            self.orders.append(step)
            if found:
                assert 1 <= self.shop.send(step) <= self.shop.most
            else:
                self._fail(step, away())
        elif step is None:
            self.workers -= 1

    @precondition(lambda self: self.orders)
    @rule(which=st.integers(0, 7), collected=st.booleans())
    def a_request_lands(self, which: int, *, collected: bool) -> None:
        self.shop.land(self.orders.pop(which % len(self.orders)))
        if collected:
            self.calls_collect()

    @precondition(lambda self: self.orders)
    @rule(which=st.integers(0, 7), refused=st.booleans())
    def a_request_fails(self, which: int, *, refused: bool) -> None:
        error = TokenRequestRefused("no") if refused else away()
        self._fail(self.orders[which % len(self.orders)], error)

    def _fail(self, order: Order, error: TokenRequestFailed) -> None:
        self.orders.remove(order)
        self.shop.fail(order, error)

    @rule()
    def calls_collect(self) -> None:
        for ticket in [each for each in self.line if each.settled]:
            spoiled = self.line.pop(ticket)
            if ticket.held:
                self._give(ticket.held.token, spoiled)

    @precondition(lambda self: self.line)
    @rule(which=st.integers(0, 1000))
    def a_call_is_cancelled(self, which: int) -> None:
        ticket = list(self.line)[which % len(self.line)]
        del self.line[ticket]
        self.shop.stock.leave(ticket, self.shop.clock())

    @rule(seconds=st.sampled_from([0.05, 0.3, 1.5]))
    def a_moment_passes(self, seconds: float) -> None:
        self.shop.clock.advance(seconds)

    @rule(seconds=st.sampled_from([6, 40, 200]))
    def all_who_wait_give_up_and_time_goes_on(self, seconds: float) -> None:
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
            stateful_step_count=50,
            deadline=None,
            derandomize=True,
            database=None,
        ),
    )
