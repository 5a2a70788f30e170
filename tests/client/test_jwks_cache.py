import json
from collections.abc import Callable

import pytest
from client.fixtures_verifying import SigningKey, signing_key
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ephemera_client.errors import (
    ConfigurationError,
    KeysUnavailable,
    KeyUnknown,
    KeyUnsuitable,
)
from ephemera_client.instant import Instant
from ephemera_client.jwk import VerificationKey
from ephemera_client.jwks.answer import Answer
from ephemera_client.jwks.cache import Found, JwksCache, Load, Pending, Timing
from ephemera_client.jwks.document import KeySet, parse

TIMING = Timing(
    ttl=300,
    minimum_ttl=60,
    maximum_ttl=600,
    refresh_ahead=30,
    stale_for=3000,
    unknown_kid_loads=2,
    unknown_kid_window=30,
    unknown_kid_memory=60,
    timeout=3,
)
A, B, C = (signing_key("ES256", which) for which in range(3))


def key_set(*keys: SigningKey) -> KeySet:
    return parse(json.dumps({"keys": [key.jwk for key in keys]}).encode(), max_keys=32)


def answer(*keys: SigningKey, lifetime: float | None = None, etag: str | None = None) -> Answer:
    return Answer(key_set(*keys), etag, lifetime)


class Driver:
    """A cache with its clock, and loads that end when the test says so."""

    def __init__(self, *, random: Callable[[], float] = lambda: 1.0) -> None:
        self.cache = JwksCache(TIMING, random=random)
        self.now = Instant(1_800_000_000.0, 100.0)
        self.loads: list[Load] = []

    def after(self, seconds: float) -> "Driver":
        self.now = Instant(self.now.wall + seconds, self.now.monotonic + seconds)
        return self

    def ask(self, kid: str) -> VerificationKey | Pending:
        step = self.cache.fresh(kid, self.now) or self.cache.lookup(kid, self.now)
        if isinstance(step, VerificationKey):
            return step
        if step.load is not None:
            self.loads.append(step.load)
        return step.key if isinstance(step, Found) else step

    def must_wait(self, kid: str) -> Load:
        step = self.ask(kid)
        assert isinstance(step, Pending)
        assert step.number == self.loads[-1].number
        return self.loads[-1]

    def gets(self, key: SigningKey) -> bool:
        found = self.ask(key.kid)
        return isinstance(found, VerificationKey) and found.kid == key.kid

    def deliver(self, given: Answer | str) -> None:
        if isinstance(given, str):
            self.cache.failed(self.loads[-1].number, given, self.now)
        else:
            self.cache.loaded(self.loads[-1].number, given, self.now)


@pytest.fixture
def warm() -> Driver:
    driver = Driver()
    driver.must_wait(A.kid)
    driver.deliver(answer(A, B, etag='"1"'))
    assert driver.gets(A)
    return driver


def test_the_first_lookup_loads_and_all_the_others_wait_for_it() -> None:
    driver = Driver()
    for kid in (A.kid, A.kid, B.kid, "unknown"):
        driver.must_wait(kid)
    assert len(driver.loads) == 1
    assert driver.loads[0].etag is None
    driver.deliver(answer(A, B))
    assert driver.gets(A)
    assert driver.gets(B)


def test_a_young_document_is_used_without_a_load(warm: Driver) -> None:
    warm.after(269)
    assert warm.gets(A)
    assert warm.gets(B)
    assert len(warm.loads) == 1


@pytest.mark.parametrize(
    ("named", "lifetime"),
    [(None, 300), (0, 60), (-100, 60), (60, 60), (90, 90), (600, 600), (86400, 600)],
)
def test_a_named_lifetime_counts_within_bounds(named: float | None, lifetime: float) -> None:
    driver = Driver()
    driver.must_wait(A.kid)
    driver.deliver(answer(A, lifetime=named))
    driver.after(lifetime - 30.001)
    assert driver.gets(A)
    assert len(driver.loads) == 1
    driver.after(30.002)
    driver.must_wait(A.kid)
    assert len(driver.loads) == 2


def test_freshness_counts_from_the_request_and_not_from_the_answer() -> None:
    driver = Driver()
    driver.must_wait(A.kid)
    driver.after(2.5).deliver(answer(A, lifetime=60))
    driver.after(57.5)
    driver.must_wait(A.kid)


