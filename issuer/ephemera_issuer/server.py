"""Serving: a listening socket, a uvicorn around it, and an orderly end."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from functools import partial
from typing import TYPE_CHECKING, Literal, NamedTuple

import uvicorn
from uvicorn.config import STARTUP_FAILURE
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from ephemera_issuer.ending import Ending
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
LINGER = 1.0
"""Seconds after the signal in which a connection that is kept alive may bring a last request."""
MAXIMUM_HEAD = 64 * 1024
"""Bytes of a request's line and headers, or of its trailers."""

_LOOK_EVERY = 0.02
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Door(NamedTuple):
    """An application, and the listening socket by which one comes to it."""

    app: ASGIApp
    listener: socket.socket


def listen(
    address: Address, *, tls_ends_in_front: bool, setting: str = "EPHEMERA_LISTEN"
) -> socket.socket:
    """Bind and listen; connections wait until `run`. Errors name the `setting`.

    Raises:
        SettingsInvalid: Nothing can listen there, or callers elsewhere would send their secrets
            over plain HTTP.
    """
    host, port = address
    if not is_loopback(host) and not tls_ends_in_front:
        raise SettingsInvalid(
            f"{setting}: {host} can be reached from other machines, and this listener speaks "
            "plain HTTP; listen on loopback, or say EPHEMERA_TLS_ENDS_IN_FRONT=true where a proxy "
            "in front ends TLS, or give the issuer an http name in EPHEMERA_UNENCRYPTED_HOSTS on a "
            "private network"
        )
    if not host.isascii():
        raise SettingsInvalid(f"{setting}: {host} must be written in ASCII")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server(address, family=family, backlog=BACKLOG)
    except OSError as error:
        raise SettingsInvalid(
            f"{setting}: cannot listen on {host} port {port}: {error.strerror}"
        ) from error


def run(  # noqa: PLR0913 - the parts of a server
    app: ASGIApp,
    listener: socket.socket,
    *,
    ready: Callable[[], None],
    ending: Ending | None = None,
    leash: int | None = None,
    private: Door | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT, then answer what has come in until then.

    Connections that wait to be accepted still are, and each answer now closes its connection: so
    a caller finds every request answered, or its connection refused.

    Args:
        app: What answers.
        listener: A listening socket, which other processes may share; closed on return.
        ready: Called once requests are answered.
        ending: Begins with the signal, for the application to know.
        leash: A file descriptor to read from; when it is at its end, that is a signal too.
        private: What answers beside `app`, at a listener of its own, under the same rules; it has
            no lifespan.

    Raises:
        SystemExit: With status 3; what the application does in the background failed, and the log
            says why.
    """
    told = ending or Ending()

    class Protocol(_Protocol):
        ending = told

    def configured(app: ASGIApp, *, lifespan: Literal["on", "off"]) -> uvicorn.Config:
        return uvicorn.Config(
            app,
            http=Protocol,
            ws="none",
            lifespan=lifespan,
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            backlog=BACKLOG,
            timeout_keep_alive=KEEP_ALIVE,
            timeout_graceful_shutdown=DRAIN,
        )

    config = configured(app, lifespan="on")
    doors = [(listener, config)]
    if private is not None:
        doors.append((private.listener, configured(private.app, lifespan="off")))
    server = _Server(config, Protocol, ready, leash, doors)
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

    ending: Ending
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
        if self.ending.begun:
            self.make_this_the_last()

    def make_this_the_last(self) -> None:
        """Close the connection after the answer that is in the making, if one is."""
        if self.cycle is not None:
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        self._unread = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._unread = 0
        super().on_message_complete()


class _Server(uvicorn.Server):
    def __init__(
        self,
        config: uvicorn.Config,
        protocol: type[_Protocol],
        ready: Callable[[], None],
        leash: int | None,
        doors: list[tuple[socket.socket, uvicorn.Config]],
    ) -> None:
        super().__init__(config)
        self._doors = doors
        self._protocol_class = protocol
        self._ending = protocol.ending
        self._ready = ready
        self._leash = leash

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        loop = asyncio.get_running_loop()
        for listener, config in self._doors[1:]:
            factory = partial(self._protocol, config)
            self.servers.append(
                await loop.create_server(factory, sock=listener, backlog=config.backlog)
            )
        if self._leash is not None:
            loop.add_reader(self._leash, self._let_go)
        self._ready()

    def _let_go(self) -> None:
        assert self._leash is not None  # noqa: S101 - there is a reader
        asyncio.get_running_loop().remove_reader(self._leash)
        self.should_exit = True

    async def on_tick(self, counter: int) -> bool:
        # Without its background task an issuer would never be ready again: let it be restarted.
        return await super().on_tick(counter) or self.lifespan.error_occurred

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:  # noqa: ARG002 - the doors have them
        self._ending.begin()
        for connection in self.server_state.connections:
            if isinstance(connection, _Protocol):
                connection.make_this_the_last()
        await self._accept_the_waiting()
        for _ in range(int(LINGER / _LOOK_EVERY)):
            if not self.server_state.connections or self.force_exit:
                break
            await asyncio.sleep(_LOOK_EVERY)
        await super().shutdown([])

    async def _accept_the_waiting(self) -> None:
        # Closing a listener resets the connections that the system has made and nobody accepted.
        # A duplicate of the descriptor leaves the listener open while the loop lets go of it, and
        # unlike socket.dup() leaves the flags alone, which other processes share.
        doors = [
            (socket.socket(fileno=os.dup(listener.fileno())), config)
            for listener, config in self._doors
        ]
        for server in self.servers:
            server.close()
        for listener, _ in self._doors:
            listener.close()
        waiting = []
        for listener, config in doors:
            with listener:
                listener.setblocking(False)
                while (connection := _accept(listener)) is not None:
                    waiting.append((connection, config))
        loop = asyncio.get_running_loop()
        for connection, config in waiting:
            connection.setblocking(False)
            await loop.connect_accepted_socket(partial(self._protocol, config), connection)

    def _protocol(self, config: uvicorn.Config) -> asyncio.Protocol:
        return self._protocol_class(
            config=config, server_state=self.server_state, app_state=self.lifespan.state
        )


def _accept(listener: socket.socket) -> socket.socket | None:
    try:
        return listener.accept()[0]
    except BlockingIOError:
        return None
