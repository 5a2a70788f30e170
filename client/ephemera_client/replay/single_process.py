"""Single use within one process."""

import math
import os
import threading
from typing import ClassVar

from ephemera_client import instant
from ephemera_client.errors import (
    ConfigurationError,
    IssuedBeforeLedger,
    ReplayCacheUnavailable,
    TokenReplayed,
)
from ephemera_client.instant import Clock, Instant
from ephemera_client.replay.claim import AcceptedOnce, Claim

RETENTION = 60


class SingleProcessReplayCache:
    """Remembers in memory, so for this process alone: each other process accepts a token again.

    What was issued before this cache was made is refused, since an earlier process may have
    accepted it; so make it once, when the process starts. Any number of threads and event loops
    may share it; a forked child may not.

    Args:
        max_entries: how many ids it holds, at about 92 bytes each. Full, it accepts nothing: it
            wants room for the tokens of the longest lifetime plus a minute.
        clock: read once, for the birth of this cache.

    Raises:
        ConfigurationError: `max_entries` is not a positive whole number.
    """

    accepted_once: ClassVar[AcceptedOnce] = "process"

    def __init__(self, *, max_entries: int = 1_000_000, clock: Clock = instant.read) -> None:
        if type(max_entries) is not int or max_entries < 1:
            raise ConfigurationError("max_entries must be a positive whole number")
        self._max_entries = max_entries
        self._process = os.getpid()
        # Tokens count in whole seconds: rounded up, the first second of a process would refuse
        # the tokens that were minted for it.
        self._birth = math.floor(clock().wall)
        self._lock = threading.Lock()
        self._seen: set[bytes] = set()
        self._by_end: dict[int, list[bytes]] = {}
        self._purged_at = -math.inf
        self._forgotten_to = -math.inf

    def __len__(self) -> int:
        return len(self._seen)

    def __repr__(self) -> str:
        return f"SingleProcessReplayCache(max_entries={self._max_entries})"

    def claim(self, claim: Claim, now: Instant) -> None:
        """Accept this token, for the first and last time.

        Raises:
            TokenReplayed: it was accepted before.
            IssuedBeforeLedger: it may have been accepted by what this cache does not remember.
            ReplayCacheUnavailable: `full`, or `forked`: this is a child of the cache's process.
        """
        if os.getpid() != self._process:
            raise ReplayCacheUnavailable(
                "the replay cache was made before this process was forked: make one in each child",
                cause_code="forked",
            )
        if claim.issued_at < self._birth:
            raise IssuedBeforeLedger("the token was issued before this process remembers")
        key, end = claim.key, claim.expires_at
        with self._lock:
            # Either way: a clock that ran ahead and has been put right stops no purge.
            if abs(now.wall - self._purged_at) >= 1:
                self._purge(now.wall)
            if key in self._seen:
                raise TokenReplayed("the token has been accepted before")
            if end <= self._forgotten_to:
                raise IssuedBeforeLedger("the token is as old as what this process has forgotten")
            if len(self._seen) >= self._max_entries:
                raise ReplayCacheUnavailable("the replay cache is full", cause_code="full")
            self._seen.add(key)
            if end in self._by_end:
                self._by_end[end].append(key)
            else:
                self._by_end[end] = [key]

    async def claim_async(self, claim: Claim, now: Instant) -> None:
        """Do as `claim`, which never waits."""
        self.claim(claim, now)

    def warm(self) -> None:
        """Do nothing: there is nothing to reach."""

    async def warm_async(self) -> None:
        """Do nothing: there is nothing to reach."""

    def _purge(self, wall: float) -> None:
        # The mark is the last end that was really dropped, not the clock: after a clock that ran
        # ahead has been put right, only tokens as old as what is gone are refused.
        for end in [end for end in self._by_end if end + RETENTION <= wall]:
            self._forgotten_to = max(self._forgotten_to, end)
            self._seen.difference_update(self._by_end.pop(end))
        self._purged_at = wall
