"""The state machine of a feed: what is asked, when it is believed, and when nothing is any more."""

import contextlib
from typing import Any

import pytest
from client.fixtures_feeding import cut_off, document, jti, kid
from client.fixtures_verifying import NOW, ManualClock
from hypothesis import given, settings
from hypothesis import strategies as st

from ephemera_client import RevocationsUnavailable
from ephemera_client.revocations.document import parse
from ephemera_client.revocations.following import (
    BREATH,
    LAST_RETRY,
    LOOK_AGAIN,
    PLAIN_POLLS,
    Ask,
    Following,
    News,
    Patience,
    Rest,
)
from ephemera_client.revocations.revoked import Revoked

URL = "https://tokens.internal/v1/revocations"


class Follower:
    """A state machine, the clock that it is told, and the shell's part in short."""

    def __init__(self, url: str | None = URL, **settings: Any) -> None:
        self.clock = ManualClock()
        numbers: dict[str, Any] = {
            "required": True,
            "max_age": 120,
            "timeout": 3,
            "max_entries": 10,
            "random": lambda: 1.0,
        }
        self.state = Following(url=url, **numbers | settings)

    def ask(self) -> Ask:
        """Take the next request, resting before it as told."""
        step = self.state.next(self.clock())
        if isinstance(step, Rest):
            self.clock.advance(step.seconds)
            step = self.state.next(self.clock())
        assert isinstance(step, Ask)
        return step

    def answer(self, *entries: Any, ask: Ask | None = None, **changes: Any) -> News | None:
        read = parse(document(*entries, **changes), max_entries=10)
        return self.state.answered(ask or self.ask(), URL, read, self.clock())

    def fail(self, cause_code: str = "connect_failed", **told: Any) -> None:
        self.state.failed(self.ask(), cause_code, **told)

    @property
    def revoked(self) -> Revoked:
        found = self.state.require(self.clock())
        assert isinstance(found, Revoked)
        return found

    def cause(self) -> str:
        with pytest.raises(RevocationsUnavailable) as caught:
            self.state.require(self.clock())
        return caught.value.cause_code


@pytest.fixture
def follower() -> Follower:
    return Follower()


def test_the_first_request_asks_for_all_at_once_and_the_next_wait_for_more(
    follower: Follower,
) -> None:
    first = follower.ask()
    assert (first.url, first.epoch, first.after, first.wait) == (URL, None, 0, 0)
    follower.answer(jti("a"), jti("b"), ask=first)
    second = follower.ask()
    assert (second.epoch, second.after, second.wait) == ("one", 2, 25)


@pytest.mark.parametrize(("max_age", "wait"), [(120, 25), (60, 15), (5, 1), (3600, 25)])
def test_the_wait_leaves_room_for_several_answers_within_their_age(
    max_age: float, wait: int
) -> None:
    follower = Follower(max_age=max_age)
    follower.answer()
    assert follower.ask().wait == wait


def test_until_the_first_answer_whoever_asks_waits_and_not_for_ever(follower: Follower) -> None:
    assert follower.state.require(follower.clock()) == Patience(3)
    follower.ask()
    follower.clock.advance(1)
    assert follower.state.require(follower.clock()) == Patience(2)
    follower.clock.advance(2)
    assert follower.cause() == "timeout"


def test_after_a_first_failure_nobody_waits_until_an_answer_comes(follower: Follower) -> None:
    follower.fail("dns_failed")
    assert follower.cause() == "dns_failed"
    follower.ask()
    assert follower.cause() == "dns_failed"
    follower.answer()
    assert not follower.revoked


def test_while_nothing_is_accepted_an_answer_is_wanted_at_once(follower: Follower) -> None:
    follower.answer(jti("a"))
    follower.clock.advance(120)
    ask = follower.ask()
    assert (ask.epoch, ask.after, ask.wait) == ("one", 1, 0)
    follower.answer(sequence=1, after=1, ask=ask)
    assert set(follower.revoked.tokens) == {"a"}
    assert follower.ask().wait == 25


def test_hurry_tries_at_once_and_lets_those_who_ask_wait(follower: Follower) -> None:
    follower.fail()
    follower.state.hurry()
    assert isinstance(follower.state.next(follower.clock()), Ask)
    assert follower.state.require(follower.clock()) == Patience(3)


def test_what_comes_later_is_added(follower: Follower) -> None:
    assert follower.answer(jti("a")) == News(1, keys=False)
    assert follower.answer(kid("k"), sequence=2, after=1) == News(2, keys=True)
    assert set(follower.revoked.tokens) == {"a"}
    assert follower.revoked.kids == {"k"}


def test_an_answer_without_news_confirms_what_is_held(follower: Follower) -> None:
    follower.answer(jti("a"))
    ask = follower.ask()
    follower.clock.advance(25)
    assert follower.answer(sequence=1, after=1, ask=ask) is None
    follower.clock.advance(94)
    assert set(follower.revoked.tokens) == {"a"}


