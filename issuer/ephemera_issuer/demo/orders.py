"""The orders service: it calls billing, and asks for a token each time."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

import httpx
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from ephemera_client import AsyncTokenClient, ClientSecret, Target
from ephemera_issuer.demo.serving import serve

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response


def create_app(*, tokens: AsyncTokenClient, billing: str, audience: str) -> Starlette:
    """Make the service; `billing` is the address of the API, `audience` its name in tokens."""
    targets = {billing: Target(audience, {"invoices:read"})}
    api = httpx.AsyncClient(base_url=billing, transport=tokens.transport(targets))

    async def check_order(_request: Request) -> Response:
        answer = await api.get("/invoices")
        return JSONResponse({"status": answer.status_code, "answer": answer.json()})

    return Starlette(routes=[Route("/orders/17", check_order)])


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__)
    for name in ("--issuer", "--secret-file", "--billing", "--audience"):
        options.add_argument(name, required=True)
    arguments = options.parse_args()
    serve(
        "orders",
        create_app(
            tokens=AsyncTokenClient(
                arguments.issuer,
                client_id="orders",
                credential=ClientSecret.from_file(arguments.secret_file),
            ),
            billing=arguments.billing,
            audience=arguments.audience,
        ),
    )
