"""The limit of a server in Python: Starlette routes that answer every POST alike, and every GET.

usage: python -m benchmarks.peers.bare_starlette
"""

import socket

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ephemera_issuer.connection import Times
from ephemera_issuer.server import BACKLOG

ANSWER = b'{"access_token":"' + b"x" * 480 + b'","token_type":"Bearer","expires_in":120}'


async def answer(_request: Request) -> Response:
    """Answer; the body is not read."""
    return Response(ANSWER, media_type="application/json")


class _Server(uvicorn.Server):
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        assert sockets is not None  # noqa: S101 - main gives one
        port = sockets[0].getsockname()[1]
        print(f"starlette: serving (listening on http://127.0.0.1:{port})", flush=True)


def main() -> None:
    """Serve, with the settings of the issuer."""
    app = Starlette(
        routes=[Route("/oauth2/token", answer, methods=["POST"]), Route("/", answer)],
    )
    config = uvicorn.Config(
        app,
        http="httptools",
        loop="uvloop",
        ws="none",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        backlog=BACKLOG,
        timeout_keep_alive=int(Times().keep_alive),
    )
    listener = socket.create_server(("127.0.0.1", 0), backlog=BACKLOG)
    _Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
