"""Accepted once: the ledger of the ids of tokens already accepted."""

from typing import Protocol

from ephemera_client.instant import Instant
from ephemera_client.replay.claim import AcceptedOnce, Claim, Purpose
from ephemera_client.replay.none import NoReplayCache
from ephemera_client.replay.redis import RedisReplayCache
from ephemera_client.replay.single_process import SingleProcessReplayCache
from ephemera_client.replay.sqlite import SQLiteReplayCache

__all__ = [
    "AcceptedOnce",
    "Claim",
    "NoReplayCache",
    "Purpose",
    "RedisReplayCache",
    "ReplayCache",
    "SQLiteReplayCache",
    "SingleProcessReplayCache",
]


class ReplayCache(Protocol):
    """A ledger in which the first claim of a token wins, atomically.

    `accepted_once` says among whom: the threads of a process, the processes of a host, a fleet.
    """

    @property
    def accepted_once(self) -> AcceptedOnce:
        """Among whom a token is accepted once."""
        ...

    def claim(self, claim: Claim, now: Instant) -> None:
        """Return if this is the first claim; otherwise raise.

        Raises:
            TokenReplayed: it is not.
            IssuedBeforeLedger: that cannot be known, the token being older than the ledger.
            ReplayCacheUnavailable: that cannot be known now.
        """
        ...

    async def claim_async(self, claim: Claim, now: Instant) -> None:
        """Do as `claim`, without blocking the event loop."""
        ...

    def warm(self) -> None:
        """Make sure of the ledger before traffic comes.

        Raises:
            ReplayCacheUnavailable: it cannot be reached, or must not be relied on.
        """
        ...

    async def warm_async(self) -> None:
        """Do as `warm`, without blocking the event loop."""
        ...
