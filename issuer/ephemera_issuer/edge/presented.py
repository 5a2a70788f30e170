"""A client that has proved itself presents a token: how introspection and revocation begin."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeAlias

from starlette.responses import Response

from ephemera_issuer import form
from ephemera_issuer.attempt import Attempt
from ephemera_issuer.edge.errors import refusal, unavailable
from ephemera_issuer.edge.posted import credentials, read
from ephemera_issuer.errors import RequestRefused
from ephemera_issuer.limits import Limits
from ephemera_issuer.registry.entries import Client

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from ephemera_client.instant import Clock, Instant
    from ephemera_issuer.authentication import Authentication
    from ephemera_issuer.edge import Current
    from ephemera_issuer.snapshot import Snapshot
    from ephemera_issuer.spent import SpentAssertions

Answer: TypeAlias = Callable[[Client, str], Awaitable[Response]]
"""What an endpoint makes of the client and the token."""

_NAMES = form.CREDENTIAL | {"token", "token_type_hint"}


class PresentedToken:
    """The form of RFC 7009 §2.1 and RFC 7662 §2.1, as an ASGI application around an answer.

    There is one type of token, so `token_type_hint` is not looked at.
    """

    __slots__ = ("_answer", "_authentication", "_clock", "_limits", "_snapshots", "_spent")

    def __init__(  # noqa: PLR0913 - the parts of the walk
        self,
        answer: Answer,
        *,
        snapshots: Current,
        authentication: Authentication,
        spent: SpentAssertions,
        clock: Clock,
        limits: Limits | None = None,
    ) -> None:
        self._answer = answer
        self._snapshots = snapshots
        self._authentication = authentication
        self._spent = spent
        self._clock = clock
        self._limits = limits or Limits()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; a caller that goes away before its form is complete gets none."""
        attempt = Attempt(self._clock(), scope)
        authorization = credentials(scope["headers"]).authorization
        body = await read(receive)
        if body is None:
            return
        try:
            response = await self._answer(*await self._read(attempt, authorization, body))
        except RequestRefused as error:
            attempt.reason = error.reason
            await self._limits.hold(error)
            response = refusal(error)
        await response(scope, receive, send)

    async def _read(
        self, attempt: Attempt, authorization: list[bytes], body: bytes
    ) -> tuple[Client, str]:
        now = self._clock()
        snapshot = fresh(self._snapshots, now)
        parameters = form.parameters(body, _NAMES)
        if "token" not in parameters:
            raise RequestRefused("invalid_request", "token is missing")
        try:
            caller = await self._authentication.identify(
                snapshot.clients,
                issuers=snapshot.issuers,
                authorization=authorization,
                parameters=parameters,
                now=now,
            )
        except RequestRefused as error:
            self._limits.note(error, attempt.address, now.monotonic)
            raise
        attempt.client_id = caller.client.id
        self._limits.spend(caller.client.id, 1, now.monotonic)
        if caller.assertion is not None:
            await self._spent.claim(caller.assertion, now)
        return caller.client, parameters["token"]


def fresh(snapshots: Current, now: Instant) -> Snapshot:
    """Take the current snapshot; an old one may lack what was revoked since.

    Raises:
        Unavailable: There is none that is fresh.
    """
    snapshot = snapshots.current
    if snapshot is None or not snapshot.fresh(now):
        raise unavailable()
    return snapshot
