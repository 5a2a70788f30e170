"""Sockets that take each timeout for the moment by which all must be done.

httpcore hands the same timeout to every read of an answer, so a peer that sends a byte now and
then is never late. Given a moment of `time.monotonic`, these sockets wait for what is left of it.
"""

import contextlib
import socket
import ssl
import time
from collections.abc import Iterable
from typing import Any

import httpcore

SocketOption = (
    tuple[int, int, int] | tuple[int, int, bytes | bytearray] | tuple[int, int, None, int]
)


class DeadlineBackend(httpcore.NetworkBackend):
    """TCP connections whose every timeout is a deadline."""

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[SocketOption] | None = None,
    ) -> httpcore.NetworkStream:
        """Try the addresses of `host` in turn, within one deadline for all."""
        backend = httpcore.SyncBackend()
        for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            address = str(found[4][0])
            with contextlib.suppress(httpcore.ConnectError):
                return _DeadlineStream(
                    backend.connect_tcp(address, port, left(timeout), local_address, socket_options)
                )
        raise httpcore.ConnectError


def left(deadline: float | None) -> float | None:
    """Return the seconds until `deadline`.

    Raises:
        TimeoutError: it has passed; a socket would take what is left for "do not wait" or an error.
    """
    if deadline is None:
        return None
    seconds = deadline - time.monotonic()
    if seconds <= 0:
        raise TimeoutError
    return seconds


class _DeadlineStream(httpcore.NetworkStream):
    def __init__(self, stream: httpcore.NetworkStream) -> None:
        self._stream = stream

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, left(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, left(timeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        try:
            return _DeadlineStream(
                self._stream.start_tls(ssl_context, server_hostname, left(timeout))
            )
        except BaseException:
            self._stream.close()
            raise

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)