def test_an_answer_counts_from_when_it_was_asked_for(follower: Follower) -> None:
    follower.answer()
    ask = follower.ask()
    follower.clock.advance(20)
    follower.answer(ask=ask)
    follower.clock.advance(99.9)
    assert not follower.revoked
    follower.clock.advance(0.1)
    assert follower.state.require(follower.clock()) == Patience(3)


@pytest.mark.parametrize("wall", [True, False])
def test_after_max_age_without_an_answer_nothing_is_accepted_by_either_clock(
    follower: Follower, *, wall: bool
) -> None:
    follower.answer()
    follower.fail("timeout")
    now = follower.clock()
    follower.clock.now = (
        now._replace(wall=now.wall + 120) if wall else now._replace(monotonic=now.monotonic + 120)
    )
    assert follower.cause() == "timeout"
    follower.answer()
    assert not follower.revoked


def test_a_lower_sequence_of_the_same_epoch_is_ignored_and_is_no_answer(
    follower: Follower,
) -> None:
    follower.answer(jti("a"), jti("b"))
    for _ in range(200):
        follower.answer(jti("a"))
        if follower.state.held is None or not follower.state.held.good(follower.clock()):
            break
        assert set(follower.revoked.tokens) == {"a", "b"}
    assert follower.cause() == "sequence_behind"


def test_a_new_epoch_replaces_all_and_the_old_one_never_returns(follower: Follower) -> None:
    follower.answer(jti("a"), jti("b"))
    assert follower.answer(cut_off(client="orders"), epoch="two") == News(1, keys=False)
    assert not follower.revoked.tokens
    assert follower.ask().epoch == "two"
    follower.state.forget_flight()
    assert follower.answer(*(jti(str(number)) for number in range(9)), epoch="one") is None
    assert not follower.revoked.tokens
    assert follower.revoked.cut_offs == {("orders", None): (NOW, NOW + 900)}


@pytest.mark.parametrize(
    "changes",
    [{"sequence": 9, "after": 5}, {"epoch": "two", "sequence": 9, "after": 1}],
)
def test_an_answer_with_a_gap_before_it_is_no_answer_and_all_is_asked_for(
    follower: Follower, changes: dict[str, Any]
) -> None:
    follower.answer(jti("a"))
    assert follower.answer(jti("b"), **changes) is None
    assert set(follower.revoked.tokens) == {"a"}
    again = follower.ask()
    assert (again.after, again.wait) == (0, 0)


def test_a_first_answer_must_be_whole(follower: Follower) -> None:
    follower.answer(jti("b"), sequence=2, after=1)
    assert follower.cause() == "revocations_invalid"


def test_a_whole_document_of_the_same_epoch_takes_the_place_of_what_is_held(
    follower: Follower,
) -> None:
    follower.answer(jti("a"), jti("b"))
    follower.answer(cut_off(client="orders"), sequence=3)
    assert not follower.revoked.tokens


def test_too_many_in_all_are_asked_for_as_a_whole_where_they_may_be_less(
    follower: Follower,
) -> None:
    follower.answer(*(jti(str(number)) for number in range(8)))
    follower.answer(*(jti(f"later {number}") for number in range(8)), sequence=16, after=8)
    assert follower.ask().after == 0
    follower.state.forget_flight()
    follower.answer(cut_off(client="orders"), sequence=17)
    assert len(follower.revoked) == 1


def test_failures_are_repeated_ever_more_slowly_and_never_given_up(follower: Follower) -> None:
    rests = []
    for _ in range(12):
        follower.fail()
        rest = follower.state.next(follower.clock())
        assert isinstance(rest, Rest)
        rests.append(rest.seconds)
    assert rests[:4] == [0.5, 1.0, 2.0, 4.0]
    assert max(rests) == rests[-1] == LAST_RETRY


def test_retry_after_is_honoured_up_to_the_longest_pause(follower: Follower) -> None:
    follower.fail("status_unexpected", retry_after=7)
    assert follower.state.next(follower.clock()) == Rest(7)
    follower.fail("status_unexpected", retry_after=9999)
    assert follower.state.next(follower.clock()) == Rest(LAST_RETRY)


def test_a_wait_that_is_cut_off_is_followed_by_requests_that_do_not_wait(
    follower: Follower,
) -> None:
    follower.answer()
    follower.fail("connection_lost")
    for _ in range(PLAIN_POLLS):
        before = follower.clock()
        ask = follower.ask()
        assert ask.wait == 0
        assert follower.clock().since(before) <= 1
        follower.answer(ask=ask)
    assert follower.ask().wait == 25


def test_news_are_followed_by_a_breath_and_an_answer_that_did_not_wait_by_a_pause(
    follower: Follower,
) -> None:
    follower.answer()
    follower.answer(jti("a"), sequence=1, after=0)
    assert follower.state.next(follower.clock()) == Rest(BREATH)
    follower.answer(sequence=1, after=1)
    assert follower.state.next(follower.clock()) == Rest(1.0)
    ask = follower.ask()
    follower.clock.advance(25)
    follower.answer(sequence=1, after=1, ask=ask)
    assert isinstance(follower.state.next(follower.clock()), Ask)


