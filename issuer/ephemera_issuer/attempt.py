"""A client's request as far as it has come, and those who are told how one for tokens ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from ephemera_issuer.trace_context import tracing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.types import Scope

    from ephemera_client.instant import Instant
    from ephemera_issuer.errors import RequestRefused
    from ephemera_issuer.policy import Decision


KEY: Final = "ephemera.attempt"
"""Where the attempt of a request is in its scope."""


class Attempt:
    """What is known of one request; but for `request_id`, nothing in it is merely claimed.

    `address` is that of the peer, None where there is none. `client_id` is None until the client
    has proved itself, `audience` until policy knows it, `reason` until the request is refused.
    """

    __slots__ = ("_tracing", "address", "audience", "began", "client_id", "reason")

    def __init__(self, began: Instant, scope: Scope) -> None:
        peer = scope.get("client")
        self.began = began
        self.address: str | None = peer[0] if peer else None
        self.client_id: str | None = None
        self.audience: str | None = None
        self.reason: str | None = None
        # Not the scope itself: a circle would be left to the garbage collector at each request.
        self._tracing = tracing(scope)
        scope[KEY] = self

    @property
    def request_id(self) -> str:
        """The id of its trace, which a caller may have chosen: 32 hexadecimal digits."""
        return self._tracing.trace().trace_id

    @property
    def known_id(self) -> str | None:
        """The same, where anybody else has it: the caller, or a log."""
        trace = self._tracing.known()
        return None if trace is None else trace.trace_id


class Observer(Protocol):
    """Told of every token request, on the event loop that serves: it must not wait or raise."""

    def minted(self, attempt: Attempt, decision: Decision, tokens: Sequence[str]) -> None:
        """Tokens were signed, and are about to be sent."""
        ...

    def refused(self, attempt: Attempt, error: RequestRefused) -> None:
        """None were; `error` is what the caller is told."""
        ...
