"""An application that is watched: whoever counts or records requests learns of each answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from ephemera_issuer import trace_context

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from ephemera_client.instant import Clock

FAILED = 500


class Witness(Protocol):
    """Told of every answer, on the event loop that serves: it must not wait or raise."""

    def answered(self, scope: Scope, status: int, seconds: float) -> None:
        """An answer was sent, `seconds` after its request had come.

        `status` is 0 where there is none, the caller having gone away.
        """
        ...


class Watched:
    """An ASGI application around another.

    An answer carries its request's id in `X-Request-Id` where there is one by then, so that what a
    caller reports is found in the records.

    Args:
        app: What answers.
        witnesses: Told of each answer.
        clock: Tells how long it took.
        identified: Whether each request is given an id, also where nobody else asks for it.
    """

    def __init__(
        self, app: ASGIApp, witnesses: Sequence[Witness], *, clock: Clock, identified: bool
    ) -> None:
        self._app = app
        self._witnesses = tuple(witnesses)
        self._clock = clock
        self._identified = identified

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or run the lifespan."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = self._clock().monotonic
        status = 0
        tracing = trace_context.tracing(scope)
        if self._identified:
            tracing.trace()

        # No coroutine of its own: it only passes the other one on.
        def watched(message: Message) -> Awaitable[None]:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if (trace := tracing.found) is not None:
                    identity = (b"x-request-id", trace.trace_id.encode())
                    message["headers"] = [*message["headers"], identity]
            return send(message)

        try:
            await self._app(scope, receive, watched)
        except Exception:
            # The server answers then, if nobody has.
            status = status or FAILED
            raise
        finally:
            seconds = self._clock().monotonic - began
            for witness in self._witnesses:
                witness.answered(scope, status, seconds)
