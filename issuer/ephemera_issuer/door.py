"""Where connections come in: no more of them than there is room for, in all and by address.

Connections are counted from the moment they are accepted, before TLS, and by a process for itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from collections import Counter, OrderedDict, deque
from typing import TYPE_CHECKING, Protocol

import structlog

from ephemera_issuer.limits import neighbourhood

if TYPE_CHECKING:
    from collections.abc import Callable

    from ephemera_issuer.reception import Reception

RETRY_AFTER = 1

_AT_ONCE = 16
"""Connections accepted before others get a turn: other processes, and requests."""
_PAUSE = 0.2
"""Seconds without accepting when the system has no room."""
_MOST_REFUSED = 32
_QUIET = 60.0
"""Seconds between two lines of the log that say the same."""
_FULL = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
# What accept(2) may tell of a connection that broke while it waited.
_GONE = {
    *(errno.ECONNABORTED, errno.EINTR, errno.EPROTO, errno.ENETDOWN, errno.ENETUNREACH),
    *(errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENOPROTOOPT, errno.EOPNOTSUPP),
}
_BODY = b'{"error":"temporarily_unavailable","error_description":"there are too many connections"}'
_REFUSAL = (
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\n"
    b"content-length: %d\r\ncache-control: no-store\r\nretry-after: %d\r\n"
    b"connection: close\r\n\r\n%b" % (len(_BODY), RETRY_AFTER, _BODY)
)


class Visitor(Protocol):
    """A connection that is past its handshake, as a protocol of asyncio."""

    deadline: float

    def expire(self, now: float) -> None:
        """End what has taken longer than `deadline`, and set another."""
        ...

    def evict(self) -> None:
        """Close it at once: it is idle, and others want in."""
        ...


class Place:
    """What one connection takes of the room, until it leaves."""

    __slots__ = ("_connection", "_door", "handshake", "name", "visitor")

    def __init__(self, door: Door, connection: socket.socket, name: str | None) -> None:
        self._door = door
        self._connection = connection
        self.name = name
        self.visitor: Visitor | None = None
        self.handshake: asyncio.Task[None] | None = None

    def admit(self, visitor: Visitor) -> None:
        """Take note of the connection itself."""
        self.visitor = visitor

    def work(self) -> None:
        """A request has come: the connection is not closed for others any more."""
        self._door.idle.pop(self, None)

    def rest(self) -> None:
        """It was answered: of those who rest, the one that rests longest goes first."""
        if self in self._door.places:
            self._door.idle[self] = None

    def clear(self) -> None:
        """Close the connection at once."""
        if self.visitor is not None:
            self.visitor.evict()
        else:
            # A handshake that is cancelled would go on behind our back until its time is over.
            with contextlib.suppress(OSError):
                self._connection.shutdown(socket.SHUT_RDWR)
            self._connection.close()

    def leave(self) -> None:
        """The connection is no more."""
        self._door.let_out(self)


class Door:
    """Accepts connections from a listener, which other processes may share.

    Who comes when all places are taken gets that of the connection that has been idle longest: one
    that has not sent a whole request since it was accepted or answered. Where none is idle, and
    where an address has its share, the newcomer is refused, over plain HTTP with a 503.

    Args:
        listener: A listening socket.
        reception: How many there may be, the certificate, and the proxies, which have no share.
        welcome: Makes the protocol of a connection.
    """

    def __init__(
        self,
        listener: socket.socket,
        reception: Reception,
        welcome: Callable[[Place], asyncio.Protocol],
    ) -> None:
        self.places: set[Place] = set()
        self.idle: OrderedDict[Place, None] = OrderedDict()
        self._listener = listener
        self._reception = reception
        self._welcome = welcome
        self._shares: Counter[str] = Counter()
        self._refused: deque[socket.socket] = deque()
        self._told = -_QUIET

    def open(self) -> None:
        """Begin to accept, on the running event loop."""
        self._loop = asyncio.get_running_loop()
        self._listener.setblocking(False)
        self._listen()

    async def close(self, patience: float) -> None:
        """Accept what waits, each whose connection the system has made already, and no more."""
        self._loop.remove_reader(self._listener.fileno())
        while self._accept_one():
            pass
        self._listener.close()
        self._forget_refused(0)
        handshakes = [place.handshake for place in self.places if place.handshake is not None]
        if handshakes:
            await asyncio.wait(handshakes, timeout=patience)

    def look(self) -> None:
        """End what has taken too long, and read the certificate if it has changed; each second."""
        now = self._loop.time()
        for place in list(self.places):
            visitor = place.visitor
            if visitor is not None and visitor.deadline < now:
                visitor.expire(now)
        self._forget_refused(0)
        if self._reception.certificate is not None:
            self._reception.certificate.look()

    def let_out(self, place: Place) -> None:
        """Give the place to whoever comes next; a second time does nothing."""
        if place not in self.places:
            return
        self.places.discard(place)
        self.idle.pop(place, None)
        if place.name is not None:
            self._shares[place.name] -= 1
            if not self._shares[place.name]:
                del self._shares[place.name]

    def _listen(self) -> None:
        if self._listener.fileno() >= 0:
            self._loop.add_reader(self._listener.fileno(), self._accept_some)

    def _accept_some(self) -> None:
        for _ in range(_AT_ONCE):
            if not self._accept_one():
                break

    def _accept_one(self) -> bool:
        """Accept one that waits; whether there may be more."""
        try:
            connection, peer = self._listener.accept()
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno in _GONE:
                return True
            if error.errno not in _FULL:
                raise
            self._make_room()
            self._loop.remove_reader(self._listener.fileno())
            self._loop.call_later(_PAUSE, self._listen)
            return False
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._receive(connection, peer[0])
        return True

    def _receive(self, connection: socket.socket, address: str) -> None:
        reception = self._reception
        name = None if reception.proxies.trusts(address) else neighbourhood(address)
        if name is not None and self._shares[name] >= reception.of_address:
            self._refuse(connection)
            return
        if len(self.places) >= reception.in_all and not self._make_room():
            self._refuse(connection)
            return
        place = Place(self, connection, name)
        self.places.add(place)
        self.idle[place] = None
        if name is not None:
            self._shares[name] += 1
        place.handshake = self._loop.create_task(self._connect(connection, place))

    async def _connect(self, connection: socket.socket, place: Place) -> None:
        if connection.fileno() < 0:
            return  # it was closed before its turn came
        certificate = self._reception.certificate
        try:
            if certificate is None:
                await self._loop.connect_accepted_socket(lambda: self._welcome(place), connection)
            else:
                await self._loop.connect_accepted_socket(
                    lambda: self._welcome(place),
                    connection,
                    ssl=certificate.context,
                    ssl_handshake_timeout=self._reception.times.handshake,
                    ssl_shutdown_timeout=self._reception.times.handshake,
                )
        except OSError:  # that of TLS is one
            place.leave()
        except BaseException:
            place.leave()
            raise
        finally:
            place.handshake = None

    def _make_room(self) -> bool:
        """Close the connection that has been idle longest; false where none is."""
        now = self._loop.time()
        if now - self._told > _QUIET:
            self._told = now
            structlog.get_logger().warning("connections_full", connections=len(self.places))
        if not self.idle:
            return False
        place, _ = self.idle.popitem(last=False)
        place.clear()
        self.let_out(place)
        return True

    def _refuse(self, connection: socket.socket) -> None:
        # Closed at once, the caller's request would meet a reset, and that destroy the answer.
        try:
            if self._reception.certificate is None:
                connection.send(_REFUSAL)
            connection.shutdown(socket.SHUT_WR)
        except OSError:
            connection.close()
            return
        self._refused.append(connection)
        self._forget_refused(_MOST_REFUSED)

    def _forget_refused(self, most: int) -> None:
        while len(self._refused) > most:
            self._refused.popleft().close()
