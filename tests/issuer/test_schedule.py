from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st

from ephemera_client.instant import Instant
from ephemera_issuer.schedule import JUMP, SETTLE, Remove, Rotate, Schedule, Watch, next_rotation
from ephemera_keys import KeyRing, State, public_jwk
from ephemera_keys.ring import MINIMUM_PUBLICATION, RETENTION

if TYPE_CHECKING:
    from collections.abc import Iterator

START = Instant(1_800_000_000.0, 500.0)
DAY = 86_400.0
DAILY = Schedule(every=DAY, spread=0.0)
POOL = [public_jwk(ec.derive_private_key(n, ec.SECP256R1()), alg="ES256") for n in range(1, 400)]


def first_ring() -> KeyRing:
    return KeyRing.start(active=POOL[0], pending=POOL[1], now=START.wall)


def later(seconds: float, *, jump: float = 0.0) -> Instant:
    return Instant(START.wall + seconds + jump, START.monotonic + seconds)


def looks(watch: Watch, ring: KeyRing, *instants: Instant) -> Watch:
    for instant in instants:
        watch = watch.look(ring, instant)
    return watch


def test_a_rotation_is_due_a_period_after_the_last() -> None:
    ring = first_ring()
    assert next_rotation(ring, every=DAY) == START.wall + DAY
    assert next_rotation(ring, every=None) is None
    watch = Watch.begin(ring, START)
    assert DAILY.step(ring, watch.look(ring, later(DAY - 1))) is None
    assert DAILY.step(ring, watch.look(ring, later(DAY))) == Rotate()


def test_no_period_is_so_short_that_a_rotation_would_be_too_early() -> None:
    ring = first_ring().revoke(POOL[1]["kid"], new_pending=POOL[2], now=START.wall + 600)
    assert next_rotation(ring, every=900) == START.wall + 600 + MINIMUM_PUBLICATION


def test_a_rotation_that_was_missed_is_made_up_for_once_the_process_has_waited_itself() -> None:
    ring = first_ring()
    watch = Watch.begin(ring, later(10 * DAY))
    assert DAILY.step(ring, watch) is None
    watch = watch.look(ring, later(10 * DAY + MINIMUM_PUBLICATION - 1))
    assert DAILY.step(ring, watch) is None
    assert DAILY.step(ring, watch.look(ring, later(10 * DAY + MINIMUM_PUBLICATION))) == Rotate()


def test_what_is_left_to_people_is_not_done() -> None:
    ring = first_ring()
    watch = Watch.begin(ring, START).look(ring, later(100 * DAY))
    assert Schedule(every=None, spread=0).step(ring, watch) is None


@pytest.mark.parametrize(("every", "wait"), [(DAY, 60.0), (1000.0, 10.0)])
def test_processes_spread_over_a_hundredth_of_the_period_and_a_minute_at_most(
    every: float, wait: float
) -> None:
    ring = first_ring()
    schedule = Schedule(every=every, spread=1.0)
    watch = Watch.begin(ring, START)
    assert schedule.step(ring, watch.look(ring, later(every + wait - 0.1))) is None
    assert schedule.step(ring, watch.look(ring, later(every + wait))) == Rotate()


def test_a_retired_key_is_removed_once_it_is_overdue_and_was_seen_retired_for_as_long() -> None:
    ring = first_ring().rotate(new_pending=POOL[2], now=START.wall, emergency=True)
    off = Schedule(every=None, spread=0)
    watch = Watch.begin(ring, START)
    assert off.step(ring, watch.look(ring, later(RETENTION - 1))) is None
    assert off.step(ring, watch.look(ring, later(RETENTION))) == Remove((POOL[0]["kid"],))
    late = Watch.begin(ring, later(RETENTION))
    assert off.step(ring, late) is None
    assert off.step(ring, late.look(ring, later(2 * RETENTION))) == Remove((POOL[0]["kid"],))


@pytest.mark.parametrize("jump", [-DAY, -JUMP - 1, JUMP + 1, DAY, 365 * DAY])
def test_a_clock_that_jumps_holds_every_step_until_it_has_been_steady_for_a_while(
    jump: float,
) -> None:
    ring = first_ring().rotate(new_pending=POOL[2], now=START.wall, emergency=True)
    watch = Watch.begin(ring, START)
    at = 2 * DAY
    watch = looks(watch, ring, later(at - 1), later(at, jump=jump))
    assert watch.jump == pytest.approx(jump)
    assert watch.held
    assert DAILY.step(ring, watch) is None
    watch = watch.look(ring, later(at + SETTLE - 1, jump=jump))
    assert watch.jump == 0
    assert watch.held
    assert not watch.look(ring, later(at + SETTLE, jump=jump)).held


