"""An API under FastAPI: the token is a dependency, its scopes are in the OpenAPI document.

    EPHEMERA_CLIENT_ISSUER=http://127.0.0.1:8700 PORT=8080 python examples/fastapi_api.py

AUDIENCE is what callers ask for a token for. Without a PORT, any free one is taken.
"""

import os
import socket
from typing import Annotated

import uvicorn
from fastapi import APIRouter, FastAPI, Security

from ephemera_client import AccessToken, AsyncVerifier, SingleProcessReplayCache
from ephemera_client.fastapi import TokenRequired

billing = TokenRequired(
    AsyncVerifier(
        issuer=os.environ.get("EPHEMERA_CLIENT_ISSUER", "http://127.0.0.1:8700"),
        audience=os.environ.get("AUDIENCE", "https://billing.internal"),
        algorithm="ES256",
        replay_cache=SingleProcessReplayCache(),
    )
)
Reader = Annotated[AccessToken, Security(billing, scopes=["invoices:read"])]
Writer = Annotated[AccessToken, Security(billing, scopes=["invoices:read", "invoices:write"])]

# A route that somebody adds and forgets to guard needs a token all the same.
router = APIRouter(dependencies=[Security(billing, scopes=["invoices:read"])])


@router.get("/invoices")
async def invoices(token: Reader) -> dict[str, object]:
    return {"invoices": [], "for": token.client_id}


@router.post("/invoices", status_code=201)
async def add_invoice(token: Writer) -> dict[str, str]:
    return {"added_by": token.client_id}


app = FastAPI(title="Billing")
app.include_router(router)

if __name__ == "__main__":
    with socket.create_server(("127.0.0.1", int(os.environ.get("PORT", "0")))) as listener:
        print(f"serving (listening on http://127.0.0.1:{listener.getsockname()[1]})", flush=True)
        uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listener])
