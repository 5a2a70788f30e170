"""One HTTP connection: its heads bounded in bytes, and every part of its life in time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

if TYPE_CHECKING:
    import asyncio

    from ephemera_issuer.door import Place
    from ephemera_issuer.ending import Ending

MAXIMUM_HEAD = 64 * 1024
"""Bytes of a request's line and headers, or of its trailers."""
MOST_PIPELINED = 16
"""Requests that may wait behind the one that is answered."""

_BAD_REQUEST, _REQUEST_TIMEOUT = 400, 408


class Times(NamedTuple):
    """How many seconds a caller gets for what.

    Args:
        head: From the beginning of a connection, or the first byte of a request, to a whole head.
        body: From a whole head to a whole body.
        answer: From a whole request to the last byte of its answer; twice the longest wait for
            news.
        keep_alive: From an answer to the next request; longer than usual proxies keep their
            connections, so that none sends into a closing one.
        farewell: For what was still written to a connection that is being closed.
        handshake: For that of TLS, and for its end.
    """

    head: float = 10.0
    body: float = 20.0
    answer: float = 60.0
    keep_alive: float = 75.0
    farewell: float = 5.0
    handshake: float = 10.0


class _TooManyAtOnce(Exception):
    """The parser stops at it, as at what is malformed."""


class Answers:
    """What the answers of a connection are written to, one after the other.

    The head of an answer waits for the first part of its body, or for its end. Sent one by one,
    they take two system calls, a twentieth of what a mint costs, and often two packets.
    """

    __slots__ = ("_begun", "_head", "_transport")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._begun = False
        self._head = b""

    def write(self, data: bytes) -> None:
        """Take the head, or a part of the body."""
        if not self._begun:
            self._begun, self._head = True, data
        elif self._head:
            head, self._head = self._head, b""
            self._transport.write(head + data)
        else:
            self._transport.write(data)

    def end(self) -> None:
        """Send what is left, and expect the next answer."""
        self._begun = False
        if self._head:
            head, self._head = self._head, b""
            self._transport.write(head)

    def close(self) -> None:
        """Send what is left, and close."""
        self.end()
        self._transport.close()

    def is_closing(self) -> bool:
        """Say whether it is closed, or will be."""
        return self._transport.is_closing()


class Connection(HttpToolsProtocol):
    """HTTP whose callers must keep to bounds; the rest is uvicorn's.

    The parser keeps whatever comes before a body, for ever; and its callers may take for ever.
    There is one deadline, which moves as a request goes on, and `expire` is called after it.
    """

    def __init__(self, *, place: Place, ending: Ending, times: Times, **parts: Any) -> None:
        super().__init__(**parts)
        self.place = place
        self.deadline = 0.0
        self._ending = ending
        self._times = times
        self._unread = 0
        self._heading = False
        """Whether a head has begun and is not complete."""
        self._whole = True
        """Whether no request has begun that is not complete."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Expect a request."""
        super().connection_made(transport)
        self._answers = Answers(transport)
        self.deadline = self.loop.time() + self._times.head
        self.place.admit(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Make room for another one."""
        super().connection_lost(exc)
        self.place.leave()

    def data_received(self, data: bytes) -> None:
        """Parse, as long as there is no end to be seen of too large a head."""
        # What the parser makes a head or a body of is set to zero again on the way.
        self._unread += len(data)
        super().data_received(data)
        if self._unread > MAXIMUM_HEAD and not self.transport.is_closing():
            self.send_400_response(f"The head must be at most {MAXIMUM_HEAD} bytes.")

    def on_message_begin(self) -> None:
        """Begin the time of a head."""
        super().on_message_begin()
        self._heading, self._whole = True, False
        if not self._answering:
            self.deadline = self.loop.time() + self._times.head

    def on_headers_complete(self) -> None:
        """Begin the time of a body."""
        if len(self.pipeline) >= MOST_PIPELINED:
            raise _TooManyAtOnce
        self._unread, self._heading = 0, False
        if not self._answering:
            self.deadline = self.loop.time() + self._times.body
        super().on_headers_complete()
        if not self.expect_100_continue:  # which is answered twice
            self.cycle.transport = self._answers  # type: ignore[assignment] # all that it calls
        self.place.work()
        if self._ending.begun:
            self.make_this_the_last()

    def on_body(self, body: bytes) -> None:
        """Take a part of a body, or drop it where the answer is out already."""
        self._unread = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Begin the time of an answer; or of a pause, where it is out already."""
        self._unread = 0
        self._whole = True
        super().on_message_complete()
        if self._answering:
            self.deadline = self.loop.time() + self._times.answer
        else:
            self._rest()

    def on_response_complete(self) -> None:
        """Go on with what was pipelined, or begin a pause."""
        # As uvicorn does, less a timer for each request.
        self._answers.end()
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            self.deadline = self.loop.time() + self._times.farewell
            return
        self.flow.resume_reading()
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self.deadline = self.loop.time() + (
                self._times.answer if self._whole else self._times.body
            )
            self._start_asgi_task(cycle, app)
        elif self._whole:
            self._rest()
        else:
            self.deadline = self.loop.time() + self._times.body

    def make_this_the_last(self) -> None:
        """Close the connection after the answer that is in the making, if one is."""
        if self.cycle is not None:
            self.cycle.keep_alive = False

    def expire(self, now: float) -> None:
        """End what has taken too long: with a word where the caller may be waiting for one."""
        if self.transport.is_closing() or (self._whole and self._answering):
            self.transport.abort()
            self.deadline = now + self._times.farewell
            return
        if self._heading or not (self._whole or self.cycle.response_started):
            self._say(_REQUEST_TIMEOUT, "The request took too long to arrive.")
        self._close()

    def evict(self) -> None:
        """Close it at once, whatever was still to be said."""
        self.transport.abort()

    @property
    def _answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _rest(self) -> None:
        self.deadline = self.loop.time() + self._times.keep_alive
        self.place.rest()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP, or too much of it, and close."""
        self._say(_BAD_REQUEST, msg)
        self._close()

    def _close(self) -> None:
        self.deadline = self.loop.time() + self._times.farewell
        self.transport.close()

    def _say(self, status: int, text: str) -> None:
        head = [STATUS_LINE[status]]
        head += [b"%b: %b\r\n" % header for header in self.server_state.default_headers]
        self.transport.write(
            b"%bcontent-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\n"
            b"connection: close\r\n\r\n%b" % (b"".join(head), len(text), text.encode())
        )
