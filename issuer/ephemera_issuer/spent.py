"""The ledger of assertions: each is good for one request, whichever process answers it."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from ephemera_client import RedisReplayCache, SingleProcessReplayCache, SQLiteReplayCache
from ephemera_client.errors import (
    ConfigurationError,
    IssuedBeforeLedger,
    ReplayCacheUnavailable,
    TokenReplayed,
)
from ephemera_issuer.authentication import assertion
from ephemera_issuer.errors import (
    LedgerUnusable,
    NonceRequired,
    RequestRefused,
    SettingsInvalid,
    Unavailable,
)
from ephemera_issuer.settings import REDIS_SCHEMES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ephemera_client.instant import Clock, Instant
    from ephemera_client.replay import Claim, ReplayCache
    from ephemera_issuer.database import Database

SUFFIX = ".spent.db"
_SCHEME = "sqlite:///"


class SpentAssertions:
    """Spends assertions, and the proofs of bound tokens, for any number of tasks."""

    __slots__ = ("_ledger",)

    def __init__(self, ledger: ReplayCache) -> None:
        self._ledger = ledger

    async def claim(self, spending: Claim, now: Instant) -> None:
        """Spend an assertion, for the first and last time.

        What follows may fail, and the assertion is spent all the same.

        Raises:
            RequestRefused: `invalid_client`: it was spent before, or may have been.
            Unavailable: The ledger does not answer, so nobody knows.
        """
        try:
            await self._ledger.claim_async(spending, now)
        except TokenReplayed:
            raise assertion.refused(
                "has been used before: make a new one for each request"
            ) from None
        except IssuedBeforeLedger:
            raise assertion.refused("was issued before this ledger began; make a new one") from None
        except ReplayCacheUnavailable as error:
            raise Unavailable("assertions cannot be spent just now") from error

    async def claim_proof(self, proof: Claim, now: Instant, *, nonce: str | None) -> None:
        """Accept a proof, for the first and last time.

        `nonce` is a new one, where the age of a proof is that of its nonce.

        Raises:
            RequestRefused: `invalid_dpop_proof`: it was accepted before, or may have been.
            NonceRequired: the nonce in it is older than the ledger.
            Unavailable: The ledger does not answer, so nobody knows.
        """
        try:
            await self._ledger.claim_async(proof, now)
        except TokenReplayed:
            raise RequestRefused(
                "invalid_dpop_proof",
                "the proof has been used before: make a new one for each request",
            ) from None
        except IssuedBeforeLedger:
            if nonce is not None:
                raise NonceRequired(nonce) from None
            raise RequestRefused(
                "invalid_dpop_proof", "the proof was made before this ledger began; make a new one"
            ) from None
        except ReplayCacheUnavailable as error:
            raise Unavailable("proofs cannot be accepted just now") from error


@contextlib.contextmanager
def opened_ledger(
    url: str | None, *, database: Database, clock: Clock, ca_file: Path | None = None
) -> Iterator[ReplayCache]:
    """Open the ledger at `url` until the block ends.

    Without `url` it is the file beside the database, `ephemera.spent.db` for `ephemera.db`; for a
    database in memory the ledger is in memory too. One in Redis is opened whether or not it can be
    reached: until it can, requests with an assertion are answered with 503, and no others.

    Args:
        url: Where it is, or None.
        database: Beside which it is else.
        clock: Read for the birth of the ledger.
        ca_file: Authorities that may vouch for a Redis behind TLS, besides the system's.

    Raises:
        LedgerUnusable: There is no opening it.
        SettingsInvalid: The database is on a server, and no `url` says which ledger its replicas
            share.
    """
    if url is not None and url.startswith(REDIS_SCHEMES):
        try:
            cache = RedisReplayCache(url, ca_file=ca_file, clock=clock)
        except ConfigurationError as error:
            raise LedgerUnusable(f"the ledger of spent assertions: {error}") from error
        with cache:
            _warm(cache)
            yield cache
        return
    if url is not None:
        path = Path(url.removeprefix(_SCHEME))
    elif database.path is not None:
        path = database.path.with_suffix(SUFFIX)
    elif database.remote:
        raise SettingsInvalid(
            f"EPHEMERA_REPLAY_URL: must be set for {database.location}: replicas that share no "
            "ledger would each accept the same assertion"
        )
    else:
        yield SingleProcessReplayCache(clock=clock)
        return
    try:
        ledger = SQLiteReplayCache(path, clock=clock)
    except (ReplayCacheUnavailable, ConfigurationError) as error:
        raise LedgerUnusable(f"the ledger of spent assertions: {error}") from error
    with ledger:
        yield ledger


def _warm(cache: RedisReplayCache) -> None:
    try:
        cache.warm()
    except ReplayCacheUnavailable as error:
        structlog.get_logger().warning("ledger_not_ready", reason=str(error))
