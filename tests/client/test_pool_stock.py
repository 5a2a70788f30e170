import pytest
from client.fixtures_pooling import PATIENCE, Shop, away

from ephemera_client.errors import (
    ClientRefused,
    IssuerUnavailable,
    ResponseInvalid,
    TokenRequestRefused,
)
from ephemera_client.pool.outage import LAST_PAUSE, RIDE_OUT
from ephemera_client.pool.stock import (
    IDLE_SECONDS,
    MARGIN_SECONDS,
    MOST_WORKERS,
    SLOW_SECONDS,
    Order,
    Ticket,
)


def token(ticket: object) -> str:
    assert isinstance(ticket, Ticket)
    assert ticket.held
    return str(ticket.held.token)


def open_for_business(**settings: object) -> Shop:
    """A stock whose issuer has answered before."""
    shop = Shop(**settings)  # type: ignore[arg-type] # passed on as they came
    shop.take()
    shop.fill()
    return shop


def test_one_call_asks_for_one_token_and_nothing_is_kept() -> None:
    shop = Shop()
    ticket = shop.take()
    assert shop.fill() == [1]
    assert token(ticket) == "t1"
    assert isinstance(shop.take(), Ticket)


def test_calls_that_wait_together_are_served_by_as_few_requests_as_the_issuer_allows() -> None:
    shop = Shop(size=0)
    tickets = shop.take_many(250)
    assert shop.fill() == [100, 100, 50]
    assert [token(ticket) for ticket in tickets] == [f"t{number}" for number in range(1, 251)]


def test_what_is_asked_for_is_settled_as_the_request_is_sent() -> None:
    shop = Shop(size=0)
    shop.take()
    order = shop.begin()
    shop.take_many(9)
    assert not shop.stock.begins(shop.clock())
    assert shop.send(order) == 10


def test_an_issuer_without_count_is_asked_for_one_at_a_time_by_a_few_at_once() -> None:
    shop = Shop(size=0, most=1)
    tickets = shop.take_many(20)
    first = shop.begin()
    assert not shop.stock.begins(shop.clock())
    shop.send(first)
    others = [shop.begin() for _ in range(MOST_WORKERS - 1)]
    assert not shop.stock.begins(shop.clock())
    for order in (first, *others):
        assert order is first or shop.send(order) == 1
        shop.land(order)
        while isinstance(more := shop.stock.order(shop.clock()), Order):
            shop.send(more)
            shop.land(more)
    assert len({token(ticket) for ticket in tickets}) == 20
    assert shop.numbers == [1] * 20


def test_a_request_for_some_of_those_who_wait_does_not_keep_the_rest_from_another() -> None:
    shop = open_for_business(size=0)
    shop.take_many(100)
    first = shop.begin()
    shop.send(first)
    shop.take_many(99)
    assert not shop.stock.begins(shop.clock())
    shop.take()
    assert shop.send(shop.begin()) == 100


def test_a_request_that_hangs_holds_up_nobody() -> None:
    shop = open_for_business(size=0)
    shop.take()
    shop.send(shop.begin())
    shop.clock.advance(SLOW_SECONDS + 0.1)
    ticket = shop.take()
    second = shop.begin()
    assert shop.send(second) == 2
    assert len(shop.land(second)) == 2
    assert token(ticket)


def test_the_stock_follows_the_calls_of_the_last_minute() -> None:
    shop = Shop()
    for _ in range(600):
        shop.take()
        shop.fill()
        shop.clock.advance(0.1)
    busy = sum(shop.numbers)
    assert len(shop.numbers) < 40
    assert 600 <= busy <= 900
    for _ in range(10):
        shop.clock.advance(60)
        shop.take()
        shop.fill()
    slow = len(shop.numbers)
    for _ in range(10):
        shop.clock.advance(60)
        shop.take()
        shop.fill()
    assert shop.numbers[slow:] == [1] * 10


def test_the_stock_is_bounded() -> None:
    shop = Shop(size=7)
    shop.take_many(1000)
    shop.fill()
    taken = shop.take_many(20)
    assert sum(isinstance(each, str) for each in taken) == 7


