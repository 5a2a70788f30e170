"""One life of tokens, lived with each replay cache: what one promises, all of them keep."""

import itertools
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import get_args

import pytest
from client.fixtures_redis import ClockedServer, moved_clock_library, shown
from client.fixtures_verifying import ManualClock
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from ephemera_client import Claim, RedisReplayCache, SingleProcessReplayCache, SQLiteReplayCache
from ephemera_client.instant import Instant, read
from ephemera_client.replay import Purpose, ReplayCache

RETENTION = 60
LEEWAY = 30
BIRTH = 3
PURPOSES: tuple[Purpose, ...] = get_args(Purpose)


class ServerClock(ManualClock):
    """The clock of a Redis server and of its verifiers, moved together."""

    def __init__(self, server: ClockedServer) -> None:
        super().__init__()
        self._server = server
        self._ahead = 0
        server.set(0)

    def __call__(self) -> Instant:
        wall, monotonic = read()
        return Instant(wall + self._ahead, monotonic)

    def advance(self, seconds: float) -> Instant:
        self._ahead += int(seconds)
        self._server.set(self._ahead)
        return self()

    def set_back(self, seconds: float) -> Instant:
        return self.advance(-seconds)


class Life(RuleBasedStateMachine):
    """Tokens are made and shown in any order, while the clock goes where it likes."""

    def __init__(
        self, clock: ManualClock, make: Callable[[ManualClock, ExitStack], ReplayCache]
    ) -> None:
        super().__init__()
        self.clock = clock
        self.opened = ExitStack()
        self.cache = make(clock, self.opened)
        self.cache.warm()
        # Past the second in which the ledger was born, however its birth is rounded.
        clock.advance(BIRTH)
        self.birth = self.latest = int(clock().wall)
        self.made: list[Claim] = []
        self.accepted: set[tuple[str, str]] = set()
        self.tried: set[tuple[str, str]] = set()

    def teardown(self) -> None:
        self.opened.close()

    @rule(seconds=st.sampled_from([1, 30, 200, 1100]))
    def time_goes_on(self, seconds: int) -> None:
        self.clock.advance(seconds)
        self._meet_the_clock()

    @rule(seconds=st.sampled_from([1, 40, 300, 5000]))
    def the_clock_is_set_back(self, seconds: int) -> None:
        self.clock.set_back(seconds)
        self._meet_the_clock()

    @rule(age=st.sampled_from([0, 0, 5, 400]), lifetime=st.integers(10, 900))
    def a_token_is_made_and_shown(self, age: int, lifetime: int) -> None:
        issued_at = int(self.clock().wall) - age
        jti = f"token {len(self.made)}"
        claim = Claim("token", "https://tokens", "orders", jti, issued_at, issued_at + lifetime)
        self.made.append(claim)
        self._show(claim)

    @rule(seconds=st.sampled_from([100, 400, 1100]))
    def the_clock_runs_ahead_and_is_put_right(self, seconds: int) -> None:
        self.time_goes_on(seconds)
        self.a_token_is_made_and_shown(age=0, lifetime=10)
        self.the_clock_is_set_back(seconds)
        for claim in self.made:
            self._show(claim)

    @precondition(lambda self: self.made)
    @rule(number=st.integers(0, 1000))
    def a_token_is_shown_again(self, number: int) -> None:
        self._show(self.made[number % len(self.made)])

    @precondition(lambda self: self.made)
    @rule(number=st.integers(0, 1000), purpose=st.sampled_from(PURPOSES))
    def its_jti_is_shown_for_some_purpose(self, number: int, purpose: Purpose) -> None:
        self._show(self.made[number % len(self.made)]._replace(purpose=purpose))

    @invariant()
    def what_was_accepted_last_is_refused(self) -> None:
        if self.made:
            self._show(self.made[-1])

    def _show(self, claim: Claim) -> None:
        now = self.clock()
        identity = (claim.purpose, claim.jti)
        if claim.expires_at <= now.wall - LEEWAY:
            return  # no verifier would ask
        is_first = identity not in self.tried
        is_young = claim.issued_at >= self.birth and claim.expires_at > self.latest + 2 - RETENTION
        self.tried.add(identity)
        outcome = shown(self.cache, claim, now)
        if outcome == "accepted":
            assert identity not in self.accepted
            self.accepted.add(identity)
        else:
            assert outcome in {"token_replayed", "issued_before_ledger"}
            assert not (is_first and is_young)

    def _meet_the_clock(self) -> None:
        self.latest = max(self.latest, int(self.clock().wall))
        self.cache.warm()


def live(
    clock: Callable[[], ManualClock], make: Callable[..., ReplayCache], *, lives: int = 100
) -> None:
    class Lived(Life):
        def __init__(self) -> None:
            super().__init__(clock(), make)

    run_state_machine_as_test(
        Lived,
        settings=settings(
            max_examples=lives,
            stateful_step_count=25,
            deadline=None,
            derandomize=True,
            database=None,
        ),
    )


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClockedServer]:
    directory = tmp_path_factory.mktemp("clocked")
    with ClockedServer(directory, moved_clock_library(directory)) as running:
        yield running


def test_within_a_process_no_token_is_accepted_twice() -> None:
    live(ManualClock, lambda clock, _: SingleProcessReplayCache(clock=clock))


def test_within_a_host_no_token_is_accepted_twice() -> None:
    def make(clock: ManualClock, opened: ExitStack) -> ReplayCache:
        path = Path(opened.enter_context(tempfile.TemporaryDirectory())) / "ledger.db"
        return opened.enter_context(SQLiteReplayCache(path, clock=clock, boot=lambda: "this boot"))

    live(ManualClock, make)


def test_within_a_fleet_no_token_is_accepted_twice(server: ClockedServer) -> None:
    prefixes = (f"life{number}:" for number in itertools.count())

    def make(clock: ManualClock, opened: ExitStack) -> ReplayCache:
        cache = RedisReplayCache(server.url, prefix=next(prefixes), clock=clock, deadline=5.0)
        return opened.enter_context(cache)

    live(lambda: ServerClock(server), make, lives=12)