@pytest.mark.parametrize(("drawn", "begins"), [(0.0, 285), (0.5, 277.5), (1.0, 270)])
def test_a_load_begins_ahead_at_a_drawn_moment_and_nobody_waits(
    drawn: float, begins: float
) -> None:
    driver = Driver(random=lambda: drawn)
    driver.must_wait(A.kid)
    driver.deliver(answer(A))
    driver.after(begins - 0.001)
    assert driver.gets(A)
    assert len(driver.loads) == 1
    driver.after(0.002)
    assert driver.gets(A)
    assert driver.gets(A)
    assert len(driver.loads) == 2
    assert not driver.loads[1].no_cache
    driver.deliver(answer(A, B))
    driver.after(200)
    assert driver.gets(B)
    assert len(driver.loads) == 2


def test_an_unchanged_document_is_confirmed_by_its_etag(warm: Driver) -> None:
    warm.after(301)
    assert warm.must_wait(A.kid).etag == '"1"'
    warm.deliver(Answer(None, None, 120))
    warm.after(89)
    assert warm.gets(A)
    assert len(warm.loads) == 2
    warm.after(40)
    assert warm.must_wait(A.kid).etag == '"1"'


def test_a_new_document_without_an_etag_leaves_none(warm: Driver) -> None:
    warm.after(301)
    warm.must_wait(A.kid)
    warm.deliver(answer(A))
    warm.after(301)
    assert warm.must_wait(A.kid).etag is None


def test_a_confirmation_of_nothing_is_a_failure() -> None:
    driver = Driver()
    driver.must_wait(A.kid)
    driver.deliver(Answer(None, None, None))
    with pytest.raises(KeysUnavailable) as caught:
        driver.ask(A.kid)
    assert caught.value.cause_code == "status_unexpected"


def test_an_unknown_kid_loads_past_all_caches_and_is_then_remembered(warm: Driver) -> None:
    assert warm.must_wait("x").no_cache
    warm.deliver(answer(A, B))
    for _ in range(3):
        with pytest.raises(KeyUnknown):
            warm.ask("x")
    assert len(warm.loads) == 2
    warm.after(59.9)
    with pytest.raises(KeyUnknown):
        warm.ask("x")
    warm.after(0.2)
    warm.must_wait("x")


def test_a_kid_that_appears_is_known_at_once(warm: Driver) -> None:
    warm.must_wait(C.kid)
    warm.deliver(answer(A, B, C))
    assert warm.gets(C)


def test_unknown_kids_load_twice_per_window_together(warm: Driver) -> None:
    for number in range(50):
        try:
            warm.must_wait(f"made-up-{number}")
        except KeyUnknown:
            continue
        warm.deliver(answer(A, B))
    # The first load of all counts: it too was for a kid that was not known.
    assert len(warm.loads) == 2
    warm.after(30)
    for number in range(50):
        try:
            warm.must_wait(f"more-{number}")
        except KeyUnknown:
            continue
        warm.deliver(answer(A, B))
    assert len(warm.loads) == 4


def test_failed_loads_count_against_the_window_too(warm: Driver) -> None:
    warm.after(60)
    begun = 0
    for number in range(290):
        warm.after(0.1)
        try:
            warm.must_wait(f"made-up-{number}")
        except KeysUnavailable as error:
            assert error.cause_code == "timeout"  # noqa: PT017
            continue
        begun += 1
        warm.deliver("timeout")
    assert begun == 2
    assert warm.gets(A)


def test_an_unknown_kid_during_an_outage_is_nobodys_fault(warm: Driver) -> None:
    warm.after(31)
    warm.must_wait("x")
    warm.deliver("connect_failed")
    with pytest.raises(KeysUnavailable):
        warm.ask("x")
    warm.after(2)
    warm.must_wait("x")
    warm.deliver(answer(A, B))
    with pytest.raises(KeyUnknown):
        warm.ask("x")


def test_a_remembered_kid_is_forgotten_when_the_document_changes(warm: Driver) -> None:
    warm.must_wait(C.kid)
    warm.deliver(answer(A, B))
    warm.after(31)
    warm.must_wait("y")
    warm.deliver(answer(A, B))
    with pytest.raises(KeyUnknown):
        warm.ask(C.kid)
    warm.must_wait("z")
    warm.deliver(answer(B))
    warm.after(31)
    warm.must_wait(C.kid)
    warm.deliver(answer(B, C))
    assert warm.gets(C)


def test_a_kid_that_waited_for_anothers_load_may_still_ask_for_its_own(warm: Driver) -> None:
    warm.after(31)
    warm.must_wait("x")
    warm.must_wait(C.kid)
    warm.deliver(answer(A, B))
    assert warm.must_wait(C.kid).kid == C.kid
    warm.deliver(answer(A, B, C))
    assert warm.gets(C)


