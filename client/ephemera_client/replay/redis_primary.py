"""One primary of Redis, and the thread that claims there for all threads and tasks of a process.

Claims that come while an exchange is under way go together in the next one. A connection on which
anything went wrong is never used again; the claims whose outcome that leaves unknown are sent once
more over a new one, where each finds the value that it may have left behind.
"""

import math
import os
import struct
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from importlib import resources
from typing import Any, NamedTuple, Protocol

from ephemera_client.instant import Clock
from ephemera_client.replay.breaker import Breaker
from ephemera_client.waiting import ThreadWaiter, Waiter, wake_all

Word = bytes | str | int

PARTITIONS = 256
SURVEY_EVERY = 60.0

_BATCH = 128
_IDLE = 30.0
_LONGEST_CLOSE = 5.0
_RESURVEY_AFTER = 1.0
_MOVING_PAUSE = 0.005
_SCRIPT = resources.files(__package__).joinpath("redis_ledger.lua").read_text(encoding="ascii")
OUTCOMES = {
    ord("a"): "accepted",
    ord("b"): "begun",
    ord("c"): "clocks_differ",
    ord("f"): "forgotten",
    ord("r"): "replayed",
    ord("u"): "unborn",
}
TIMES = struct.Struct(">qqq")
"""The verifier's clock, `iat` and `exp`, as the script reads them behind a claim's value."""
_VALUE = 12
# Nothing was done, and elsewhere or a moment later it may be.
_ELSEWHERE = frozenset({"moved", "slot_moving", "cluster_down"})
# Nothing was done, and over a new connection it may be: the name may mean another server by now.
_ANEW = frozenset({"no_script", "not_primary"})


class LinkFailed(Exception):
    """There is no connection, or no telling what was done over it; `code` is a `cause_code`."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class Refusal(NamedTuple):
    """The server refused one command; `code` is a `cause_code`, `moved` or `no_script`."""

    code: str


class Link(Protocol):
    """An open connection; `redis_wire.Wire` is one."""

    def exchange(self, commands: Sequence[Sequence[Word]]) -> list[Any]:
        """Send all commands and return all replies, or raise `LinkFailed`."""
        ...

    def info(self, section: str) -> dict[str, str]:
        """Return a section of INFO."""
        ...

    def owners(self) -> Iterable[tuple[range, str, int]]:
        """Return which slots belong to which host and port."""
        ...

    def close(self) -> None:
        """Close it."""
        ...


class Attempt:
    """One claim on its way, or none, just to see that its part of the ledger is there.

    `key` is empty for none. `facts` are the `TIMES`. `outcome` is one of `OUTCOMES` or a
    `cause_code`; the `waiter` is woken once it is there. `reason` is the `cause_code` if it never
    comes. Once sent, it has a random `value` of its own: by it, a claim that is sent again knows
    what it left behind.
    """

    __slots__ = ("facts", "give_up_at", "key", "outcome", "partition", "reason", "value", "waiter")

    def __init__(
        self,
        partition: int,
        key: bytes,
        facts: bytes,
        give_up_at: float,
        waiter: Waiter,
    ) -> None:
        self.partition = partition
        self.key = key
        self.facts = facts
        self.give_up_at = give_up_at
        self.waiter = waiter
        self.value = b""
        self.outcome: str | None = None
        self.reason = "timeout"


def visit(now: float) -> bytes:
    """Return the facts of no claim; `now` is the wall clock's."""
    return TIMES.pack(math.floor(now), 0, 0)


def settle(attempts: Iterable[Attempt], outcome: str) -> None:
    """Tell all who wait for these; an outcome that is there stands."""
    unsettled = [attempt for attempt in attempts if attempt.outcome is None]
    for attempt in unsettled:
        attempt.outcome = outcome
    wake_all([attempt.waiter for attempt in unsettled])


