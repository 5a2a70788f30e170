"""An API under Starlette: scopes for each route, and a stream that ends with its token.

    EPHEMERA_CLIENT_ISSUER=http://127.0.0.1:8700 PORT=8080 python examples/starlette_api.py

AUDIENCE is what callers ask for a token for. Without a PORT, any free one is taken.
"""

import asyncio
import os
import socket
from collections.abc import AsyncIterator

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from ephemera_client import AsyncVerifier, RequireToken, SingleProcessReplayCache, access_token

verifier = AsyncVerifier(
    issuer=os.environ.get("EPHEMERA_CLIENT_ISSUER", "http://127.0.0.1:8700"),
    audience=os.environ.get("AUDIENCE", "https://billing.internal"),
    algorithm="ES256",
    replay_cache=SingleProcessReplayCache(),
)


async def invoices(request: Request) -> Response:
    return JSONResponse({"invoices": [], "for": access_token(request).client_id})


async def add_invoice(request: Request) -> Response:
    return JSONResponse({"added_by": access_token(request).client_id}, status_code=201)


async def watch_invoices(request: Request) -> Response:
    token = access_token(request)

    async def events() -> AsyncIterator[str]:
        while verifier.still_valid(token):
            yield "event: invoice\ndata: {}\n\n"
            await asyncio.sleep(1)

    return StreamingResponse(events(), media_type="text/event-stream")


writing = Middleware(RequireToken, verifier=verifier, scopes={"invoices:write"})
app = Starlette(
    routes=[
        Route("/invoices", invoices, methods=["GET"]),
        Route("/invoices", add_invoice, methods=["POST"], middleware=[writing]),
        Route("/invoices/events", watch_invoices),
    ],
    middleware=[Middleware(RequireToken, verifier=verifier, scopes={"invoices:read"})],
)

if __name__ == "__main__":
    with socket.create_server(("127.0.0.1", int(os.environ.get("PORT", "0")))) as listener:
        print(f"serving (listening on http://127.0.0.1:{listener.getsockname()[1]})", flush=True)
        uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listener])