def test_with_a_size_of_nothing_each_call_asks_anew() -> None:
    shop = Shop(size=0)
    for _ in range(50):
        assert isinstance(shop.take(), Ticket)
        assert shop.fill() == [1]


def test_the_stock_is_refilled_before_it_is_empty() -> None:
    shop = open_for_business()
    shop.take_many(100)
    shop.fill()
    while not shop.stock.begins(shop.clock()):
        assert isinstance(shop.take(), str)
    assert isinstance(shop.take(), str)


def test_a_token_with_too_little_life_left_is_dropped() -> None:
    shop = open_for_business()
    shop.take_many(100)
    shop.fill()
    shop.clock.advance(120 - MARGIN_SECONDS - 0.1)
    assert isinstance(shop.take(), str)
    shop.clock.advance(0.2)
    assert isinstance(shop.take(), Ticket)


def test_a_wall_clock_set_back_makes_no_token_young() -> None:
    shop = open_for_business()
    shop.take_many(100)
    shop.fill()
    shop.clock.advance(115)
    shop.clock.set_back(115)
    assert isinstance(shop.take(), Ticket)


def test_short_lives_may_be_used_for_three_quarters() -> None:
    shop = open_for_business(lifetime=8)
    shop.take_many(100)
    shop.fill()
    shop.clock.advance(5.9)
    assert isinstance(shop.take(), str)
    shop.clock.advance(0.2)
    assert isinstance(shop.take(), Ticket)


def test_who_leaves_the_line_is_passed_over() -> None:
    shop = Shop(size=0)
    first, second = shop.take_many(2)
    assert isinstance(first, Ticket)
    assert shop.stock.leave(first, shop.clock()) == []
    assert shop.fill() == [1]
    assert token(second) == "t1"
    assert first.held is None


def test_who_leaves_with_a_token_leaves_it_to_the_next() -> None:
    shop = Shop(size=0)
    first, second = shop.take_many(2)
    assert isinstance(first, Ticket)
    order = shop.begin()
    shop.send(order)
    order.number = 1
    shop.land(order)
    assert token(first) == "t1"
    assert shop.stock.leave(first, shop.clock()) == [second]
    assert token(second) == "t1"
    assert first.held is None
    assert shop.stock.leave(first, shop.clock()) == []


def test_who_leaves_with_a_token_and_is_the_last_leaves_it_to_the_stock() -> None:
    shop = Shop(size=0)
    first = shop.take()
    shop.fill()
    assert isinstance(first, Ticket)
    assert shop.stock.leave(first, shop.clock()) == []
    assert shop.take() == "t1"
    assert isinstance(shop.take(), Ticket)


def test_a_token_that_may_be_used_again_is_shared_and_renewed_ahead_of_its_end() -> None:
    shop = Shop(reusable=True)
    tickets = shop.take_many(30)
    assert shop.fill() == [1]
    assert {token(ticket) for ticket in tickets} == {"t1"}
    assert set(shop.take_many(30)) == {"t1"}
    assert shop.fill() == []
    shop.clock.advance(100)
    assert shop.take() == "t1"
    order = shop.begin()
    assert shop.take() == "t1"
    shop.send(order)
    shop.land(order)
    assert shop.take() == "t2"


def test_a_shared_token_outlives_a_failing_issuer_only_to_its_own_end() -> None:
    shop = Shop(reusable=True)
    shop.take()
    shop.fill()
    shop.clock.advance(100)
    assert shop.take() == "t1"
    shop.fail(shop.begin(), away())
    assert shop.take() == "t1"
    shop.clock.advance(15)
    assert isinstance(shop.take(), Ticket)


def test_an_issuer_that_says_single_use_is_believed_before_the_setting() -> None:
    shop = Shop(size=0, reusable=True)
    shop.single_use = True
    first, second = shop.take_many(2)
    assert shop.fill() == [1, 1]
    assert (token(first), token(second)) == ("t1", "t2")
    shop.single_use = False
    shop.take()
    shop.fill()
    assert shop.take() == shop.take() == "t3"


