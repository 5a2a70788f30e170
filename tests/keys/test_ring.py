import itertools
import math
from collections.abc import Callable
from dataclasses import replace

import pytest

from ephemera_keys import (
    KeyRecord,
    KeyRing,
    RingInvalid,
    RotationRefused,
    State,
    Timing,
    TransitionRefused,
    UnknownKid,
)
from ephemera_keys.ring import MINIMUM_PUBLICATION, MOST_PUBLISHED, RETENTION

NewJWK = Callable[[], dict[str, str]]
START = 1_000_000.0
A_DAY = 86_400.0


@pytest.fixture
def ring(new_jwk: NewJWK) -> KeyRing:
    return KeyRing.start(active=new_jwk(), pending=new_jwk(), now=START)


@pytest.fixture
def rotated(ring: KeyRing, new_jwk: NewJWK) -> KeyRing:
    return ring.rotate(new_pending=new_jwk(), now=START + A_DAY, emergency=False)


def kids(*records: KeyRecord) -> list[str]:
    return [record.kid for record in records]


def test_the_numbers_are_those_that_verifiers_rely_on() -> None:
    assert MINIMUM_PUBLICATION == 15 * 60
    assert RETENTION == 900 + 30 + 300 + 30


def test_a_new_ring_publishes_the_key_that_signs_and_the_one_after(new_jwk: NewJWK) -> None:
    active, pending = new_jwk(), new_jwk()
    ring = KeyRing.start(active=active, pending=pending, now=START)
    assert (ring.active.jwk, ring.pending.jwk) == (active, pending)
    assert ring.published == (ring.active, ring.pending)
    assert (ring.retired, ring.revoked) == ((), ())


def test_a_rotation_moves_every_key_one_step(ring: KeyRing, new_jwk: NewJWK) -> None:
    moment, fresh = START + A_DAY, new_jwk()
    after = ring.rotate(new_pending=fresh, now=moment, emergency=False)
    assert after.active == replace(ring.pending, state=State.ACTIVE, activated_at=moment)
    assert after.retired == (replace(ring.active, state=State.RETIRED, retired_at=moment),)
    assert (after.pending.jwk, after.pending.published_at) == (fresh, moment)
    assert after.published == (after.active, after.pending, *after.retired)


def test_a_rotation_is_refused_until_every_cache_has_the_pending_key(
    ring: KeyRing, new_jwk: NewJWK
) -> None:
    earliest = START + MINIMUM_PUBLICATION
    for early in (START, earliest - 0.001, START - A_DAY, math.nan):
        with pytest.raises(RotationRefused) as refusal:
            ring.rotate(new_pending=new_jwk(), now=early, emergency=False)
        assert refusal.value.earliest == ring.earliest_rotation() == earliest
    after = ring.rotate(new_pending=new_jwk(), now=earliest, emergency=False)
    assert after.active.kid == ring.pending.kid
    assert after.earliest_rotation() == earliest + MINIMUM_PUBLICATION


def test_the_refusal_names_the_first_safe_second(ring: KeyRing, new_jwk: NewJWK) -> None:
    late = replace(ring.pending, published_at=0.5)
    ring = KeyRing((replace(ring.active, published_at=0, activated_at=0), late))
    with pytest.raises(RotationRefused, match="1970-01-01T00:15:01Z"):
        ring.rotate(new_pending=new_jwk(), now=1, emergency=False)


def test_an_emergency_does_not_wait(ring: KeyRing, new_jwk: NewJWK) -> None:
    after = ring.rotate(new_pending=new_jwk(), now=START, emergency=True)
    assert after.active.kid == ring.pending.kid
    assert ring.active.kid in kids(*after.published)


def test_no_emergency_publishes_more_keys_than_verifiers_take(
    ring: KeyRing, new_jwk: NewJWK
) -> None:
    for _ in range(MOST_PUBLISHED - 2):
        ring = ring.rotate(new_pending=new_jwk(), now=START, emergency=True)
    assert len(ring.published) == MOST_PUBLISHED
    with pytest.raises(TransitionRefused, match="32 keys are published"):
        ring.rotate(new_pending=new_jwk(), now=START, emergency=True)
    cleared = ring.remove_overdue(START + RETENTION)
    assert cleared.rotate(new_pending=new_jwk(), now=START + RETENTION, emergency=True)
    assert ring.revoke(ring.active.kid, new_pending=new_jwk(), now=START)


def test_a_retired_key_stays_published_until_its_last_token_is_past(rotated: KeyRing) -> None:
    (retired,) = rotated.retired
    due = START + A_DAY + RETENTION
    assert rotated.overdue_at(retired) == due
    assert rotated.remove_overdue(due - 0.001) is rotated
    assert rotated.published[2:] == (retired,)
    removed = rotated.remove_overdue(due)
    assert removed.published == (rotated.active, rotated.pending)
    assert removed.records == (rotated.active, rotated.pending)
    with pytest.raises(UnknownKid, match=f"no key '{retired.kid}'; it has {rotated.active.kid}"):
        removed.record(retired.kid)