def test_a_failing_issuer_leaves_the_last_keys_in_use(warm: Driver) -> None:
    warm.after(301)
    warm.must_wait(A.kid)
    warm.deliver("connect_failed")
    elapsed = 301.0
    while elapsed < 3299:
        assert warm.gets(A)
        if warm.cache._flight:
            warm.deliver("connect_failed")
        warm.after(1)
        elapsed += 1
    assert warm.cache.last_failure == "connect_failed"
    assert 60 < len(warm.loads) < 300
    warm.after(1)
    if not warm.cache._resting(warm.now):
        warm.must_wait(A.kid)
        warm.deliver("connect_failed")
    with pytest.raises(KeysUnavailable) as caught:
        warm.ask(A.kid)
    assert caught.value.cause_code == "connect_failed"
    warm.after(60)
    warm.must_wait(A.kid)
    warm.deliver(answer(A))
    assert warm.gets(A)
    assert warm.cache.last_failure is None


def test_after_a_pause_the_first_caller_waits_even_if_the_last_load_failed(warm: Driver) -> None:
    warm.after(290)
    assert warm.gets(A)
    warm.deliver("timeout")
    warm.after(700)
    warm.must_wait(A.kid)


def test_an_empty_document_revokes_everything(warm: Driver) -> None:
    warm.after(301)
    warm.must_wait(A.kid)
    warm.deliver(Answer(parse(b'{"keys": []}', max_keys=32), None, None))
    warm.after(31)
    warm.must_wait(A.kid)
    warm.deliver(Answer(parse(b'{"keys": []}', max_keys=32), None, None))
    with pytest.raises(KeyUnknown):
        warm.ask(A.kid)


def test_a_key_that_cannot_be_used_is_told_from_one_that_is_not_there() -> None:
    driver = Driver()
    driver.must_wait(A.kid)
    weak = B.jwk | {"use": "enc"}
    both = json.dumps({"keys": [A.jwk, weak]}).encode()
    driver.deliver(Answer(parse(both, max_keys=32), None, None))
    with pytest.raises(KeyUnsuitable, match="use"):
        driver.ask(B.kid)
    assert len(driver.loads) == 1


def test_an_answer_that_comes_too_late_is_dropped(warm: Driver) -> None:
    warm.after(301)
    slow = warm.must_wait(A.kid)
    warm.after(3.1)
    assert warm.gets(A)
    warm.after(2)
    assert warm.gets(A)
    newer = warm.loads[-1]
    assert newer.number > slow.number
    warm.cache.loaded(newer.number, answer(B), warm.now)
    warm.cache.loaded(slow.number, answer(A), warm.now)
    warm.cache.failed(slow.number, "timeout", warm.now)
    assert warm.gets(B)
    assert warm.cache.last_failure is None
    assert warm.cache.document is not None
    assert list(warm.cache.document.keys.usable) == [B.kid]


def test_the_patience_of_a_waiter_ends_with_the_load_it_waits_for() -> None:
    driver = Driver()
    driver.must_wait(A.kid)
    driver.after(2)
    step = driver.ask(B.kid)
    assert isinstance(step, Pending)
    assert step.patience == pytest.approx(1)
    driver.after(1)
    with pytest.raises(KeysUnavailable) as caught:
        driver.ask(A.kid)
    assert caught.value.cause_code == "timeout"


def test_before_any_document_failures_are_retried_with_growing_pauses() -> None:
    driver = Driver()
    for _ in range(600):
        try:
            driver.must_wait(A.kid)
            driver.deliver("dns_failed")
        except KeysUnavailable as error:
            assert error.cause_code == "dns_failed"  # noqa: PT017
        driver.after(0.1)
    pauses = [
        later.began.since(earlier.began)
        for earlier, later in zip(driver.loads, driver.loads[1:], strict=False)
    ]
    assert pauses == pytest.approx([1, 2, 4, 8, 16], abs=0.2)


def test_warm_loads_at_once_whatever_failed_before() -> None:
    driver = Driver()
    driver.must_wait(A.kid)
    driver.deliver("dns_failed")
    step = driver.cache.warm(driver.now)
    assert step is not None
    assert step.load is not None
    driver.cache.loaded(step.load.number, answer(A), driver.now)
    assert driver.cache.warm(driver.now) is None
    assert driver.cache.require(driver.now).lifetime == 300


def test_a_clock_set_back_does_not_keep_old_keys(warm: Driver) -> None:
    warm.now = Instant(warm.now.wall - 86400, warm.now.monotonic + 301)
    warm.must_wait(A.kid)


def test_a_suspended_machine_does_not_keep_old_keys(warm: Driver) -> None:
    warm.now = Instant(warm.now.wall + 301, warm.now.monotonic)
    warm.must_wait(A.kid)


