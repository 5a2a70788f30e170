"""Serving: a listening socket, a uvicorn behind its door, and an orderly end."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
from typing import TYPE_CHECKING, Literal, NamedTuple

import uvicorn
from uvicorn.config import STARTUP_FAILURE

from ephemera_issuer.connection import Connection
from ephemera_issuer.door import Door
from ephemera_issuer.ending import Ending
from ephemera_issuer.errors import SettingsInvalid
from ephemera_issuer.reception import Reception
from ephemera_issuer.settings import is_loopback

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import ASGIApp

    from ephemera_issuer.door import Place
    from ephemera_issuer.settings import Address

BACKLOG = 2048
DRAIN = 10
"""Seconds that requests in progress get after the signal to end."""
LINGER = 1.0
"""Seconds after the signal in which a connection that is kept alive may bring a last request."""
STRICT_TRANSPORT = ("strict-transport-security", "max-age=31536000")
"""For a year, this host is asked over TLS alone (RFC 6797)."""

_LOOK_EVERY = 0.02
_TICKS_A_SECOND = 10
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Served(NamedTuple):
    """An application, the listening socket by which one comes to it, and how one is received."""

    app: ASGIApp
    listener: socket.socket
    reception: Reception


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
            "plain HTTP; listen on loopback, or name EPHEMERA_TLS_CERT_FILE and "
            "EPHEMERA_TLS_KEY_FILE, or say EPHEMERA_TLS_ENDS_IN_FRONT=true where a proxy in front "
            "ends TLS, or give the issuer an http name in EPHEMERA_UNENCRYPTED_HOSTS on a "
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


def run(  # noqa: PLR0913 - what a process that serves is told
    app: ASGIApp,
    listener: socket.socket,
    *,
    ready: Callable[[], None],
    ending: Ending | None = None,
    leash: int | None = None,
    reception: Reception | None = None,
    private: Served | None = None,
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
        reception: How callers are received; by default over plain HTTP.
        private: What answers beside `app`, at a listener of its own; it has no lifespan.

    Raises:
        SystemExit: With status 3; what the application does in the background failed, and the log
            says why.
    """
    served = [Served(app, listener, reception or Reception())]
    if private is not None:
        served.append(private)
    server = _Server(served, ending=ending or Ending(), ready=ready, leash=leash)
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


def _configured(served: Served, *, lifespan: Literal["on", "off"]) -> uvicorn.Config:
    return uvicorn.Config(
        served.app,
        http=Connection,
        interface="asgi3",
        ws="none",
        lifespan=lifespan,
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        backlog=BACKLOG,
        timeout_graceful_shutdown=DRAIN,
        headers=[STRICT_TRANSPORT] if served.reception.certificate is not None else [],
    )


class _Server(uvicorn.Server):
    """Serves several applications; the lifespan is that of the first."""

    def __init__(
        self,
        served: list[Served],
        *,
        ending: Ending,
        ready: Callable[[], None],
        leash: int | None,
    ) -> None:
        super().__init__(_configured(served[0], lifespan="on"))
        self._doors = [Door(one.listener, one.reception, self._welcome(one)) for one in served]
        self._ending = ending
        self._ready = ready
        self._leash = leash

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:  # noqa: ARG002 - uvicorn's
        # As uvicorn does, but for who accepts.
        await self.lifespan.startup()
        if self.lifespan.should_exit:
            sys.exit(STARTUP_FAILURE)
        self.servers = []
        for door in self._doors:
            door.open()
        self.started = True
        if self._leash is not None:
            asyncio.get_running_loop().add_reader(self._leash, self._let_go)
        self._ready()

    def _let_go(self) -> None:
        assert self._leash is not None  # noqa: S101 - there is a reader
        asyncio.get_running_loop().remove_reader(self._leash)
        self.should_exit = True

    async def on_tick(self, counter: int) -> bool:
        if counter % _TICKS_A_SECOND == 0:
            for door in self._doors:
                door.look()
        # Without its background task an issuer would never be ready again: let it be restarted.
        return await super().on_tick(counter) or self.lifespan.error_occurred

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:  # noqa: ARG002 - uvicorn's
        self._ending.begin()
        for connection in self.server_state.connections:
            if isinstance(connection, Connection):
                connection.make_this_the_last()
        # Closing a listener resets the connections that the system has made and nobody accepted.
        await asyncio.gather(*(door.close(LINGER) for door in self._doors))
        for _ in range(int(LINGER / _LOOK_EVERY)):
            if not self.server_state.connections or self.force_exit:
                break
            await asyncio.sleep(_LOOK_EVERY)
        await super().shutdown([])

    def _welcome(self, served: Served) -> Callable[[Place], Connection]:
        config = _configured(served, lifespan="off")
        config.load()

        def welcome(place: Place) -> Connection:
            return Connection(
                place=place,
                ending=self._ending,
                times=served.reception.times,
                config=config,
                server_state=self.server_state,
                app_state=self.lifespan.state,
            )

        return welcome
