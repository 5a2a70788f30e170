"""The ring over any sequence of steps, against a model that is kept beside it."""

import itertools
import random

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ephemera_keys import KeyRing, RotationRefused, State, jwks, public_jwk
from ephemera_keys.ring import (
    JWKS_MAX_AGE,
    LONGEST_LIFETIME,
    MINIMUM_PUBLICATION,
    MOST_PUBLISHED,
    RETENTION,
    SKEW,
    SNAPSHOT_BOUND,
)

POOL = [public_jwk(ec.derive_private_key(n, ec.SECP256R1()), alg="ES256") for n in range(1, 80)]
START = 1_000_000
SETTINGS = settings(
    derandomize=True, deadline=None, database=None, max_examples=60, stateful_step_count=35
)


class RingLife(RuleBasedStateMachine):
    """`high` is the latest moment that the ring was told of in a transition."""

    def __init__(self) -> None:
        super().__init__()
        self.fresh = iter(POOL)
        active, pending = next(self.fresh), next(self.fresh)
        self.now = self.high = START
        self.ring = KeyRing.start(active=active, pending=pending, now=START)
        self.active, self.pending, self.published_at = active["kid"], pending["kid"], START
        self.retired: dict[str, int] = {}
        self.revoked: set[str] = set()

    def changed(self, ring: KeyRing) -> None:
        self.high = max(self.high, self.now)
        self.ring = ring

    def publish(self) -> dict[str, str]:
        fresh = next(self.fresh)
        self.pending, self.published_at = fresh["kid"], max(self.high, self.now)
        return fresh

    @rule(seconds=st.sampled_from([1, 299, 900, RETENTION - 1, RETENTION, 86_400]))
    def time_passes(self, seconds: int) -> None:
        self.now += seconds

    @rule(seconds=st.sampled_from([1, 900, 2000, 86_400]))
    def the_clock_is_set_back(self, seconds: int) -> None:
        self.now -= seconds

    @rule()
    def the_clock_is_right_again(self) -> None:
        self.now = max(self.now, self.high)

    @rule()
    def rotate(self) -> None:
        if self.now < self.published_at + MINIMUM_PUBLICATION:
            with pytest.raises(RotationRefused) as refusal:
                self.ring.rotate(new_pending=POOL[-1], now=self.now, emergency=False)
            assert refusal.value.earliest == self.published_at + MINIMUM_PUBLICATION
        else:
            self.step(emergency=False)

    @precondition(lambda self: len(self.ring.published) < MOST_PUBLISHED)
    @rule()
    def rotate_in_an_emergency(self) -> None:
        self.step(emergency=True)

    def step(self, *, emergency: bool) -> None:
        self.retired[self.active] = max(self.high, self.now)
        self.active = self.pending
        fresh = self.publish()
        self.changed(self.ring.rotate(new_pending=fresh, now=self.now, emergency=emergency))

    @rule()
    def revoke_the_active_key(self) -> None:
        leaked, self.active = self.active, self.pending
        self.revoked.add(leaked)
        fresh = self.publish()
        self.changed(self.ring.revoke(leaked, new_pending=fresh, now=self.now))

    @rule()
    def revoke_the_pending_key(self) -> None:
        leaked = self.pending
        self.revoked.add(leaked)
        fresh = self.publish()
        self.changed(self.ring.revoke(leaked, new_pending=fresh, now=self.now))

    @precondition(lambda self: self.retired)
    @rule(data=st.data())
    def revoke_a_retired_key(self, data: st.DataObject) -> None:
        leaked = data.draw(st.sampled_from(sorted(self.retired)))
        del self.retired[leaked]
        self.revoked.add(leaked)
        self.changed(self.ring.revoke(leaked, new_pending=None, now=self.now))

    @precondition(lambda self: self.revoked)
    @rule(data=st.data())
    def revoke_a_revoked_key(self, data: st.DataObject) -> None:
        leaked = data.draw(st.sampled_from(sorted(self.revoked)))
        assert self.ring.revoke(leaked, new_pending=None, now=self.now) is self.ring

    @rule()
    def remove_what_is_overdue(self) -> None:
        self.ring = self.ring.remove_overdue(self.now)
        self.retired = {kid: at for kid, at in self.retired.items() if self.now < at + RETENTION}

    @rule(seed=st.integers(0, 9))
    def read_back_from_a_store(self, seed: int) -> None:
        records = list(self.ring.records)
        random.Random(seed).shuffle(records)  # noqa: S311 - an order, not a secret
        again = KeyRing(tuple(records))
        assert again == self.ring
        assert jwks.document(again) == jwks.document(self.ring)

    @invariant()
    def every_key_is_where_the_model_has_it(self) -> None:
        assert self.ring.active.kid == self.active
        assert self.ring.pending.kid == self.pending
        assert {record.kid: record.retired_at for record in self.ring.retired} == self.retired
        assert {record.kid for record in self.ring.revoked} == self.revoked

    @invariant()
    def what_is_published_is_what_verifiers_need(self) -> None:
        needed = set(self.retired)
        published = [record.kid for record in self.ring.published]
        assert published[:2] == [self.active, self.pending]
        assert set(published[2:]) == needed
        assert not self.revoked & set(published)
        assert len(published) <= MOST_PUBLISHED

    @invariant()
    def no_moment_is_before_what_the_ring_has_seen(self) -> None:
        assert self.ring.pending.published_at == self.published_at
        for record in self.ring.records:
            assert list(record.moments) == sorted(record.moments)
            assert record.state != State.RETIRED or record.moments[-1] <= self.high


RingLife.TestCase.settings = SETTINGS
TestRingLife = RingLife.TestCase


@settings(derandomize=True, deadline=None, database=None, max_examples=100)
@given(
    gaps=st.lists(st.integers(MINIMUM_PUBLICATION, 3000), min_size=1, max_size=6),
    after=st.integers(0, 2999),
    lag=st.integers(0, SNAPSHOT_BOUND - 1),
    lifetime=st.integers(10, LONGEST_LIFETIME),
    asked_after=st.integers(0, LONGEST_LIFETIME + SKEW - 1),
    cached_for=st.integers(0, JWKS_MAX_AGE - 1),
)
def test_whoever_signs_and_whoever_asks_meets_the_key_in_the_cache(
    *, gaps: list[int], after: int, lag: int, lifetime: int, asked_after: int, cached_for: int
) -> None:
    """A replica signs with a ring that may be late; a verifier has a document that may be old."""
    fresh = iter(POOL)
    rings = [(0, KeyRing.start(active=next(fresh), pending=next(fresh), now=0))]
    for moment in itertools.accumulate(gaps):
        ring = rings[-1][1].rotate(new_pending=next(fresh), now=moment, emergency=False)
        rings.append((moment, ring))

    def ring_at(moment: int) -> KeyRing:
        return next(ring for since, ring in reversed(rings) if since <= max(moment, 0))

    signed = gaps[0] + after
    signer = ring_at(signed - lag).active
    asked = signed + min(asked_after, lifetime + SKEW - 1)
    fetched = asked - cached_for
    assert signer.kid in {
        record.kid for record in ring_at(fetched).remove_overdue(fetched).published
    }
