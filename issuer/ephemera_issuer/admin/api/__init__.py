"""`/admin/v1`: the issuer administered over HTTP, on the private listener."""

from __future__ import annotations

import json
from importlib.metadata import version
from typing import TYPE_CHECKING

import anyio
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Mount, Route

from ephemera_client import instant
from ephemera_issuer.admin import PATH
from ephemera_issuer.admin.api import (
    audiences,
    clients,
    credentials,
    explain,
    grants,
    keys,
    openapi,
    revocations,
    status,
)
from ephemera_issuer.admin.api.authentication import AdminAuthentication
from ephemera_issuer.admin.api.call import Administered
from ephemera_issuer.admin.api.endpoint import Endpoint, LogWitness
from ephemera_issuer.admin.api.problems import failure, http_refusal
from ephemera_issuer.spent import SpentAssertions

if TYPE_CHECKING:
    from collections.abc import Collection

    from starlette.requests import Request

    from ephemera_client.instant import Clock
    from ephemera_client.replay import ReplayCache
    from ephemera_issuer.admin.api.call import Keeping, Operation
    from ephemera_issuer.admin.api.endpoint import Witness
    from ephemera_keys import Algorithm

OPERATIONS: tuple[Operation, ...] = (
    *status.OPERATIONS,
    *clients.OPERATIONS,
    *credentials.OPERATIONS,
    *audiences.OPERATIONS,
    *grants.OPERATIONS,
    *keys.OPERATIONS,
    *revocations.OPERATIONS,
    *explain.OPERATIONS,
)

_AT_ONCE = 4
"""Requests that have a thread, and a connection to the database: tokens need neither."""


def admin_application(  # noqa: PLR0913 - the parts of an issuer
    keeper: Keeping,
    *,
    issuer: str,
    ledger: ReplayCache,
    algorithm: Algorithm,
    rotate_every: float | None,
    witnesses: Collection[Witness] = (),
    clock: Clock = instant.read,
) -> Starlette:
    """Make the admin API, to be mounted at `PATH` where nobody comes but administrators.

    Args:
        keeper: Holds the snapshot, the database and the signing keys.
        issuer: The issuer identifier.
        ledger: Where assertions are spent: one for all processes of the issuer.
        algorithm: What new signing keys are for.
        rotate_every: The period of their rotation in seconds, None where they do not rotate.
        witnesses: Told of every request, besides the log.
        clock: Must be the one that the keeper reads.
    """
    administered = Administered(
        keeper=keeper, issuer=issuer, algorithm=algorithm, rotate_every=rotate_every, clock=clock
    )
    authentication = AdminAuthentication(
        keeper, issuer=issuer, spent=SpentAssertions(ledger), clock=clock
    )
    by_path: dict[str, dict[str, Operation]] = {}
    for operation in OPERATIONS:
        by_path.setdefault(operation.path, {})[operation.method] = operation
    turns = anyio.CapacityLimiter(_AT_ONCE)
    routes = [
        Route(
            path,
            Endpoint(
                operations,
                issuer=administered,
                authentication=authentication,
                turns=turns,
                witnesses=(LogWitness(), *witnesses),
            ),
            methods=list(operations),
        )
        # The router takes the first that fits, and a URI fits whatever follows.
        for path, operations in sorted(by_path.items(), key=_breadth)
    ]
    described = json.dumps(
        openapi.document(OPERATIONS, issuer=issuer, version=version("ephemera-issuer"))
    )

    async def document(_request: Request) -> Response:
        return Response(described, media_type="application/json")

    application = Starlette(
        routes=[Route("/openapi.json", document), *routes],
        exception_handlers={HTTPException: _http_refusal, Exception: _failure},
    )
    application.router.redirect_slashes = False
    return application


def create_admin_app(  # noqa: PLR0913 - the parts of an issuer
    keeper: Keeping,
    *,
    issuer: str,
    ledger: ReplayCache,
    algorithm: Algorithm,
    rotate_every: float | None,
    witnesses: Collection[Witness] = (),
    clock: Clock = instant.read,
) -> Starlette:
    """Make an application of the admin API alone; see `admin_application`."""
    application = admin_application(
        keeper,
        issuer=issuer,
        ledger=ledger,
        algorithm=algorithm,
        rotate_every=rotate_every,
        witnesses=witnesses,
        clock=clock,
    )
    return Starlette(
        routes=[Mount(PATH, application)], exception_handlers={HTTPException: _http_refusal}
    )


def _breadth(item: tuple[str, object]) -> bool:
    return ":path}" in item[0]


async def _http_refusal(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - what it is registered for
    return http_refusal(error)


async def _failure(_request: Request, _error: Exception) -> Response:
    return failure()
