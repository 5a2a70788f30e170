"""An API that is only called. Where it listens and who issues is in its environment."""

import os

from serving import serve
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from ephemera_client import AsyncVerifier, RequireToken, SingleProcessReplayCache


async def item(request: Request) -> JSONResponse:
    return JSONResponse({"item": request.path_params["number"], "name": "a box of screws"})


verifier = AsyncVerifier(
    issuer=os.environ["EPHEMERA_CLIENT_ISSUER"],
    audience="https://stock.internal",
    algorithm="ES256",
    replay_cache=SingleProcessReplayCache(),
)
guard = Middleware(RequireToken, verifier=verifier, scopes={"items:read"})
app = Starlette(routes=[Route("/items/{number:int}", item)], middleware=[guard])

if __name__ == "__main__":
    serve(app)
