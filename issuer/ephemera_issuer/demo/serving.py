"""Serve an ASGI application on a free port of loopback, and say where."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import uvicorn

if TYPE_CHECKING:
    from starlette.types import ASGIApp


def serve(name: str, app: ASGIApp) -> None:
    """Serve until SIGTERM; the address is announced on standard output first.

    The socket listens before it is announced, so that nobody can come too early.
    """
    with socket.create_server(("127.0.0.1", 0)) as listener:
        host, port = listener.getsockname()
        print(f"{name}: serving (listening on http://{host}:{port})", flush=True)  # noqa: T201 - the announcement
        config = uvicorn.Config(app, log_level="warning", access_log=False, lifespan="off")
        uvicorn.Server(config).run(sockets=[listener])
