"""Counting as things happen: what is known of a series is an index, so that it costs additions."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, Final

from ephemera_client.errors import IssuedBeforeLedger, ReplayCacheUnavailable, TokenReplayed
from ephemera_issuer.edge.metadata import TOKEN_PATH
from ephemera_issuer.metrics.families import (
    AUDIT_FAILURES,
    AUDIT_RECORDS,
    CLAIM_DURATION,
    CLAIMS,
    MINTS,
    NONE,
    REFUSALS,
    RESPONSES,
    TOKEN_DURATION,
    TOKENS,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.types import Scope

    from ephemera_client.instant import Clock, Instant
    from ephemera_client.replay import AcceptedOnce, Claim, ReplayCache
    from ephemera_issuer.attempt import Attempt
    from ephemera_issuer.audit.writer import Writer
    from ephemera_issuer.endpoints import Endpoints
    from ephemera_issuer.errors import RequestRefused
    from ephemera_issuer.metrics.memory import Tally
    from ephemera_issuer.policy import Decision

_CLASSES: Final = ("2xx", "3xx", "4xx", "5xx")
_FIRST_CLASS: Final = 2


class CountedMints:
    """Counts how token requests end: an `Observer`."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._cells = tally.cells
        self._pairs: dict[tuple[str, str], tuple[int, int]] = {}

    def minted(self, _attempt: Attempt, decision: Decision, tokens: Sequence[str]) -> None:
        """Count a request, and its tokens."""
        mints, minted = self._pairs.get(decision[:2]) or self._find(*decision[:2])
        cells = self._cells
        cells[mints] += 1.0
        cells[minted] += len(tokens)

    def refused(self, attempt: Attempt, error: RequestRefused) -> None:
        """Count a refusal."""
        labels = (attempt.client_id or NONE, attempt.audience or NONE, error.reason)
        self._cells[self._tally.index(REFUSALS, *labels)] += 1.0

    def _find(self, client: str, audience: str) -> tuple[int, int]:
        pair = (
            self._tally.index(MINTS, client, audience),
            self._tally.index(TOKENS, client, audience),
        )
        self._pairs[client, audience] = pair
        return pair


class CountedResponses:
    """Counts the answers of one listener: a `Witness`."""

    def __init__(self, tally: Tally, endpoints: Endpoints) -> None:
        self._cells = tally.cells
        self._endpoints = endpoints
        self._answers = {
            endpoint: tuple(
                tally.index(RESPONSES, endpoints.listener, endpoint, status) for status in _CLASSES
            )
            for endpoint in endpoints.names
        }
        self._durations: tuple[int, ...] = ()
        if TOKEN_PATH in endpoints.paths:
            self._durations = tuple(tally.index(TOKEN_DURATION, status) for status in _CLASSES)

    def answered(self, scope: Scope, status: int, seconds: float) -> None:
        """Count an answer; a caller that went away before there was one is nothing to count."""
        number = status // 100 - _FIRST_CLASS
        if not 0 <= number < len(_CLASSES):
            return
        path = scope["path"]
        answers = self._answers.get(path) or self._answers[self._endpoints.name(path)]
        self._cells[answers[number]] += 1.0
        if path == TOKEN_PATH and self._durations:
            _observe(self._cells, self._durations[number], TOKEN_DURATION.buckets, seconds)


class CountedLedger:
    """A ledger whose claims are counted, and the time that they take."""

    def __init__(self, ledger: ReplayCache, tally: Tally, *, clock: Clock) -> None:
        self._ledger = ledger
        self._cells = tally.cells
        self._clock = clock
        self._claimed, self._refused, self._unavailable = (
            tally.index(CLAIMS, outcome) for outcome in ("claimed", "refused", "unavailable")
        )
        self._durations = tally.index(CLAIM_DURATION)

    @property
    def accepted_once(self) -> AcceptedOnce:
        """As the ledger itself says."""
        return self._ledger.accepted_once

    def claim(self, claim: Claim, now: Instant) -> None:
        """Do as the ledger does."""
        self._ledger.claim(claim, now)

    async def claim_async(self, claim: Claim, now: Instant) -> None:
        """Do as the ledger does, and count what comes of it."""
        began = self._clock()
        try:
            await self._ledger.claim_async(claim, now)
        except (TokenReplayed, IssuedBeforeLedger):
            self._count(self._refused, began)
            raise
        except ReplayCacheUnavailable:
            self._count(self._unavailable, began)
            raise
        self._count(self._claimed, began)

    def warm(self) -> None:
        """Do as the ledger does."""
        self._ledger.warm()

    async def warm_async(self) -> None:
        """Do as the ledger does."""
        await self._ledger.warm_async()

    def _count(self, outcome: int, began: Instant) -> None:
        self._cells[outcome] += 1.0
        seconds = self._clock().monotonic - began.monotonic
        _observe(self._cells, self._durations, CLAIM_DURATION.buckets, seconds)


class CountedAudit:
    """Counts what becomes of the records of one writer, in that writer's thread."""

    def __init__(self, writer: Writer, tally: Tally) -> None:
        self._writer = writer
        self._cells = tally.cells
        self._records, self._failures = tally.index(AUDIT_RECORDS), tally.index(AUDIT_FAILURES)
        self._written = 0
        writer.watch(self._attempted)

    def _attempted(self) -> None:
        written = self._writer.written
        self._cells[self._records] += written - self._written
        self._written = written
        if self._writer.failure is not None:
            self._cells[self._failures] += 1.0


def _observe(
    cells: memoryview[float], index: int, buckets: tuple[float, ...], seconds: float
) -> None:
    cells[index + bisect_left(buckets, seconds)] += 1.0
    cells[index + len(buckets) + 1] += seconds