@pytest.mark.parametrize(
    "change",
    [
        {"ttl": -1},
        {"ttl": float("nan")},
        {"stale_for": float("inf")},
        {"timeout": 0},
        {"timeout": "3"},
        {"unknown_kid_loads": 1.5},
        {"unknown_kid_loads": True},
        {"minimum_ttl": 0},
        {"minimum_ttl": 601},
        {"refresh_ahead": 60},
    ],
    ids=repr,
)
def test_numbers_that_make_no_sense_are_refused(change: dict[str, object]) -> None:
    numbers = {name: getattr(TIMING, name) for name in TIMING.__slots__}
    with pytest.raises(ConfigurationError):
        Timing(**(numbers | change))


class Life(RuleBasedStateMachine):
    """An issuer that rotates, fails and recovers, and a cache that follows it."""

    def __init__(self) -> None:
        super().__init__()
        self.driver = Driver()
        self.published: tuple[SigningKey, ...] = (A,)
        self.flying: dict[int, tuple[SigningKey, ...]] = {}
        self.last_good: tuple[float, tuple[SigningKey, ...], float] | None = None
        self.strangers: list[float] = []
        self.count = 0

    @property
    def wall(self) -> float:
        return self.driver.now.wall

    @initialize(drawn=st.floats(0, 1))
    def begin(self, drawn: float) -> None:
        self.driver.cache._random = lambda: drawn

    @rule(seconds=st.one_of(st.floats(0, 4), st.floats(0, 70), st.floats(0, 4000)))
    def wait(self, seconds: float) -> None:
        self.driver.after(seconds)

    @rule(keys=st.sampled_from([(A,), (A, B), (B, C), (C,), ()]))
    def publish(self, keys: tuple[SigningKey, ...]) -> None:
        self.published = keys

    def _ask(self, kid: str) -> object:
        before = len(self.driver.loads)
        try:
            outcome: object = self.driver.ask(kid)
        except (KeyUnknown, KeysUnavailable) as error:
            outcome = error
        assert len(self.driver.loads) <= before + 1
        for load in self.driver.loads[before:]:
            self.flying = {load.number: self.published}
        return outcome

    @rule(key=st.sampled_from([A, B, C]))
    def look_up(self, key: SigningKey) -> None:
        document = self.driver.cache.document
        outcome = self._ask(key.kid)
        if isinstance(outcome, VerificationKey):
            assert self.last_good is not None
            loaded, keys, lifetime = self.last_good
            assert key in keys
            assert self.wall - loaded < lifetime + 3000
        if isinstance(outcome, KeyUnknown):
            assert document is not None
            assert key.kid not in document.keys.usable

    @rule()
    def look_up_a_stranger(self) -> None:
        document = self.driver.cache.document
        self.count += 1
        before = len(self.driver.loads)
        self._ask(f"made-up-{self.count}")
        usable = document is not None and (
            self.driver.now.since(document.loaded) < document.lifetime + 3000
        )
        if len(self.driver.loads) > before and usable:
            self.strangers = [moment for moment in self.strangers if self.wall - moment < 30]
            self.strangers.append(self.wall)
            assert len(self.strangers) <= 2

    @precondition(lambda self: self.flying)
    @rule(lifetime=st.sampled_from([None, 0.0, 90.0, 10_000.0]))
    def succeed(self, lifetime: float | None) -> None:
        (number, keys), *_ = self.flying.items()
        began = self.driver.loads[-1].began
        late = self.driver.now.since(began) >= 3
        self.flying = {}
        held = self.driver.cache.document
        self.driver.cache.loaded(number, answer(*keys, lifetime=lifetime), self.driver.now)
        if late:
            assert self.driver.cache.document is held
            return
        named = 300 if lifetime is None else lifetime
        self.last_good = (began.wall, keys, min(max(named, 60), 600))

    @precondition(lambda self: self.flying)
    @rule()
    def fail(self) -> None:
        held = self.driver.cache.document
        number, _ = self.flying.popitem()
        self.driver.cache.failed(number, "connect_failed", self.driver.now)
        assert self.driver.cache.document is held

    @invariant()
    def the_document_is_the_last_good_one(self) -> None:
        document = self.driver.cache.document
        if document is None:
            assert self.last_good is None
            return
        assert self.last_good is not None
        loaded, keys, lifetime = self.last_good
        assert set(document.keys.usable) == {key.kid for key in keys}
        assert (document.loaded.wall, document.lifetime) == (loaded, lifetime)

    @invariant()
    def memory_is_bounded(self) -> None:
        assert len(self.driver.cache._unknown) <= 60 / 30 * 2 + 2


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
