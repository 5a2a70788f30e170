"""`/healthz` and `/readyz`: is the process alive, and can it mint."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.responses import JSONResponse, Response

from ephemera_issuer.edge.errors import NO_STORE, refusal, unavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.requests import Request

    from ephemera_client.instant import Clock
    from ephemera_issuer.edge import Current
    from ephemera_issuer.ending import Ending


async def alive(_request: Request) -> Response:
    """Answer whenever the process can answer at all: restart it only when it does not."""
    return JSONResponse({"status": "alive"}, headers=NO_STORE)


def readiness_endpoint(
    snapshots: Current, *, ending: Ending, clock: Clock
) -> Callable[[Request], Awaitable[Response]]:
    """Tell a load balancer whether a token request would be answered here just now."""

    async def ready(_request: Request) -> Response:
        snapshot = snapshots.current
        if ending.begun or snapshot is None or not snapshot.fresh(clock()):
            return refusal(unavailable())
        return JSONResponse({"status": "ready"}, headers=NO_STORE)

    return ready
