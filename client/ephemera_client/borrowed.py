"""The exchange over an httpx client that is somebody else's.

Its connections, proxies, TLS settings, default headers and auth serve. Its cookies, hooks and
redirects do not: the first would carry state from one answer to the next, and the others could
read an answer without a bound.
"""

import copy
import os
import time
from collections.abc import Mapping

import httpcore
import httpx

from ephemera_client.errors import ConfigurationError
from ephemera_client.failure import HttpFailed, explain
from ephemera_client.http import Reading, Response
from ephemera_client.url import origin

Client = httpx.Client


class BorrowedHttp:
    """GET as `Http` does it; the client is neither changed nor closed.

    httpx counts a timeout for each read, so a peer that drips its headers can keep this thread,
    though nobody who waits for it, past the deadline. A body ends at the deadline.

    Raises:
        ConfigurationError: `client` is not an `httpx.Client`.
    """

    def __init__(self, client: Client, *, max_bytes: int) -> None:
        if not isinstance(client, httpx.Client):
            raise ConfigurationError("http must be an httpx.Client")
        self._client = client
        self._max_bytes = max_bytes
        self._process = os.getpid()

    def bounded(self, max_bytes: int) -> "BorrowedHttp":
        """Return the same, of the process that it was lent to, for answers of another size."""
        other = BorrowedHttp(self._client, max_bytes=max_bytes)
        other._process = self._process
        return other

    def get(self, url: str, headers: Mapping[str, str], *, deadline: float) -> Response:
        """Fetch `url`; `deadline` is a moment of `time.monotonic`.

        Raises:
            HttpFailed: there was no whole answer, or it was a redirect, compressed or too large;
                or the client has been closed, or belongs to the parent of this forked process.
        """
        where = origin(url)
        if os.getpid() != self._process:
            # Both would read from the same connections, and each meet the other's answers.
            raise HttpFailed("client_forked", where)
        if self._client.is_closed:
            raise HttpFailed("client_closed", where)
        left = deadline - time.monotonic()
        if left <= 0:
            raise HttpFailed("timeout", where)
        # The copy shares the connections, and is what httpx writes an answer's cookies to.
        client = copy.copy(self._client)
        client.cookies = httpx.Cookies()
        client.event_hooks = {}
        try:
            request = client.build_request(
                "GET",
                url,
                headers={**headers, "accept-encoding": "identity"},
                timeout=left,
            )
            answer = client.send(request, stream=True, follow_redirects=False)
            try:
                return self._read(answer, where, deadline)
            finally:
                answer.close()
        except Exception as error:  # noqa: BLE001 - whatever the client raises becomes one class
            failure = explain(_engines(error), where)
        # Raised out here, so that no cause goes along: it may quote what came.
        raise failure

    def _read(self, answer: httpx.Response, where: str, deadline: float) -> Response:
        reading = Reading(answer.status_code, answer.headers.raw, self._max_bytes, where)
        for chunk in answer.iter_raw():
            if time.monotonic() > deadline:
                raise HttpFailed("timeout", where)
            if not reading.take(chunk):
                break
        return reading.response()


def _engines(error: Exception) -> Exception:
    """Return the error of httpcore that httpx wraps, or its like: their classes share names."""
    if not isinstance(error, httpx.TransportError):
        return error
    if isinstance(error.__cause__, Exception):
        return error.__cause__
    engines: type[Exception] = getattr(httpcore, type(error).__name__, httpcore.ProtocolError)
    return engines()
