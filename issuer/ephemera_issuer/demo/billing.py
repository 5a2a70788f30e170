"""The billing API: two routes behind Ephemera's verifier."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import JSONResponse
from starlette.routing import Route

from ephemera_client import AsyncVerifier, SingleProcessReplayCache
from ephemera_client.asgi import RequireToken, access_token
from ephemera_issuer.demo.serving import serve

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response


async def read_invoices(request: Request) -> Response:
    """List the invoices, for any client that may read them."""
    token = access_token(request)
    return JSONResponse({"invoices": [{"number": 1001, "total": "94.00"}], "for": token.client_id})


async def write_invoice(request: Request) -> Response:
    """Add an invoice, which takes one scope more."""
    access_token(request).require("invoices:write")
    return JSONResponse({"number": 1002}, status_code=201)


def create_app(*, issuer: str, audience: str) -> Starlette:
    """Make the API as its own team would."""
    verifier = AsyncVerifier(
        issuer=issuer,
        audience=audience,
        algorithm="ES256",
        replay_cache=SingleProcessReplayCache(),
    )
    return Starlette(
        routes=[
            Route("/invoices", read_invoices, methods=["GET"]),
            Route("/invoices", write_invoice, methods=["POST"]),
        ],
        middleware=[Middleware(RequireToken, verifier=verifier, scopes={"invoices:read"})],
    )


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--issuer", required=True)
    options.add_argument("--audience", required=True)
    arguments = options.parse_args()
    serve("billing", create_app(issuer=arguments.issuer, audience=arguments.audience))
