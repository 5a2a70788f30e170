"""Serve an app on loopback, on PORT or any free one, and say where."""

import os
import socket

import uvicorn
from starlette.applications import Starlette


def serve(app: Starlette) -> None:
    with socket.create_server(("127.0.0.1", int(os.environ.get("PORT", "0")))) as listener:
        print(f"serving (listening on http://127.0.0.1:{listener.getsockname()[1]})", flush=True)
        uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listener])
