"""A WebSocket API: the token is claimed at the handshake, and asked after before each answer.

    EPHEMERA_CLIENT_ISSUER=http://127.0.0.1:8700 PORT=8080 python examples/websocket_api.py

AUDIENCE is what callers ask for a token for. Without a PORT, any free one is taken.
"""

import os
import socket

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket

from ephemera_client import AsyncVerifier, RequireToken, SingleProcessReplayCache, access_token

verifier = AsyncVerifier(
    issuer=os.environ.get("EPHEMERA_CLIENT_ISSUER", "http://127.0.0.1:8700"),
    audience=os.environ.get("AUDIENCE", "https://billing.internal"),
    algorithm="ES256",
    replay_cache=SingleProcessReplayCache(),
)


async def invoices(websocket: WebSocket) -> None:
    token = access_token(websocket)
    await websocket.accept()
    async for number in websocket.iter_text():
        if not verifier.still_valid(token):
            # The caller opens another one, with a token of its own.
            await websocket.close(code=1008, reason="token_expired")
            return
        await websocket.send_json({"number": number, "for": token.client_id})


app = Starlette(
    routes=[WebSocketRoute("/invoices", invoices)],
    middleware=[Middleware(RequireToken, verifier=verifier, scopes={"invoices:read"})],
)

if __name__ == "__main__":
    with socket.create_server(("127.0.0.1", int(os.environ.get("PORT", "0")))) as listener:
        print(f"serving (listening on http://127.0.0.1:{listener.getsockname()[1]})", flush=True)
        uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listener])
