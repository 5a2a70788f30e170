"""Single use within one process."""

import math
import os
import struct
import threading
from array import array
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

_SHARDS = 1 << 16
# A key and its end.
_RECORD = struct.Struct("<qQ")
_KEY = slice(8)
_PURGED_AT_ONCE = 16


class SingleProcessReplayCache:
    """Remembers in memory, so for this process alone: each other process accepts a token again.

    What was issued before this cache was made is refused, since an earlier process may have
    accepted it; so make it once, when the process starts. Any number of threads and event loops
    may share it; a forked child may not.

    Args:
        max_entries: how many ids it holds, at about 30 bytes each. Full, it accepts nothing: it
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
        # Records side by side, as many as share a shard: an object for each takes three times the
        # memory. An id is known by its `hash`, which nobody outside can foresee, so that nobody can
        # fill one shard; beside a million of them, one in 10¹³ is refused as if it were another.
        # `Claim.key`, which all processes agree on, takes as long as all the rest.
        self._shards = [b""] * _SHARDS
        self._shards_by_end: dict[int, array[int]] = {}
        self._entries = 0
        self._purged_at = -math.inf
        self._forgotten_to = -math.inf

    def __len__(self) -> int:
        return self._entries

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
        purpose, issuer, subject, jti, _, end = claim
        key = hash((purpose, issuer, subject, jti))
        record = _RECORD.pack(key, end)
        with self._lock:
            # Either way: a clock that ran ahead and has been put right stops no purge.
            if not -1 < now.wall - self._purged_at < 1:
                self._purge(now.wall)
            number = key % _SHARDS
            shard = self._shards[number]
            if shard and _holds(shard, record[_KEY]):
                raise TokenReplayed("the token has been accepted before")
            if end <= self._forgotten_to:
                raise IssuedBeforeLedger("the token is as old as what this process has forgotten")
            if self._entries >= self._max_entries:
                raise ReplayCacheUnavailable("the replay cache is full", cause_code="full")
            self._shards[number] = shard + record
            self._entries += 1
            try:
                self._shards_by_end[end].append(number)
            except KeyError:
                self._shards_by_end[end] = array("H", (number,))

    async def claim_async(self, claim: Claim, now: Instant) -> None:
        """Do as `claim`, which never waits."""
        self.claim(claim, now)

    def warm(self) -> None:
        """Do nothing: there is nothing to reach."""

    async def warm_async(self) -> None:
        """Do nothing: there is nothing to reach."""

    def _purge(self, wall: float) -> None:
        # A few at a time, and the next claim goes on: nobody waits for the end of many.
        left = _PURGED_AT_ONCE
        for end in [end for end in self._shards_by_end if end + RETENTION <= wall]:
            # The mark is the last end that was really dropped, not the clock: after a clock that
            # ran ahead has been put right, only tokens as old as what is gone are refused.
            self._forgotten_to = max(self._forgotten_to, end)
            numbers = self._shards_by_end[end]
            while numbers:
                if not left:
                    return
                left -= 1
                self._drop(numbers.pop(), end)
            del self._shards_by_end[end]
        self._purged_at = wall

    def _drop(self, number: int, end: int) -> None:
        shard = self._shards[number]
        kept = b"".join([_RECORD.pack(*it) for it in _RECORD.iter_unpack(shard) if it[1] != end])
        self._shards[number] = kept
        self._entries -= (len(shard) - len(kept)) // _RECORD.size


def _holds(shard: bytes, key: bytes) -> bool:
    at = shard.find(key)
    # Across two records it is another key, however unlikely.
    while at >= 0 and at % _RECORD.size:
        at = shard.find(key, at + 1)
    return at >= 0
