"""Sockets that take each timeout for the moment by which all must be done.

httpcore hands the same timeout to every read of an answer, so a peer that sends a byte now and
then is never late. Given a moment of `time.monotonic`, these sockets wait for what is left of it.
"""

import contextlib
import ipaddress
import socket
import ssl
import time
import weakref
from collections.abc import Iterable
from typing import Any

import httpcore

from ephemera_client.failure import OnlyLinkLocal

SocketOption = (
    tuple[int, int, int] | tuple[int, int, bytes | bytearray] | tuple[int, int, None, int]
)
_STREAM = socket.SOCK_STREAM

# Where clouds tell machines their secrets at an address that is not link-local: AWS and Google over
# IPv6, Alibaba, Oracle and Azure.
_METADATA = frozenset(
    ipaddress.ip_address(address)
    for address in (
        *("fd00:ec2::254", "fd20:ce::254"),
        *("100.100.100.200", "192.0.0.192", "168.63.129.16"),
    )
)
# Whose last 32 bits are an IPv4 address that a gateway, or the system itself, goes on to: mapped,
# compatible, and NAT64 (RFC 6052 §2.1, RFC 8215).
_WRAPPING = tuple(
    ipaddress.IPv6Network(prefix)
    for prefix in ("::ffff:0:0/96", "::/96", "64:ff9b::/96", "64:ff9b:1::/48")
)


class DeadlineBackend(httpcore.NetworkBackend):
    """TCP connections whose every timeout is a deadline.

    Unless `link_local`, link-local addresses are left out, whatever name they were resolved from:
    machines in a cloud are told their own secrets at such an address.
    """

    def __init__(self, *, link_local: bool) -> None:
        self._link_local = link_local
        self._open: weakref.WeakSet[httpcore.NetworkStream] = weakref.WeakSet()

    def interrupt(self) -> None:
        """Let whoever waits at one of these connections, in another thread, find it closed."""
        for stream in list(self._open):
            # Plainly the socket's own: that of TLS would take away what the other thread reads by.
            with contextlib.suppress(OSError):
                socket.socket.shutdown(stream.get_extra_info("socket"), socket.SHUT_RDWR)

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[SocketOption] | None = None,
    ) -> httpcore.NetworkStream:
        """Try the addresses of `host` in turn, within one deadline for all.

        Each has an equal share of what is left: one that swallows packets, as IPv6 does on many a
        network, must not take the time of those behind it.
        """
        backend = httpcore.SyncBackend()
        found = [str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=_STREAM)]
        if not self._link_local:
            found = [address for address in found if not is_link_local(address)]
            if not found:
                raise OnlyLinkLocal
        for untried, address in zip(range(len(found), 0, -1), found, strict=True):
            seconds = left(timeout)
            share = None if seconds is None else seconds / untried
            try:
                stream = backend.connect_tcp(address, port, share, local_address, socket_options)
                self._open.add(stream)
                return _DeadlineStream(stream)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                if untried == 1:
                    raise
        raise httpcore.ConnectError


def is_link_local(address: str) -> bool:
    """Say whether a literal address is link-local, also where IPv6 wraps an IPv4 one.

    The addresses at which clouds tell machines their secrets count as such, wherever they lie.
    """
    parsed = ipaddress.ip_address(address.partition("%")[0])
    meant = {parsed}
    if isinstance(parsed, ipaddress.IPv6Address):
        if any(parsed in prefix for prefix in _WRAPPING):
            meant.add(ipaddress.IPv4Address(int(parsed) & 0xFFFFFFFF))
        if parsed.sixtofour is not None:
            meant.add(parsed.sixtofour)
    return any(one.is_link_local or one in _METADATA for one in meant)


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