class Cluster(Protocol):
    """Those who know the other primaries; `redis_cluster.Primaries` is one."""

    def learn(self, link: Link) -> None:
        """Ask this node who owns what; or raise `LinkFailed`."""
        ...

    def search(self, lost: "Primary") -> None:
        """Ask the others, since this primary does not answer."""
        ...

    def route(self, attempt: Attempt) -> None:
        """Send a claim to whoever owns its slot now."""
        ...


class Primary:
    """The claims of this process at one server.

    A thread works while there is something to do, and half a minute longer.
    """

    def __init__(
        self, connect: Callable[[], Link], cluster: Cluster, *, prefix: str, clock: Clock
    ) -> None:
        self._connect = connect
        self._cluster = cluster
        self._records = [record(prefix, partition) for partition in range(PARTITIONS)]
        self._clock = clock
        # Taken for each claim: a bare lock takes no call of Python's, a condition two.
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._waiting: deque[Attempt] = deque()
        self._thread: threading.Thread | None = None
        self._closing = False
        self._breaker = Breaker()
        self._failure = "failed"
        # What follows is the thread's own.
        self._link: Link | None = None
        self._run_id = ""
        self._by_slot = False
        self._script = b""
        self._surveyed = -math.inf

    def submit(self, attempt: Attempt) -> None:
        """Claim, or settle at once where the server has just failed others."""
        with self._lock:
            failure = self._failure
            breaker = self._breaker
            if admitted := not breaker.pause or breaker.admits(time.monotonic()):
                if not self._waiting:
                    self._changed.notify()
                self._waiting.append(attempt)
                self._closing = False
                if self._thread is None and not self._start():
                    self._waiting.clear()
                    admitted, failure = False, "no_thread"
        if not admitted:
            settle([attempt], failure)

    def retire(self) -> None:
        """Let the thread finish what it has and close the connection."""
        with self._lock:
            self._closing = True
            self._changed.notify()

    def close(self) -> None:
        """Do as `retire`, and wait for it, unless claims keep coming."""
        self.retire()
        thread = self._thread
        if thread is not None:
            thread.join(_LONGEST_CLOSE)

    def _start(self) -> bool:
        thread = threading.Thread(target=self._work, name="ephemera-redis", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            return False
        self._thread = thread
        return True

    def _work(self) -> None:
        while batch := self._next():
            try:
                self._carry_out(batch)
            except BaseException:
                # Raised, so that it is seen; the next claim starts another thread.
                self._drop()
                with self._lock:
                    self._thread = None
                self._fail(batch, "failed")
                raise

    def _next(self) -> list[Attempt]:
        with self._lock:
            while True:
                now = time.monotonic()
                batch: list[Attempt] = []
                while self._waiting and len(batch) < _BATCH:
                    attempt = self._waiting.popleft()
                    if attempt.give_up_at > now:
                        batch.append(attempt)
                if batch:
                    return batch
                if self._closing or not (self._changed.wait(_IDLE) or self._waiting):
                    self._drop()
                    self._thread = None
                    return []

    def _carry_out(self, batch: list[Attempt]) -> None:
        for is_last in (False, True):
            try:
                link = self._open()
            except LinkFailed as failed:
                self._fail(batch, failed.code)
                return
            try:
                batch = self._claim(link, batch)
                break
            except LinkFailed as failed:
                self._drop()
                if is_last:
                    self._fail(batch, failed.code)
                    return
        with self._lock:
            self._breaker.succeeded()
        if batch:
            # A slot that is moving has moved in a moment; and two nodes that point at each other
            # are not asked as fast as they can answer.
            time.sleep(_MOVING_PAUSE)
        for attempt in batch:
            self._cluster.route(attempt)

    def _open(self) -> Link:
        if self._link is not None and time.monotonic() - self._surveyed < SURVEY_EVERY:
            return self._link
        try:
            if self._link is None:
                self._link = self._connect()
                server = self._link.info("server")
                self._run_id = server.get("run_id", "")
                self._by_slot = server.get("redis_mode") == "cluster"
                self._script = self._load(self._link)
            self._survey(self._link)
        except LinkFailed:
            self._drop()
            raise
        return self._link

    def _load(self, link: Link) -> bytes:
        (digest,) = link.exchange([("SCRIPT", "LOAD", _SCRIPT)])
        if isinstance(digest, Refusal):
            raise LinkFailed(digest.code)
        loaded: bytes = digest
        return loaded

    def _survey(self, link: Link) -> None:
        """See that nothing is evicted, and that each part of the ledger here has begun.

        All at once, so that a birth refuses the tokens of one second, not those of the first
        second in which each part happens to be asked.
        """
        if link.info("memory").get("maxmemory_policy") != "noeviction":
            raise LinkFailed("evicting")
        facts = visit(self._clock().wall)
        visits = [
            Attempt(partition, b"", facts, math.inf, ThreadWaiter())
            for partition in range(PARTITIONS)
        ]
        replies = link.exchange([self._command(group) for group in self._groups(visits)])
        refusals = {reply.code for reply in replies if isinstance(reply, Refusal)}
        if "moved" in refusals:
            self._cluster.learn(link)
        for code in refusals - _ELSEWHERE:
            raise LinkFailed(code)
        self._surveyed = time.monotonic()

    def _claim(self, link: Link, batch: list[Attempt]) -> list[Attempt]:
        """Settle what can be settled, and return what is to be sent elsewhere."""
        groups = self._groups(batch)
        replies = link.exchange([self._command(group) for group in groups])
        elsewhere: list[Attempt] = []
        settled: list[Attempt] = []
        refusals, is_odd = set(), False
        for group, reply in zip(groups, replies, strict=True):
            if isinstance(reply, Refusal):
                refusals.add(reply.code)
                if reply.code in _ELSEWHERE:
                    elsewhere += group
                    for attempt in group:
                        attempt.reason = reply.code
                elif reply.code not in _ANEW:
                    settle(group, reply.code)
                continue
            letters, is_born = reply
            is_odd = is_odd or bool(is_born) or b"c" in letters
            for attempt, letter in zip(group, letters, strict=True):
                attempt.outcome = OUTCOMES[letter]
            settled += group
        wake_all([attempt.waiter for attempt in settled])
        for code in refusals & _ANEW:
            batch[:] = [attempt for attempt in batch if attempt.outcome is None]
            raise LinkFailed(code)
        if "moved" in refusals:
            self._cluster.learn(link)
        if is_odd and time.monotonic() - self._surveyed > _RESURVEY_AFTER:
            self._surveyed = -math.inf
        return elsewhere

    def _groups(self, batch: list[Attempt]) -> list[list[Attempt]]:
        """Put together what one call of the script may claim: in a cluster, what shares a slot."""
        if not self._by_slot:
            return [batch]
        groups: defaultdict[int, list[Attempt]] = defaultdict(list)
        for attempt in batch:
            groups[attempt.partition].append(attempt)
        return list(groups.values())

    def _command(self, group: list[Attempt]) -> Sequence[Word]:
        keys: list[Word] = []
        facts: list[bytes] = []
        # Drawn for all at once: it is a system call, and lets go of the interpreter besides.
        values = os.urandom(_VALUE * len(group))
        for number, attempt in enumerate(group):
            record = self._records[attempt.partition]
            keys += (record, record + attempt.key)
            attempt.value = attempt.value or values[number * _VALUE : (number + 1) * _VALUE]
            facts += (attempt.value, attempt.facts)
        return ("EVALSHA", self._script, len(keys), *keys, self._run_id, b"".join(facts))

    def _fail(self, batch: list[Attempt], code: str) -> None:
        with self._lock:
            self._breaker.failed(time.monotonic())
            self._failure = code
            batch = [*batch, *self._waiting]
            self._waiting.clear()
        settle(batch, code)
        self._cluster.search(self)

    def _drop(self) -> None:
        if self._link is not None:
            self._link.close()
            self._link = None


def record(prefix: str, partition: int) -> bytes:
    """Return the key of a part of the ledger, whose slot is that of its claims."""
    return f"{prefix}{{{partition:02x}}}".encode()