def test_retired_keys_are_published_last_retired_first(rotated: KeyRing, new_jwk: NewJWK) -> None:
    first = rotated.retired[0].kid
    second = rotated.active.kid
    moment = START + A_DAY + MINIMUM_PUBLICATION
    after = rotated.rotate(new_pending=new_jwk(), now=moment, emergency=False)
    assert kids(*after.published) == [after.active.kid, after.pending.kid, second, first]


def test_revoking_the_active_key_lets_the_pending_one_sign_at_once(
    ring: KeyRing, new_jwk: NewJWK
) -> None:
    fresh = new_jwk()
    after = ring.revoke(ring.active.kid, new_pending=fresh, now=START + 1)
    assert (after.active.kid, after.active.activated_at) == (ring.pending.kid, START + 1)
    assert after.pending.jwk == fresh
    assert after.revoked == (replace(ring.active, state=State.REVOKED, revoked_at=START + 1),)
    assert after.published == (after.active, after.pending)


def test_revoking_the_pending_key_publishes_another(ring: KeyRing, new_jwk: NewJWK) -> None:
    fresh = new_jwk()
    after = ring.revoke(ring.pending.kid, new_pending=fresh, now=START + 800)
    assert after.active == ring.active
    assert after.pending.jwk == fresh
    assert kids(*after.revoked) == [ring.pending.kid]
    assert after.earliest_rotation() == START + 800 + MINIMUM_PUBLICATION


def test_revoking_a_retired_key_withdraws_it_and_changes_nothing_else(rotated: KeyRing) -> None:
    (retired,) = rotated.retired
    after = rotated.revoke(retired.kid, new_pending=None, now=START + A_DAY + 1)
    assert after.published == (rotated.active, rotated.pending)
    assert kids(*after.revoked) == [retired.kid]


def test_revoking_again_changes_nothing(ring: KeyRing, new_jwk: NewJWK) -> None:
    once = ring.revoke(ring.active.kid, new_pending=new_jwk(), now=START)
    assert once.revoke(ring.active.kid, new_pending=None, now=START + 5) is once


def test_a_new_pending_key_comes_where_it_is_needed_and_only_there(
    rotated: KeyRing, new_jwk: NewJWK
) -> None:
    for record in (rotated.active, rotated.pending):
        with pytest.raises(TransitionRefused, match=f"{record.state} key is revoked with a new"):
            rotated.revoke(record.kid, new_pending=None, now=START + A_DAY)
    (retired,) = rotated.retired
    with pytest.raises(TransitionRefused, match="retired key is revoked without"):
        rotated.revoke(retired.kid, new_pending=new_jwk(), now=START + A_DAY)
    gone = rotated.revoke(retired.kid, new_pending=None, now=START + A_DAY)
    with pytest.raises(TransitionRefused, match="revoked key is revoked without"):
        gone.revoke(retired.kid, new_pending=new_jwk(), now=START + A_DAY)


def test_an_unknown_kid_is_refused_with_the_known_ones(ring: KeyRing, new_jwk: NewJWK) -> None:
    with pytest.raises(UnknownKid) as refusal:
        ring.revoke("nobody", new_pending=new_jwk(), now=START)
    assert refusal.value.kid == "nobody"
    assert set(refusal.value.held) == {ring.active.kid, ring.pending.kid}


def test_the_record_of_a_revoked_key_never_goes(rotated: KeyRing) -> None:
    (retired,) = rotated.retired
    after = rotated.revoke(retired.kid, new_pending=None, now=START + A_DAY)
    assert after.remove_overdue(START + 10_000 * A_DAY).record(retired.kid).state == State.REVOKED


def test_a_key_that_was_in_the_ring_does_not_come_back(ring: KeyRing, new_jwk: NewJWK) -> None:
    leaked = dict(ring.active.jwk)
    after = ring.revoke(ring.active.kid, new_pending=new_jwk(), now=START)
    for known in (leaked, dict(after.active.jwk), dict(after.pending.jwk)):
        with pytest.raises(RingInvalid, match="each key once"):
            after.rotate(new_pending=known, now=START + A_DAY, emergency=False)
        with pytest.raises(RingInvalid, match="each key once"):
            after.revoke(after.active.kid, new_pending=known, now=START)