def test_an_answer_to_a_request_that_was_given_up_is_dropped(follower: Follower) -> None:
    ask = follower.ask()
    follower.clock.advance(7)
    assert follower.state.overdue(follower.clock())
    follower.state.forget_flight()
    assert follower.answer(jti("a"), ask=ask) is None
    follower.state.failed(ask, "timeout")
    follower.state.absent(ask)
    assert follower.state.require(follower.clock()) == Patience(3)


def test_where_the_feed_is_is_looked_up_first_and_after_each_failure() -> None:
    follower = Follower(None)
    ask = follower.ask()
    assert (ask.url, ask.discover) == (None, True)
    follower.answer(ask=ask)
    ask = follower.ask()
    assert (ask.url, ask.discover) == (URL, False)
    follower.state.failed(ask, "status_unexpected")
    ask = follower.ask()
    assert (ask.url, ask.discover) == (URL, True)


def test_a_url_that_is_configured_is_never_looked_up(follower: Follower) -> None:
    follower.fail()
    assert not follower.ask().discover


def test_where_none_is_offered_nothing_is_revoked_unless_it_is_required() -> None:
    follower = Follower(None, required=False)
    follower.state.absent(follower.ask())
    assert not follower.revoked
    assert follower.state.next(follower.clock()) == Rest(LOOK_AGAIN)
    follower.clock.advance(1_000_000)
    assert not follower.revoked
    demanding = Follower(None)
    demanding.state.absent(demanding.ask())
    assert demanding.cause() == "not_offered"


def test_a_failed_look_changes_nothing_where_none_was_offered() -> None:
    follower = Follower(None, required=False)
    follower.state.absent(follower.ask())
    follower.fail("timeout")
    follower.clock.advance(1_000_000)
    assert not follower.revoked


def test_a_feed_that_an_issuer_comes_to_offer_has_max_age_to_answer() -> None:
    follower = Follower(None, required=False)
    follower.state.absent(follower.ask())
    follower.fail("status_unexpected", url=URL)
    assert not follower.revoked
    follower.clock.advance(120)
    assert follower.cause() == "status_unexpected"


def test_metadata_that_offer_it_no_more_do_not_switch_it_off() -> None:
    follower = Follower(None, required=False)
    follower.answer(jti("a"))
    follower.state.absent(follower.ask())
    assert set(follower.revoked.tokens) == {"a"}
    follower.clock.advance(120)
    assert follower.cause() == "not_offered"


Step = tuple[str, Any]
STEPS: st.SearchStrategy[Step] = st.one_of(
    st.tuples(st.just("revoke"), st.integers(1, 3)),
    st.tuples(st.just("answer"), st.integers(0, 4)),
    st.tuples(st.just("fail"), st.sampled_from(["timeout", "connection_lost"])),
    st.tuples(st.just("pass"), st.floats(0, 70)),
    st.tuples(st.just("restore"), st.integers(0, 3)),
)


@settings(deadline=None)
@given(st.lists(STEPS, max_size=60))
def test_whatever_happens_what_was_heard_of_stays_revoked_and_silence_ends_acceptance(
    steps: list[Step],
) -> None:
    # A feed of several replicas that lag by up to four numbers, and is restored now and then.
    follower = Follower(max_entries=10_000)
    epochs: list[list[str]] = [[]]
    heard, confirmed = 0, None
    heard_epoch = -1
    for what, how in steps:
        present = epochs[-1]
        if what == "revoke":
            present += [f"{len(epochs)}-{len(present) + more}" for more in range(how)]
        elif what == "restore":
            epochs.append([f"{len(epochs) + 1}-{number}" for number in range(how)])
        elif what == "pass":
            follower.clock.advance(how)
        else:
            ask = follower.ask()
            if what == "fail":
                follower.state.failed(ask, how)
                continue
            sequence = max(len(present) - how, 0)
            after = min(ask.after, sequence) if ask.epoch == str(len(epochs)) else 0
            entries = [jti(name, exp=NOW + 10**9) for name in present[after:sequence]]
            place = {"epoch": str(len(epochs)), "sequence": sequence, "after": after}
            read = parse(document(*entries, **place), max_entries=10_000)
            follower.state.answered(ask, URL, read, follower.clock())
            if heard_epoch != len(epochs) or sequence >= heard:
                heard, heard_epoch, confirmed = sequence, len(epochs), ask.began
        if confirmed is None or follower.clock().since(confirmed) >= 120:
            with contextlib.suppress(RevocationsUnavailable):
                assert isinstance(follower.state.require(follower.clock()), Patience)
        else:
            assert set(follower.revoked.tokens) == set(epochs[heard_epoch - 1][:heard])