def test_a_clock_that_is_put_right_is_held_from_then_on() -> None:
    ring = first_ring()
    watch = looks(Watch.begin(ring, START), ring, later(1, jump=DAY), later(SETTLE, jump=DAY))
    watch = watch.look(ring, later(SETTLE + 1))
    assert watch.jump == pytest.approx(-DAY)
    assert watch.look(ring, later(2 * SETTLE)).held
    assert not watch.look(ring, later(2 * SETTLE + 1)).held


def test_a_clock_that_runs_a_little_fast_is_not_taken_for_one_that_jumps() -> None:
    ring = first_ring()
    watch = Watch.begin(ring, START)
    for second in range(1, 10_000):
        watch = watch.look(ring, later(second, jump=second * 0.001))
    assert watch.jumped_at is None


def test_a_clock_behind_the_ring_is_told() -> None:
    ring = first_ring()
    assert Watch.begin(ring, later(0, jump=-JUMP)).behind(ring) == 0
    assert Watch.begin(ring, later(0, jump=-60)).behind(ring) == 60


def test_a_key_is_waited_for_in_the_state_that_it_is_in() -> None:
    ring = first_ring()
    watch = Watch.begin(ring, START).look(ring, later(50))
    rotated = ring.rotate(new_pending=POOL[2], now=START.wall + 60, emergency=True)
    watch = looks(watch, rotated, later(60), later(100))
    assert watch.waited(POOL[1]["kid"], State.ACTIVE) == 40
    assert watch.waited(POOL[1]["kid"], State.PENDING) == 0
    assert watch.waited(POOL[2]["kid"], State.PENDING) == 40
    assert watch.waited("unheard-of", State.ACTIVE) == 0


MOVES = st.tuples(
    st.sampled_from([1.0, 10.0, 300.0, 1000.0, 5000.0]),  # seconds that pass
    # by how much the wall clock is wrong from then on
    st.sampled_from([0.0] * 8 + [-1e7, -4000.0, -60.0, 60.0, 4000.0, 1e5, 1e8]),
    st.sampled_from(["look"] * 8 + ["restart", "by hand"]),
)


@settings(derandomize=True, deadline=None, database=None, max_examples=300)
@given(moves=st.lists(MOVES, min_size=5, max_size=60))
def test_whatever_the_clock_does_no_key_signs_or_goes_before_it_may(
    moves: list[tuple[float, float, str]],
) -> None:
    """True time is kept beside; the process knows only its clocks."""
    fresh: Iterator[dict[str, str]] = iter(POOL)
    ring = KeyRing.start(active=next(fresh), pending=next(fresh), now=START.wall)
    true = wrong = 0.0
    published, retired = {ring.pending.kid: true}, dict[str, float]()
    watch = Watch.begin(ring, START)
    schedule = Schedule(every=3600.0, spread=0.5)
    for passed, wrong_by, what in moves:
        true += passed
        wrong += wrong_by
        now = later(true, jump=max(wrong, -START.wall + 1 - true))
        watch = Watch.begin(ring, now) if what == "restart" else watch.look(ring, now)
        emergency = what == "by hand"
        step = Rotate() if emergency else schedule.step(ring, watch)
        match step:
            case Rotate() if len(ring.published) < 30:
                if not emergency:
                    assert true - published[ring.pending.kid] >= MINIMUM_PUBLICATION
                retired[ring.active.kid] = true
                new = next(fresh)
                ring = ring.rotate(new_pending=new, now=now.wall, emergency=emergency)
                published[new["kid"]] = true
            case Remove(kids):
                assert all(true - retired[kid] >= RETENTION for kid in kids)
                ring = ring.remove_overdue(now.wall, among=kids)
                assert not {record.kid for record in ring.retired} & set(kids)
            case _:
                pass


def test_with_a_right_clock_years_go_by_on_time() -> None:
    fresh = iter(POOL)
    ring = KeyRing.start(active=next(fresh), pending=next(fresh), now=START.wall)
    watch = Watch.begin(ring, START)
    rotated = []
    for minute in range(0, 366 * 24 * 60, 7):
        now = later(minute * 60)
        watch = watch.look(ring, now)
        match DAILY.step(ring, watch):
            case Rotate():
                ring = ring.rotate(new_pending=next(fresh), now=now.wall, emergency=False)
                rotated.append(now.monotonic)
            case Remove(kids):
                ring = ring.remove_overdue(now.wall, among=kids)
            case None:
                pass
        assert len(ring.retired) <= 1
    gaps = [after - before for before, after in pairwise(rotated)]
    assert len(rotated) == 365
    assert all(DAY <= gap < DAY + 420 for gap in gaps)


def test_a_watch_forgets_what_left_the_ring() -> None:
    ring = first_ring()
    watch = Watch.begin(ring, START)
    other = KeyRing.start(active=POOL[5], pending=POOL[6], now=START.wall)
    assert {kid for kid, _ in watch.look(other, later(1)).seen} == {POOL[5]["kid"], POOL[6]["kid"]}
    assert replace(watch, jump=1.0).look(ring, later(2)).jump == 0
