"""Single use among all processes that share a Redis or Valkey."""

import math
import os
import re
import time
import weakref
from types import TracebackType
from typing import TYPE_CHECKING, ClassVar, Self

from ephemera_client import instant
from ephemera_client.errors import (
    ConfigurationError,
    IssuedBeforeLedger,
    ReplayCacheUnavailable,
    TokenReplayed,
)
from ephemera_client.instant import Clock, Instant
from ephemera_client.replay.claim import AcceptedOnce, Claim
from ephemera_client.replay.redis_primary import PARTITIONS, TIMES, Attempt, visit
from ephemera_client.url import CaFile
from ephemera_client.waiting import Patience, TaskWaiter, ThreadWaiter, Waiter

if TYPE_CHECKING:
    from collections.abc import Callable

    from ephemera_client.replay.redis_cluster import Primaries

MAX_DEADLINE = 60

_PREFIX = re.compile(r"[!-z|~]+", re.ASCII)


class RedisReplayCache:
    """Remembers in Redis or Valkey, alone or a cluster, for all processes that name the same one.

    What may have been lost refuses what was issued before: after a start or a failover, on a
    flushed server, in a slot that has moved, tokens older than that are refused, so for about a
    second fresh ones as well. Nothing is asked before the first claim, or `warm`.

    Any number of threads and event loops may share a cache, and forked children too. It needs the
    extra `ephemera-client[redis]`.

    Args:
        url: `redis://host:6379/0`, `rediss://user:password@host` for TLS, or `unix:///path`. Any
            node of a cluster leads to the others.
        deadline: seconds that a claim may take.
        ca_file: PEM file of authorities to trust besides the system's.
        prefix: what the keys begin with; all who are to share one ledger name the same.
        clock: read for the birth of a ledger.

    Raises:
        ConfigurationError: an argument cannot be used, or redis-py is not installed.
    """

    accepted_once: ClassVar[AcceptedOnce] = "fleet"

    def __init__(
        self,
        url: str,
        *,
        deadline: float = 1.0,
        ca_file: CaFile = None,
        prefix: str = "ephemera:",
        clock: Clock = instant.read,
    ) -> None:
        if type(deadline) not in {int, float} or not 0 < deadline <= MAX_DEADLINE:
            raise ConfigurationError(f"deadline must be over 0 and up to {MAX_DEADLINE} seconds")
        if not isinstance(prefix, str) or not _PREFIX.fullmatch(prefix):
            raise ConfigurationError("prefix must be printable ASCII characters without braces")
        try:
            # Here, so that whoever uses another cache needs no redis-py.
            from ephemera_client.replay import redis_cluster, redis_wire  # noqa: PLC0415 - optional
        except ModuleNotFoundError as error:
            raise ConfigurationError(
                "RedisReplayCache needs redis-py: pip install 'ephemera-client[redis]'"
            ) from error
        server = redis_wire.server(url, ca_file=ca_file)
        self._name = repr(server)
        self._deadline = deadline
        self._patience = Patience()
        self._clock = clock
        self._begin: Callable[[], Primaries] = lambda: redis_cluster.Primaries(
            server,
            connect=lambda at: redis_wire.Wire(at, timeout=deadline),
            prefix=prefix,
            clock=clock,
        )
        self._primaries = self._begin()
        _alive.add(self)

    def __repr__(self) -> str:
        return f"RedisReplayCache({self._name!r})"

    def claim(self, claim: Claim, now: Instant) -> None:
        """Accept this token, for the first and last time.

        Raises:
            TokenReplayed: it was accepted before.
            IssuedBeforeLedger: it may have been, before the ledger began.
            ReplayCacheUnavailable: it is not known whether it was, or is now: `timeout`,
                `connect_failed`, `evicting`, and what else docs/errors.md lists.
        """
        waiter = ThreadWaiter()
        attempt = self._attempt(claim, now, waiter)
        self._primaries.route(attempt)
        waiter.wait(self._deadline)
        self._judge(attempt)

    async def claim_async(self, claim: Claim, now: Instant) -> None:
        """Do as `claim`, without blocking the event loop.

        Cancelled or late, the claim may still be made: the token then counts as used.
        """
        waiter = TaskWaiter()
        attempt = self._attempt(claim, now, waiter)
        try:
            self._primaries.route(attempt)
            self._patience.limit(waiter, attempt.give_up_at)
            await waiter.wait()
        finally:
            # Not sent yet, it need not be.
            attempt.give_up_at = 0.0
        self._judge(attempt)

    def warm(self) -> None:
        """Connect, and let a ledger that is new begin, before traffic comes.

        Raises:
            ReplayCacheUnavailable: some part of it cannot be used.
        """
        waiters = [ThreadWaiter() for _ in range(PARTITIONS)]
        attempts = [self._visit(part, waiter) for part, waiter in enumerate(waiters)]
        for waiter, attempt in zip(waiters, attempts, strict=True):
            waiter.wait(attempt.give_up_at - time.monotonic())
            self._judge(attempt)

    async def warm_async(self) -> None:
        """Do as `warm`, without blocking the event loop."""
        waiters = [TaskWaiter() for _ in range(PARTITIONS)]
        attempts = [self._visit(part, waiter) for part, waiter in enumerate(waiters)]
        for waiter, attempt in zip(waiters, attempts, strict=True):
            waiter.limit(attempt.give_up_at - time.monotonic())
            await waiter.wait()
            self._judge(attempt)

    def close(self) -> None:
        """Close the connections; a claim that comes later opens them again."""
        self._primaries.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _attempt(self, claim: Claim, now: Instant, waiter: Waiter) -> Attempt:
        key = claim.key
        return Attempt(
            key[0] % PARTITIONS,
            b":" + key,
            TIMES.pack(math.floor(now.wall), claim.issued_at, claim.expires_at),
            time.monotonic() + self._deadline,
            waiter,
        )

    def _visit(self, partition: int, waiter: Waiter) -> Attempt:
        attempt = Attempt(
            partition,
            b"",
            visit(self._clock().wall),
            time.monotonic() + self._deadline,
            waiter,
        )
        self._primaries.route(attempt)
        return attempt

    def _judge(self, attempt: Attempt) -> None:
        outcome = attempt.outcome or attempt.reason
        if outcome in {"accepted", "begun"}:
            return
        if outcome == "replayed":
            raise TokenReplayed("the token has been accepted before")
        if outcome == "unborn":
            raise IssuedBeforeLedger("the token was issued before this ledger began")
        if outcome == "forgotten":
            raise IssuedBeforeLedger("the token is as old as what this ledger has forgotten")
        raise ReplayCacheUnavailable(
            f"the replay cache at {self._name} cannot be used ({outcome})", cause_code=outcome
        )

    def _forked(self) -> None:
        # Threads, and whoever held a lock, stayed behind in the parent; the connections are its.
        self._primaries = self._begin()
        self._patience = Patience()


_alive: weakref.WeakSet[RedisReplayCache] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for cache in list(_alive):
        cache._forked()  # noqa: SLF001 - this module's own


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
