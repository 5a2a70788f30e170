"""`GET /v1/revocations`: what is revoked, for the verifiers that follow it by long polling."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol
from urllib.parse import parse_qsl

import anyio
from starlette.responses import Response

from ephemera_issuer.edge import Current
from ephemera_issuer.edge.errors import NO_STORE, refusal
from ephemera_issuer.edge.presented import fresh
from ephemera_issuer.edge.waiting import News, Room
from ephemera_issuer.errors import Overcrowded, RequestRefused
from ephemera_issuer.limits import neighbourhood
from ephemera_issuer.revocation.document import document

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import Receive, Scope, Send

    from ephemera_client.instant import Clock
    from ephemera_issuer.revocation.entries import Revocations
    from ephemera_issuer.snapshot import Snapshot

LONGEST_WAIT = 25
"""Seconds; proxies usually give up on an answer after 30 or 60."""
MOST_WAITS = 500
"""Requests that may wait in one process: each holds a connection, and of those 1024 is a usual
limit."""
MOST_WAITS_OF_ADDRESS = 250

_MOST_PARAMETERS = 10
_MOST_DIGITS = 15
_TOO_MANY_REQUESTS = 429


class Watched(Current, Protocol):
    """Whatever keeps the snapshot, and tells when there is another."""

    def watch(self, told: Callable[[Snapshot], None]) -> None:
        """Call `told` with each new snapshot, in the thread that brings it."""
        ...


class Question(NamedTuple):
    """What a follower has already, and for how many seconds it would wait for more.

    Without an `epoch`, `after` is taken for a number of the present one.
    """

    epoch: str | None
    after: int
    wait: int

    def settled_by(self, revocations: Revocations) -> bool:
        """Whether there is something to tell."""
        return self.epoch not in {None, revocations.epoch} or revocations.sequence > self.after


class FeedEndpoint:
    """The feed, as an ASGI application."""

    def __init__(self, snapshots: Watched, *, clock: Clock) -> None:
        self._snapshots = snapshots
        self._clock = clock
        self._news = News()
        self._room = Room(in_all=MOST_WAITS, of_address=MOST_WAITS_OF_ADDRESS)
        self._told: Revocations | None = None
        self._last = _Written(None, 0, 0, b"")
        snapshots.watch(self._look)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, at once or when there is news."""
        try:
            question = _question(scope["query_string"])
            if question.wait and not self._settled(question):
                with self._room.place(_address(scope)):
                    if not await self._wait(question, receive):
                        return
            response = self._answer(question)
        except Overcrowded as error:
            response = refusal(error, status=_TOO_MANY_REQUESTS if error.of_address else None)
        except RequestRefused as error:
            response = refusal(error)
        await response(scope, receive, send)

    def end(self) -> None:
        """Answer all who wait, and let nobody wait any more: the process is about to end."""
        self._news.end()

    def _look(self, snapshot: Snapshot) -> None:
        if snapshot.revocations is not self._told:
            self._told = snapshot.revocations
            self._news.tell()

    async def _wait(self, question: Question, receive: Receive) -> bool:
        """Wait for news, and say whether the caller still does."""
        here = True
        async with anyio.create_task_group() as tasks:

            async def watch_caller() -> None:
                nonlocal here
                while (await receive())["type"] != "http.disconnect":
                    pass
                here = False
                tasks.cancel_scope.cancel()

            tasks.start_soon(watch_caller)
            with anyio.move_on_after(question.wait):
                while True:
                    awaited = self._news.awaited()
                    if self._settled(question):
                        break
                    await awaited.wait()
            tasks.cancel_scope.cancel()
        return here

    def _settled(self, question: Question) -> bool:
        """Whether there is no reason to wait: there is news, or no view that is fresh."""
        snapshot = self._snapshots.current
        return (
            self._news.ended
            or snapshot is None
            or not snapshot.fresh(self._clock())
            or question.settled_by(snapshot.revocations)
        )

    def _answer(self, question: Question) -> Response:
        now = self._clock()
        revocations = fresh(self._snapshots, now).revocations
        other = question.epoch not in {None, revocations.epoch}
        after = 0 if other else min(question.after, revocations.sequence)
        # When something is revoked, all who waited ask alike.
        last, second = self._last, int(now.wall)
        if last.revocations is not revocations or last[1:3] != (after, second):
            body = document(revocations, after=after, now=now.wall)
            self._last = last = _Written(revocations, after, second, body)
        return Response(last.body, headers=NO_STORE, media_type="application/json")


class _Written(NamedTuple):
    """The document written last, and for which question in which second."""

    revocations: Revocations | None
    after: int
    second: int
    body: bytes


def _address(scope: Scope) -> str:
    client = scope.get("client")
    return neighbourhood(client[0] if client else None)


def _question(query: bytes) -> Question:
    try:
        pairs = parse_qsl(query.decode("ascii"), max_num_fields=_MOST_PARAMETERS, errors="strict")
    except ValueError:
        raise RequestRefused("invalid_request", "the query cannot be read") from None
    given = dict(pairs)
    if len(given) != len(pairs):
        raise RequestRefused("invalid_request", "a parameter is repeated")
    return Question(
        given.get("epoch"), _number(given, "after"), min(_number(given, "wait"), LONGEST_WAIT)
    )


def _number(given: dict[str, str], name: str) -> int:
    text = given.get(name, "0")
    if not text.isascii() or not text.isdigit() or len(text) > _MOST_DIGITS:
        raise RequestRefused("invalid_request", f"{name} must be a whole number")
    return int(text)