def test_a_token_that_comes_a_second_time_is_handed_to_nobody() -> None:
    shop = Shop(size=0)
    again = shop.made()
    shop.take()
    order = shop.begin()
    shop.send(order)
    shop.stock.landed(order, [again], shop.clock(), shop.clock())
    assert shop.stock.order(shop.clock()) is None
    second = shop.take()
    order = shop.begin()
    shop.send(order)
    shop.stock.landed(order, [again], shop.clock(), shop.clock())
    assert isinstance(second, Ticket)
    assert second.held is None
    assert isinstance(second.error, ResponseInvalid)
    assert "reusable=True" in str(second.error)


def test_instead_of_a_refused_token_comes_one_that_was_asked_for_after_it() -> None:
    shop = open_for_business()
    shop.take_many(100)
    shop.fill()
    made = sum(shop.numbers)
    refused, late = (shop.stock.take(shop.clock(), PATIENCE) for _ in range(2))
    assert not isinstance(refused, Ticket)
    assert not isinstance(late, Ticket)
    ticket = shop.take(instead_of=refused)
    assert shop.fill() == [1]
    assert token(ticket) == f"t{made + 1}"
    shop.take_many(10)
    shop.fill()
    # It is of the age of the first: what is held now is younger, and stays.
    assert isinstance(shop.take(instead_of=late), str)


def test_what_was_under_way_when_a_token_was_refused_is_dropped() -> None:
    shop = open_for_business(size=0)
    shop.take()
    order = shop.begin()
    shop.send(order)
    refused = shop.made()
    refused.batch = 1
    ticket = shop.take(instead_of=refused)
    assert shop.land(order) == []
    assert isinstance(shop.stock.order(shop.clock()), Order)
    assert isinstance(ticket, Ticket)
    assert not ticket.settled


def test_who_leaves_with_a_token_that_is_no_longer_good_takes_it_along() -> None:
    shop = open_for_business(size=0)
    first = shop.take()
    shop.fill()
    assert isinstance(first, Ticket)
    refused = shop.made()
    refused.batch = 2
    second = shop.take(instead_of=refused)
    assert shop.stock.leave(first, shop.clock()) == []
    assert isinstance(second, Ticket)
    assert not second.settled


def test_an_audience_that_refuses_everything_has_few_tokens_made_for_it() -> None:
    shop = open_for_business()
    for _ in range(50):
        taken = shop.stock.take(shop.clock(), PATIENCE)
        shop.fill()
        refused = taken.held.token if isinstance(taken, Ticket) and taken.held else taken
        assert not isinstance(refused, Ticket)
        shop.take(instead_of=refused)
        shop.fill()
    assert sum(shop.numbers) <= 2 * 50 + 1


def test_a_first_failure_is_told_at_once_since_the_address_may_be_wrong() -> None:
    shop = Shop()
    shop.take_many(3)
    told = shop.fail(shop.begin(), away())
    assert [type(error) for error in told] == [IssuerUnavailable] * 3
    assert len({id(error) for error in told}) == 3
    assert shop.stock.order(shop.clock()) is None


def test_a_restart_of_the_issuer_is_waited_for() -> None:
    shop = open_for_business()
    ticket = shop.take()
    assert shop.fail(shop.begin(), away()) == []
    pause = shop.stock.order(shop.clock())
    assert isinstance(pause, float)
    assert 0.05 <= pause <= 0.1
    shop.clock.advance(pause + 0.001)
    order = shop.stock.order(shop.clock())
    assert isinstance(order, Order)
    shop.send(order)
    shop.land(order)
    assert token(ticket)


