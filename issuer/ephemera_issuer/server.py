"""Serving: a listening socket, a uvicorn around it, and an orderly end."""

from __future__ import annotations

import signal
import socket
from typing import TYPE_CHECKING

import uvicorn
from uvicorn.config import STARTUP_FAILURE
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from ephemera_issuer.edge.waiting import ENDING
from ephemera_issuer.errors import SettingsInvalid
from ephemera_issuer.settings import is_loopback

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import ASGIApp

    from ephemera_issuer.settings import Address

BACKLOG = 2048
KEEP_ALIVE = 75
"""Seconds; longer than usual proxies keep theirs, so that none sends into a closing connection."""
DRAIN = 10
"""Seconds that requests in progress get after the signal to end."""
MAXIMUM_HEAD = 64 * 1024
"""Bytes of a request's line and headers, or of its trailers."""

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def listen(address: Address, *, tls_ends_in_front: bool) -> socket.socket:
    """Bind and listen; connections wait until `run`.

    Raises:
        SettingsInvalid: Nothing can listen there, or callers elsewhere would send their secrets
            over plain HTTP.
    """
    host, port = address
    if not is_loopback(host) and not tls_ends_in_front:
        raise SettingsInvalid(
            f"EPHEMERA_LISTEN: {host} can be reached from other machines, and this listener speaks "
            "plain HTTP; listen on loopback, or say EPHEMERA_TLS_ENDS_IN_FRONT=true where a proxy "
            "in front ends TLS, or give the issuer an http name in EPHEMERA_UNENCRYPTED_HOSTS on a "
            "private network"
        )
    if not host.isascii():
        raise SettingsInvalid(f"EPHEMERA_LISTEN: {host} must be written in ASCII")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server(address, family=family, backlog=BACKLOG)
    except OSError as error:
        raise SettingsInvalid(
            f"EPHEMERA_LISTEN: cannot listen on {host} port {port}: {error.strerror}"
        ) from error


def run(app: ASGIApp, listener: socket.socket, *, ready: Callable[[], None]) -> None:
    """Serve until SIGTERM or SIGINT, then let requests in progress finish.

    Args:
        app: What answers.
        listener: A listening socket; closed on return.
        ready: Called once requests are answered.

    Raises:
        SystemExit: With status 3; what the application does in the background failed, and the log
            says why.
    """
    server = _Server(
        uvicorn.Config(
            app,
            http=_Protocol,
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            backlog=BACKLOG,
            timeout_keep_alive=KEEP_ALIVE,
            timeout_graceful_shutdown=DRAIN,
        ),
        ready,
    )
    # Afterwards uvicorn hands the signal on to the handlers that it found. Python's own would end
    # the process as killed; these have nothing left to do, and before its own are in place they
    # keep a signal from being lost.
    found = {number: signal.signal(number, server.handle_exit) for number in _SIGNALS}
    try:
        server.run(sockets=[listener])
    finally:
        for number, handler in found.items():
            signal.signal(number, handler)
    if server.lifespan.error_occurred:
        raise SystemExit(STARTUP_FAILURE)


class _Protocol(HttpToolsProtocol):
    """HTTP whose heads are bounded: the parser keeps whatever comes before a body, for ever."""

    _unread = 0

    def data_received(self, data: bytes) -> None:
        # What the parser makes a head or a body of is set to zero again on the way.
        self._unread += len(data)
        super().data_received(data)
        if self._unread > MAXIMUM_HEAD and not self.transport.is_closing():
            self.send_400_response(f"The head must be at most {MAXIMUM_HEAD} bytes.")

    def on_headers_complete(self) -> None:
        self._unread = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._unread = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._unread = 0
        super().on_message_complete()


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if ending := self.lifespan.state.get(ENDING):
            ending()
        await super().shutdown(sockets)

    async def on_tick(self, counter: int) -> bool:
        # Without its background task an issuer would never be ready again: let it be restarted.
        return await super().on_tick(counter) or self.lifespan.error_occurred
