"""What the audit has to say in a token request: whether it may come in, and when it may leave."""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING, Literal, TypeAlias

import anyio

from ephemera_issuer.audit import record
from ephemera_issuer.edge.waiting import News
from ephemera_issuer.errors import AuditBehind, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from ephemera_client.instant import Clock
    from ephemera_issuer.attempt import Attempt
    from ephemera_issuer.audit.writer import Writer
    from ephemera_issuer.errors import RequestRefused
    from ephemera_issuer.mint import Minted
    from ephemera_issuer.policy import Decision

WhenBehind: TypeAlias = Literal["slow", "stop"]


class Auditor:
    """Records token requests and how they ended.

    Args:
        writer: Writes the records.
        when_behind: Whether requests then wait for a while ("slow"), or are refused ("stop").
        before_answer: Whether tokens are kept back until their record is durable.
        clock: Tells when requests began to be turned away.
    """

    def __init__(
        self, writer: Writer, *, when_behind: WhenBehind, before_answer: bool, clock: Clock
    ) -> None:
        self._writer = writer
        self._slow = when_behind == "slow"
        self._before_answer = before_answer
        self._clock = clock
        self._news = News()
        self._away = _TurnedAway(clock)
        writer.watch(self._news.tell)

    @property
    def behind(self) -> bool:
        """Whether a request must ask for `room` before it may come in."""
        return self._writer.behind

    async def room(self) -> None:
        """Wait until there is room for the record of one more request.

        Raises:
            AuditBehind: There is none, or was none in time.
        """
        if self._slow and await self._until(lambda: not self._writer.behind):
            return
        raise AuditBehind

    async def minted(self, attempt: Attempt, decision: Decision, minted: Minted) -> None:
        """Record tokens; when this returns they may be sent.

        Raises:
            Unavailable: They may not: the record is to be durable first, and is not in time.
        """
        # The attempt itself knows more than may be kept for longer than the request.
        body = partial(
            record.minted,
            attempt.began.wall,
            attempt.address,
            attempt.known_id,
            decision,
            minted.kid,
            minted.ids,
        )
        number = self._writer.put(body, weight=len(minted.ids), hurry=self._before_answer)
        if self._before_answer and not await self._until(lambda: self._writer.written >= number):
            raise Unavailable("the audit cannot be written")

    def refused(self, attempt: Attempt, error: RequestRefused) -> None:
        """Record a refusal; of requests that were turned away, how many they were."""
        if not isinstance(error, AuditBehind):
            request = record.Request(
                attempt.began.wall,
                attempt.address,
                attempt.known_id,
                attempt.client_id,
                attempt.audience,
            )
            self._writer.put(partial(record.refused, request, error))
        elif self._away.one_more():
            self._writer.put(self._away.body)

    async def _until(self, holds: Callable[[], bool]) -> bool:
        """Look after each attempt to write whether it holds; False after some seconds."""
        with anyio.move_on_after(self._writer.patience):
            while True:
                news = self._news.awaited()
                if holds():
                    return True
                await news.wait()
        return False


class _TurnedAway:
    """Counts requests, until the count is written."""

    def __init__(self, clock: Clock) -> None:
        self._lock = threading.Lock()
        self._clock = clock
        self._count = 0
        self._since = 0.0

    def one_more(self) -> bool:
        """Count one; whether it is the first."""
        with self._lock:
            self._count += 1
            if self._count == 1:
                self._since = self._clock().wall
            return self._count == 1

    def body(self) -> bytes:
        """Make the record, and begin at nought."""
        with self._lock:
            count, self._count = self._count, 0
            return record.turned_away(at=self._clock().wall, since=self._since, count=count)
