"""A request for tokens as far as it has come, and those who are told how it ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ephemera_client.instant import Instant
    from ephemera_issuer.errors import RequestRefused
    from ephemera_issuer.policy import Decision


class Attempt:
    """What is known of one token request; nothing in it is what a caller merely claims.

    `address` is that of the peer, None where there is none. `client_id` is None until the client
    has proved itself, `audience` until policy knows it.
    """

    __slots__ = ("address", "audience", "began", "client_id")

    def __init__(self, began: Instant, address: str | None) -> None:
        self.began = began
        self.address = address
        self.client_id: str | None = None
        self.audience: str | None = None


class Observer(Protocol):
    """Told of every token request, on the event loop that serves: it must not wait or raise."""

    def minted(self, attempt: Attempt, decision: Decision, tokens: Sequence[str]) -> None:
        """Tokens were signed, and are about to be sent."""
        ...

    def refused(self, attempt: Attempt, error: RequestRefused) -> None:
        """None were; `error` is what the caller is told."""
        ...
