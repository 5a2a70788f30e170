"""One exchange with an issuer: one URL, no redirects, bounded in bytes and in time.

Built on httpcore, the engine under httpx: it reads no environment, keeps no cookies, decodes
nothing, and lets its sockets be given one deadline for the whole exchange, where httpx has a
timeout per read that a slow peer renews.
"""

import functools
import math
import os
import ssl
import time
from collections.abc import Iterable, Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

import httpcore
import httpx

from ephemera_client.deadline import DeadlineBackend
from ephemera_client.errors import ConfigurationError
from ephemera_client.failure import HttpFailed, explain
from ephemera_client.url import CaFile, check_url, origin

__all__ = [
    "CaFile",
    "Http",
    "HttpFailed",
    "Reading",
    "Response",
    "check_url",
    "origin",
]

# Shorter than the 5 s after which uvicorn and node drop an idle connection: one that is reused at
# that very moment loses its request.
_IDLE_SECONDS = 3.0
# Beyond these, more connections make a burst of requests slower, at both ends.
_CONNECTIONS = 20

_REDIRECTS = frozenset({301, 302, 303, 307, 308})


class Response(NamedTuple):
    """A whole answer; header names are lower case, repeated headers joined by commas."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def __repr__(self) -> str:
        # The body may hold tokens.
        return f"Response(status={self.status}, ...)"


def tls_context(ca_file: CaFile) -> ssl.SSLContext:
    """Trust the authorities in `ca_file` alone, or the public ones; the environment has no say.

    Raises:
        ConfigurationError: `ca_file` cannot be read or holds no certificate.
    """
    if ca_file is None:
        return _public_authorities()
    try:
        return ssl.create_default_context(cafile=os.fspath(ca_file))
    except ssl.SSLError as error:
        raise ConfigurationError(f"ca_file {ca_file} holds no PEM certificate") from error
    except OSError as error:
        raise ConfigurationError(f"ca_file {ca_file}: {error.strerror}") from error


@functools.cache
def _public_authorities() -> ssl.SSLContext:
    # Kept: reading the bundle takes longer than a token request.
    return httpx.create_ssl_context(trust_env=False)


def _seconds(timeout: float) -> float:
    if type(timeout) not in {int, float} or not 0 < timeout < math.inf:
        raise ConfigurationError("timeout must be a positive number of seconds")
    return timeout


class Http:
    """The exchange, for any number of threads.

    Connections are kept for a few seconds, and never shared with a forked child.
    """

    def __init__(
        self,
        *,
        ca_file: CaFile = None,
        timeout: float,
        max_bytes: int,
        link_local: bool = True,
    ) -> None:
        self._tls = tls_context(ca_file)
        self._timeout = _seconds(timeout)
        self._max_bytes = max_bytes
        self._link_local = link_local
        self._home = os.getpid(), self._open()

    def get(
        self, url: str, headers: Mapping[str, str], *, deadline: float | None = None
    ) -> Response:
        """Fetch `url`; see `exchange`."""
        return self.exchange(url, headers, None, deadline=deadline)

    def exchange(
        self,
        url: str,
        headers: Mapping[str, str],
        body: bytes | None,
        *,
        deadline: float | None = None,
    ) -> Response:
        """POST `body`, or GET where there is none, once; the status is the caller's to judge.

        `deadline` is a moment of `time.monotonic`, for an exchange that is one of several; without
        it this one has the timeout to itself. It covers everything but the system's resolver,
        which keeps its own.

        Raises:
            HttpFailed: there was no whole answer, or it was a redirect, compressed or too large.
        """
        process, pool = self._home
        if process != os.getpid():
            # The parent goes on using these connections, so the child only lets go of them.
            pool = self._open()
            self._home = os.getpid(), pool
        now = time.monotonic()
        if deadline is None:
            deadline = now + self._timeout
        # For a place in the pool httpcore itself waits, and takes seconds.
        queue = max(deadline - now, 0.0)
        limits = {"pool": queue, "connect": deadline, "write": deadline, "read": deadline}
        try:
            with pool.stream(
                _method(body),
                url,
                headers=_headers(url, headers),
                content=body,
                extensions={"timeout": limits},
            ) as answer:
                reading = Reading(answer.status, answer.headers, self._max_bytes, url)
                for chunk in answer.iter_stream():
                    if not reading.take(chunk):
                        break
            return reading.response()
        except Exception as error:  # noqa: BLE001 - whatever the engine raises becomes one class
            failure = explain(error, origin(url))
        # Raised out here, so that no cause goes along: h11 quotes headers and lines in its errors.
        raise failure

    def close(self) -> None:
        """Close the kept connections."""
        process, pool = self._home
        if process == os.getpid():
            pool.close()

    def interrupt(self) -> None:
        """Let an exchange under way in another thread fail now."""
        process, _ = self._home
        if process == os.getpid():
            self._backend.interrupt()

    def _open(self) -> httpcore.ConnectionPool:
        self._backend = DeadlineBackend(link_local=self._link_local)
        return httpcore.ConnectionPool(
            ssl_context=self._tls,
            max_connections=_CONNECTIONS,
            max_keepalive_connections=_CONNECTIONS,
            keepalive_expiry=_IDLE_SECONDS,
            network_backend=self._backend,
        )


def _method(body: bytes | None) -> str:
    return "GET" if body is None else "POST"


def _headers(url: str, headers: Mapping[str, str]) -> list[tuple[str, str]]:
    # httpcore writes an IPv6 host without its brackets, so the Host header is ours.
    return [
        ("host", urlsplit(url).netloc),
        ("accept-encoding", "identity"),
        ("user-agent", "ephemera-client"),
        *headers.items(),
    ]


class Reading:
    """An answer coming in: refused as soon as something about it is wrong."""

    def __init__(
        self, status: int, headers: Iterable[tuple[bytes, bytes]], max_bytes: int, url: str
    ) -> None:
        self._status = status
        self._headers: dict[str, str] = {}
        self._body = bytearray()
        self._max_bytes = max_bytes
        self._origin = origin(url)
        for raw_name, raw_value in headers:
            name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
            self._headers[name] = (
                f"{self._headers[name]}, {value}" if name in self._headers else value
            )
        if status in _REDIRECTS:
            raise HttpFailed("redirected", self._origin)
        if self._headers.get("content-encoding", "identity").strip().lower() != "identity":
            raise HttpFailed("content_encoded", self._origin)

    def take(self, chunk: bytes) -> bool:
        """Return whether more is welcome."""
        if len(self._body) <= self._max_bytes:
            self._body += chunk
        return len(self._body) <= self._max_bytes

    def response(self) -> Response:
        """Return the whole answer."""
        if len(self._body) > self._max_bytes:
            raise HttpFailed("too_large", self._origin)
        return Response(self._status, self._headers, bytes(self._body))
