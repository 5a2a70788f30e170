"""An API that is called, and calls another one with a token of its own."""

import os

import httpx
from serving import serve
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from ephemera_client import (
    AsyncTokenClient,
    AsyncVerifier,
    ClientSecret,
    RequireToken,
    SingleProcessReplayCache,
    Target,
    access_token,
)

ISSUER = os.environ["EPHEMERA_CLIENT_ISSUER"]
STOCK = os.environ["STOCK_URL"]

tokens = AsyncTokenClient(
    ISSUER,
    client_id=os.environ["EPHEMERA_CLIENT_ID"],
    credential=ClientSecret.from_file(os.environ["EPHEMERA_CLIENT_SECRET_FILE"]),
)
stock = httpx.AsyncClient(
    transport=tokens.transport({STOCK: Target("https://stock.internal", {"items:read"})}),
    base_url=STOCK,
)


async def invoice(request: Request) -> JSONResponse:
    item = (await stock.get("/items/7")).raise_for_status().json()
    return JSONResponse({"for": access_token(request.scope).client_id, "of": item["name"]})


verifier = AsyncVerifier(
    issuer=ISSUER,
    audience="https://billing.internal",
    algorithm="ES256",
    replay_cache=SingleProcessReplayCache(),
)
guard = Middleware(RequireToken, verifier=verifier, scopes={"invoices:read"})
app = Starlette(routes=[Route("/invoice", invoice)], middleware=[guard])

if __name__ == "__main__":
    serve(app)
