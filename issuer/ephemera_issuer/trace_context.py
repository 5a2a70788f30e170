"""Which trace a request belongs to: the caller's `traceparent`, or one that begins here.

W3C Trace Context level 1. What does not follow it to the letter counts as absent: an id from
outside ends in logs, so it is 32 hexadecimal digits or it is ours.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

    from starlette.types import Scope

_TRACEPARENT: Final = re.compile(
    rb"(?P<version>(?!ff)[0-9a-f]{2})-(?P<trace>(?!0{32})[0-9a-f]{32})"
    rb"-(?P<parent>(?!0{16})[0-9a-f]{16})-(?P<flags>[0-9a-f]{2})(?P<more>-.*)?"
)
_SAMPLED: Final = 1
_KEY: Final = "ephemera.tracing"


class Trace(NamedTuple):
    """A trace, by which the records of several services about one request are found.

    `trace_id` is 32 hexadecimal digits. `parent_id` is the caller's span, None where the trace
    begins here, and `sampled` whether the caller records it; what a caller says may be made up.
    """

    trace_id: str
    parent_id: str | None
    sampled: bool


class Tracing:
    """The trace of one request, found or begun when somebody asks for it first."""

    __slots__ = ("_headers", "found")

    def __init__(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        self._headers = headers
        self.found: Trace | None = None

    def trace(self) -> Trace:
        """Return it, the same whenever it is asked for."""
        if self.found is None:
            self.found = parse(self._headers) or Trace(os.urandom(16).hex(), None, False)
        return self.found

    def known(self) -> Trace | None:
        """Return it if anybody knows it: the caller, or who asked before."""
        if self.found is None:
            self.found = parse(self._headers)
        return self.found


def tracing(scope: Scope) -> Tracing:
    """Return what knows the trace of a request; nothing is looked for yet."""
    known: Tracing | None = scope.get(_KEY)
    if known is None:
        known = scope[_KEY] = Tracing(scope["headers"])
    return known


def trace(scope: Scope) -> Trace:
    """Return the trace of a request, the same whenever it is asked for."""
    return tracing(scope).trace()


def parse(headers: Iterable[tuple[bytes, bytes]]) -> Trace | None:
    """Read the `traceparent` among headers; None where there is none, or anything else than one.

    A later version than 00 is read as far as it is known, as the standard asks.
    """
    found = [value for name, value in headers if name == b"traceparent"]
    read = _TRACEPARENT.fullmatch(found[0]) if len(found) == 1 else None
    if read is None or (read["version"] == b"00" and read["more"] is not None):
        return None
    sampled = bool(int(read["flags"], 16) & _SAMPLED)
    return Trace(read["trace"].decode(), read["parent"].decode(), sampled)
