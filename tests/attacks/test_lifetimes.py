"""The last moment at which a token is accepted, and the first at which it is not."""

import pytest
from client.fixtures_verifying import (
    NOW,
    ManualClock,
    assert_refused,
    mint,
    verifier_of,
)

from ephemera_client import (
    LifetimeTooLong,
    TokenExpired,
    TokenNotYetValid,
)


@pytest.mark.parametrize(("late", "accepted"), [(0, True), (4.9, True), (5, False), (500, False)])
def test_exp_counts_with_the_leeway_and_not_beyond(late: float, *, accepted: bool) -> None:
    clock = ManualClock()
    verifier = verifier_of(clock=clock)
    token = mint(exp=NOW + 120)
    clock.advance(120 + late)
    if accepted:
        verifier.verify(token)
    else:
        assert_refused(token, TokenExpired, by=verifier)


@pytest.mark.parametrize("name", ["iat", "nbf"])
@pytest.mark.parametrize(("early", "accepted"), [(0, True), (5, True), (6, False), (10**9, False)])
def test_iat_and_nbf_count_with_the_leeway_and_not_beyond(
    name: str, early: int, *, accepted: bool
) -> None:
    token = mint(**{"exp": NOW + early + 60, name: NOW + early})
    if accepted:
        verifier_of().verify(token)
    else:
        assert_refused(token, TokenNotYetValid)


@pytest.mark.parametrize(
    ("maximum", "lifetime", "accepted"),
    [(900, 900, True), (900, 901, False), (60, 61, False), (900, 10**12, False)],
)
def test_a_token_lives_no_longer_than_the_maximum(
    maximum: int, lifetime: int, *, accepted: bool
) -> None:
    verifier = verifier_of(max_lifetime=maximum)
    token = mint(exp=NOW + lifetime)
    if accepted:
        verifier.verify(token)
    else:
        assert_refused(token, LifetimeTooLong, by=verifier)


def test_without_leeway_the_last_second_is_the_last() -> None:
    clock = ManualClock(NOW + 119.999)
    verifier = verifier_of(leeway=0, clock=clock, replay_cache=verifier_of()._replay_cache)
    verifier.verify(mint())
    clock.advance(0.001)
    assert_refused(mint(), TokenExpired, by=verifier)
