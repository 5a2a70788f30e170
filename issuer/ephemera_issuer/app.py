"""The issuer as an ASGI application."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Protocol

import anyio
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.routing import Route

from ephemera_client import instant
from ephemera_issuer.edge import Current
from ephemera_issuer.edge.errors import failure, http_refusal
from ephemera_issuer.edge.health import alive, readiness_endpoint
from ephemera_issuer.edge.keys import keys_endpoint
from ephemera_issuer.edge.metadata import KEYS_PATH, TOKEN_PATH, metadata_endpoint
from ephemera_issuer.edge.token import TokenEndpoint

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ephemera_client.instant import Clock


class Keeper(Current, Protocol):
    """Keeps the snapshot current."""

    async def run(self) -> None:
        """Replace it as the database changes, until cancelled."""
        ...


def create_app(keeper: Keeper, *, issuer: str, clock: Clock = instant.read) -> Starlette:
    """Make the public application of one issuer.

    Args:
        keeper: Holds the snapshot to answer from; it runs while the application does.
        issuer: The issuer identifier, from which every published URL follows.
        clock: Dates tokens and tells the age of the snapshot.
    """

    @contextlib.asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(keeper.run)
            yield
            tasks.cancel_scope.cancel()

    metadata = metadata_endpoint(issuer)
    app = Starlette(
        # The router tries them in turn, so the busiest comes first.
        routes=[
            Route(TOKEN_PATH, TokenEndpoint(keeper, issuer=issuer, clock=clock), methods=["POST"]),
            Route(KEYS_PATH, keys_endpoint(keeper)),
            Route("/.well-known/oauth-authorization-server", metadata),
            Route("/.well-known/openid-configuration", metadata),
            Route("/healthz", alive),
            Route("/readyz", readiness_endpoint(keeper, clock=clock)),
        ],
        exception_handlers={HTTPException: http_refusal, Exception: failure},
        lifespan=lifespan,
    )
    # A redirect would be made from the Host header, and would carry a credential along.
    app.router.redirect_slashes = False
    return app
