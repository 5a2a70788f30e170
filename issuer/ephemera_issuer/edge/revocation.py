"""`POST /oauth2/revoke`: a client ends a token of its own before its time (RFC 7009)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import anyio
import anyio.to_thread
import structlog
from starlette.responses import Response

from ephemera_issuer.audit.actor import acting_as
from ephemera_issuer.edge import Current
from ephemera_issuer.edge.errors import NO_STORE
from ephemera_issuer.edge.presented import fresh
from ephemera_issuer.errors import AuditNotWritten, DatabaseUnusable, RequestRefused, Unavailable
from ephemera_issuer.issued import recognise

if TYPE_CHECKING:
    from ephemera_client.instant import Clock
    from ephemera_issuer.edge.presented import Answer
    from ephemera_issuer.issued import IssuedToken
    from ephemera_issuer.registry.entries import Client


class Revoking(Current, Protocol):
    """Whatever keeps the snapshot, and can revoke."""

    def revoke(self, token: IssuedToken) -> None:
        """Revoke a token durably; blocks.

        Raises:
            DatabaseUnusable: Nobody knows whether it was done.
            AuditNotWritten: It was not done.
        """
        ...


def revocation(keeper: Revoking, *, issuer: str, clock: Clock) -> Answer:
    """Revoke tokens, each for the client that it was issued to.

    What is no good token any more needs no revoking, and is answered alike (RFC 7009 §2.2).
    """
    # One at a time, as the database would have it, on a thread that nobody else waits for.
    turns = anyio.CapacityLimiter(1)

    async def answer(client: Client, raw: str) -> Response:
        now = clock()
        snapshot = fresh(keeper, now)
        token = recognise(raw, issuer=issuer, ring=snapshot.ring)
        if token is not None:
            if token.client_id != client.id:
                raise RequestRefused(
                    "unauthorized_client", "the token was issued to another client"
                )
            if not snapshot.revocations.revokes(token):
                await _revoke(keeper, token, turns)
        return Response(headers=NO_STORE)

    return answer


async def _revoke(keeper: Revoking, token: IssuedToken, turns: anyio.CapacityLimiter) -> None:
    try:
        with acting_as(f"client:{token.client_id}"):
            await anyio.to_thread.run_sync(keeper.revoke, token, limiter=turns)
    except (DatabaseUnusable, AuditNotWritten) as error:
        structlog.get_logger().error("revocation_not_written", reason=str(error))
        raise Unavailable("the revocation cannot be written") from error