def test_a_longer_outage_is_told_at_once_and_asked_about_once_a_pause() -> None:
    shop = open_for_business()
    began = shop.clock()
    shop.take()
    order: Order | float | None = shop.begin()
    pauses = []
    while isinstance(order, Order):
        told = shop.fail(order, away())
        order = shop.stock.order(shop.clock())
        if isinstance(order, float):
            pauses.append(order)
            shop.clock.advance(order + 0.001)
            order = shop.stock.order(shop.clock())
    assert [error.code for error in told] == ["issuer_unavailable"]
    assert pauses == sorted(pauses)
    assert shop.clock().since(began) <= RIDE_OUT
    with pytest.raises(IssuerUnavailable):
        shop.take()
    assert not shop.stock.begins(shop.clock())
    shop.clock.advance(LAST_PAUSE)
    ticket = shop.take()
    assert len(shop.fail(shop.begin(), away())) == 1
    assert isinstance(ticket, Ticket)
    assert shop.stock.order(shop.clock()) is None
    shop.clock.advance(LAST_PAUSE)
    ticket = shop.take()
    shop.fill()
    assert token(ticket)


def test_a_call_that_has_no_time_for_another_attempt_is_told_at_once() -> None:
    shop = open_for_business()
    now = shop.clock()
    short = shop.stock.take(now, now.monotonic + 0.01)
    long = shop.take()
    assert len(shop.fail(shop.begin(), away())) == 1
    assert isinstance(short, Ticket)
    assert isinstance(short.error, IssuerUnavailable)
    assert isinstance(long, Ticket)
    assert not long.settled


@pytest.mark.parametrize("code", ["rate_limited", "issuer_failed"])
def test_retry_after_is_honoured_and_told(code: str) -> None:
    shop = open_for_business()
    shop.take()
    order = shop.begin()
    assert shop.fail(order, away(code, 2.0)) == []
    pause = shop.stock.order(shop.clock())
    assert isinstance(pause, float)
    assert 2.0 <= pause <= 2.2
    shop.clock.advance(pause + 0.001)
    order = shop.stock.order(shop.clock())  # type: ignore[assignment] # said in the next line
    assert isinstance(order, Order)
    (told,) = shop.fail(order, away(code, 60.0))
    assert isinstance(told, IssuerUnavailable)
    assert told.retry_after == 60.0
    shop.clock.advance(59.0)
    with pytest.raises(IssuerUnavailable) as refused:
        shop.take()
    assert refused.value.retry_after == pytest.approx(1.0)
    assert refused.value.cause_code == code


def test_a_refusal_is_told_to_all_who_wait_and_the_next_call_asks_again_at_once() -> None:
    shop = open_for_business()
    shop.take_many(3)
    refusal = TokenRequestRefused("no", error="invalid_scope", description="not granted")
    told = shop.fail(shop.begin(), refusal)
    assert [(type(error), error.description) for error in told] == [  # type: ignore[attr-defined] # it is one
        (TokenRequestRefused, "not granted")
    ] * 3
    assert shop.stock.order(shop.clock()) is None
    ticket = shop.take()
    shop.fill()
    assert token(ticket)


def test_a_refill_that_is_refused_is_not_tried_at_every_call() -> None:
    shop = open_for_business()
    shop.take_many(100)
    shop.fill()
    refused = 0
    for _ in range(20):
        assert isinstance(shop.take(), str)
        if shop.stock.begins(shop.clock()):
            order = shop.stock.order(shop.clock())
            assert isinstance(order, Order)
            shop.fail(order, ClientRefused("no"))
            assert shop.stock.order(shop.clock()) is None
            refused += 1
        shop.clock.advance(0.001)
    assert refused <= 1


def test_an_abandoned_stock_hands_out_nothing_and_wants_no_worker() -> None:
    shop = open_for_business()
    shop.take_many(100)
    order = shop.begin()
    waiting = shop.stock.abandon()
    assert len(waiting) == 100
    shop.send(order)
    assert shop.land(order) == []
    assert shop.stock.order(shop.clock()) is None
    assert not shop.stock.begins(shop.clock())


def test_a_stock_that_nobody_asks_is_idle() -> None:
    shop = open_for_business()
    assert not shop.stock.idle(shop.clock())
    assert shop.stock.idle(shop.clock.advance(IDLE_SECONDS + 1))
    shop.take()
    shop.begin()
    assert not shop.stock.idle(shop.clock.advance(IDLE_SECONDS + 1))
