"""One thread's connection to a feed: it asks, it rests, and it can be told to stop."""

import os
import threading
import time
from typing import NamedTuple
from urllib.parse import urlencode

from ephemera_client import discovery
from ephemera_client.errors import ConfigurationError
from ephemera_client.http import Http, HttpFailed, Response
from ephemera_client.reach import Getter, Reach
from ephemera_client.revocations.document import Document, FeedInvalid, parse
from ephemera_client.revocations.following import Ask

_OK = 200
_BUSY = frozenset({429, 503})
_LONGEST_DIGITS = 6


class Answered(NamedTuple):
    """The feed at `url` gave this document."""

    url: str
    document: Document


class Absent(NamedTuple):
    """The issuer's metadata offer no feed."""


class Failed(NamedTuple):
    """There was no answer that could be used; `url`, if the metadata named one before."""

    cause_code: str
    url: str | None = None
    retry_after: float = 0


Outcome = Answered | Absent | Failed


class Line:
    """Carries out what is to be asked. `end` may be called from any thread, the rest from one."""

    def __init__(
        self, *, issuer: str, reach: Reach, timeout: float, max_bytes: int, max_entries: int
    ) -> None:
        self._issuer = issuer
        self._reach = reach
        self._timeout = timeout
        self._max_bytes = max_bytes
        self._max_entries = max_entries
        self._nudge = threading.Event()
        self._process = os.getpid()
        self._http: Getter | None = None
        self.ended = False

    def rest(self, seconds: float) -> None:
        """Wait for so long, or for a nudge."""
        self._nudge.wait(seconds)
        self._nudge.clear()

    def nudge(self) -> None:
        """Let a rest end."""
        self._nudge.set()

    def end(self) -> None:
        """Ask no more, and let an exchange under way fail."""
        # A forked child shares the parent's connections, and must not end the parent's exchange.
        if self._process == os.getpid():
            self.ended = True
            self._nudge.set()
            if isinstance(http := self._http, Http):
                http.interrupt()

    def close(self) -> None:
        """Close the connections, once nothing is asked any more."""
        if isinstance(self._http, Http):
            self._http.close()
        self._http = None

    def carry_out(self, ask: Ask) -> Outcome:
        """Ask, within one deadline for the metadata and the feed."""
        try:
            outcome = self._carry_out(ask)
        except ConfigurationError:
            outcome = Failed("ca_file_unusable")
        if isinstance(outcome, Failed):
            # The next try opens connections anew, by a file of authorities that may be another.
            self.close()
        return outcome

    def _carry_out(self, ask: Ask) -> Outcome:
        if self._http is None:
            self._http = self._reach.open(timeout=self._timeout, max_bytes=self._max_bytes)
        deadline = time.monotonic() + self._timeout
        url, found = ask.url, None
        if ask.discover:
            try:
                metadata = discovery.fetch(self._http, issuer=self._issuer, deadline=deadline)
            except (HttpFailed, discovery.MetadataInvalid) as error:
                if url is None:
                    return Failed(error.code)
            else:
                # Metadata that offer it no more switch nothing off.
                found = metadata.revocations_endpoint
                url = found or url
        if url is None:
            return Absent()
        try:
            response = self._http.get(
                _with_query(url, ask), {"accept": "application/json"}, deadline=deadline + ask.wait
            )
            if response.status == _OK:
                return Answered(url, parse(response.body, max_entries=self._max_entries))
        except HttpFailed as error:
            return Failed(error.code, found)
        except FeedInvalid:
            return Failed("revocations_invalid", found)
        return Failed("status_unexpected", found, _retry_after(response))


def _with_query(url: str, ask: Ask) -> str:
    parameters = {"epoch": ask.epoch, "after": ask.after, "wait": ask.wait}
    query = urlencode({name: value for name, value in parameters.items() if value})
    if not query:
        return url
    return f"{url}{'&' if '?' in url else '?'}{query}"


def _retry_after(response: Response) -> float:
    named = response.headers.get("retry-after", "")
    digits = named.isascii() and named.isdigit() and len(named) <= _LONGEST_DIGITS
    return float(named) if digits and response.status in _BUSY else 0.0
