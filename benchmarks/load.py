"""Load: requests that are made beforehand, sent over keep-alive connections by one thread.

Nothing is pipelined: each connection sends its next request once the answer to the last is whole.
It costs this process about 10 µs a request, so one core of it keeps one core of any server here
busy.
"""

import re
import select
import socket
import time
from collections.abc import Iterator, Sequence

CONNECTIONS = 32

_LENGTH = re.compile(rb"\r\ncontent-length: ?(\d+)\r\n", re.IGNORECASE)
_PATIENCE = 30


class AnswerUnexpected(Exception):
    """A server did not answer 200, or not at all."""


def post(path: str, body: bytes, *, authorization: str = "") -> bytes:
    """Make a form request."""
    credential = f"Authorization: {authorization}\r\n" if authorization else ""
    return (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: application/json\r\n{credential}"
        "Content-Type: application/x-www-form-urlencoded\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode() + body


def get(path: str) -> bytes:
    """Make a GET request."""
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: */*\r\n\r\n".encode()


def drive(port: int, requests: Sequence[bytes], *, connections: int = CONNECTIONS) -> float:
    """Send each request once and return the seconds from the first to the last answer.

    Raises:
        AnswerUnexpected: an answer is not 200, or does not come.
    """
    waiting = iter(requests)
    sockets = [_connected(port) for _ in range(min(connections, len(requests)))]
    try:
        began = time.perf_counter()
        _exchange({one.fileno(): one for one in sockets}, waiting)
        return time.perf_counter() - began
    finally:
        for one in sockets:
            one.close()


def _connected(port: int) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=_PATIENCE)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def _exchange(sockets: dict[int, socket.socket], waiting: Iterator[bytes]) -> None:
    poll = select.poll()
    received: dict[int, bytes] = {}
    for number, connection in sockets.items():
        request = next(waiting, None)
        if request is not None:
            poll.register(number, select.POLLIN)
            received[number] = b""
            connection.sendall(request)
    while received:
        ready = poll.poll(_PATIENCE * 1000)
        if not ready:
            raise AnswerUnexpected("no answer came")
        for number, _ in ready:
            connection = sockets[number]
            piece = connection.recv(262144)
            answer = received[number] + piece
            if not _is_whole(answer):
                if not piece:
                    raise AnswerUnexpected("a connection was closed within an answer")
                received[number] = answer
                continue
            request = next(waiting, None)
            if request is None:
                del received[number]
                poll.unregister(number)
            else:
                received[number] = b""
                connection.sendall(request)


def _is_whole(answer: bytes) -> bool:
    head = answer.find(b"\r\n\r\n")
    if head < 0:
        return False
    if not answer.startswith(b"HTTP/1.1 200 "):
        raise AnswerUnexpected(answer[: answer.find(b"\r\n")].decode("latin-1"))
    length = _LENGTH.search(answer, 0, head + 2)
    if length is None:
        raise AnswerUnexpected("an answer without a Content-Length")
    return len(answer) - head - 4 >= int(length[1])