@pytest.mark.parametrize("extra", [{"d": "c2VjcmV0"}, {"use": "enc"}, {"kid": "1"}])
def test_only_a_public_signing_key_comes_into_the_ring(
    ring: KeyRing, new_jwk: NewJWK, extra: dict[str, str]
) -> None:
    bad = new_jwk() | extra
    with pytest.raises(RingInvalid, match="the new key"):
        ring.rotate(new_pending=bad, now=START + A_DAY, emergency=False)
    with pytest.raises(RingInvalid, match="the new key"):
        ring.revoke(ring.pending.kid, new_pending=bad, now=START)
    with pytest.raises(RingInvalid, match="the new key"):
        KeyRing.start(active=bad, pending=new_jwk(), now=START)


@pytest.mark.parametrize("now", [math.nan, math.inf, 1_700_000_000_000.0])
def test_a_transition_at_no_moment_is_refused(ring: KeyRing, new_jwk: NewJWK, now: float) -> None:
    with pytest.raises(RingInvalid, match="not in Unix seconds"):
        ring.rotate(new_pending=new_jwk(), now=now, emergency=True)
    with pytest.raises(RingInvalid, match="not in Unix seconds"):
        ring.revoke(ring.pending.kid, new_pending=new_jwk(), now=now)


def test_a_clock_set_back_neither_hurries_a_rotation_nor_shortens_a_retirement(
    rotated: KeyRing, new_jwk: NewJWK
) -> None:
    seen = START + A_DAY
    after = rotated.rotate(new_pending=new_jwk(), now=START, emergency=True)
    assert after.earliest_rotation() == seen + MINIMUM_PUBLICATION
    assert [record.retired_at for record in after.retired] == [seen, seen]
    assert after.remove_overdue(seen + RETENTION - 1) is after
    assert len(after.published) == 4
    revoked = rotated.revoke(rotated.active.kid, new_pending=new_jwk(), now=0)
    assert revoked.revoked[0].revoked_at == revoked.active.activated_at == seen


def test_a_moment_that_is_none_withdraws_no_key(rotated: KeyRing) -> None:
    for moment in (math.nan, math.inf, -math.inf):
        assert rotated.remove_overdue(moment) is rotated


def test_of_overdue_keys_only_those_that_are_named_go(rotated: KeyRing, new_jwk: NewJWK) -> None:
    ring = rotated.rotate(new_pending=new_jwk(), now=START + 2 * A_DAY, emergency=False)
    second, first = kids(*ring.retired)
    later = START + 3 * A_DAY
    assert ring.remove_overdue(later, among=()) is ring
    assert ring.remove_overdue(later, among={ring.active.kid, ring.pending.kid}) is ring
    assert kids(*ring.remove_overdue(later, among={first}).retired) == [second]
    assert ring.remove_overdue(later) == ring.remove_overdue(later, among={first, second})


def test_other_numbers_than_the_contracts_hold_through_every_step(new_jwk: NewJWK) -> None:
    timing = Timing(jwks_max_age=2, publication=5, retention=20)
    ring = KeyRing.start(active=new_jwk(), pending=new_jwk(), now=START, timing=timing)
    with pytest.raises(RotationRefused):
        ring.rotate(new_pending=new_jwk(), now=START + 4, emergency=False)
    ring = ring.rotate(new_pending=new_jwk(), now=START + 5, emergency=False)
    assert ring.remove_overdue(START + 24) is ring
    ring = ring.remove_overdue(START + 25)
    assert ring.retired == ()
    assert ring.revoke(ring.active.kid, new_pending=new_jwk(), now=START + 26).timing == timing


def test_a_ring_tells_its_latest_moment(rotated: KeyRing) -> None:
    assert rotated.latest_moment == START + A_DAY


def test_a_ring_is_the_same_in_whatever_order_its_records_are_read(
    rotated: KeyRing, new_jwk: NewJWK
) -> None:
    ring = rotated.revoke(rotated.pending.kid, new_pending=new_jwk(), now=START + A_DAY)
    assert {KeyRing(order) for order in itertools.permutations(ring.records)} == {ring}


def test_records_that_do_not_make_a_ring_are_refused(rotated: KeyRing) -> None:
    active, pending, (retired,) = rotated.active, rotated.pending, rotated.retired
    second = replace(pending, state=State.ACTIVE, activated_at=pending.published_at)
    for records, reason in [
        ((), "exactly one active key, and this has 0"),
        ((active,), "exactly one pending key, and this has 0"),
        ((pending, retired), "exactly one active key, and this has 0"),
        ((active, second, retired), "exactly one active key, and this has 2"),
        ((active, pending, pending), "each key once"),
        ((active, pending, second), "each key once"),
    ]:
        with pytest.raises(RingInvalid, match=reason):
            KeyRing(records)


def test_two_pending_keys_are_refused(ring: KeyRing, new_jwk: NewJWK) -> None:
    other = KeyRing.start(active=new_jwk(), pending=new_jwk(), now=START).pending
    with pytest.raises(RingInvalid, match="exactly one pending key, and this has 2"):
        KeyRing((*ring.records, other))
