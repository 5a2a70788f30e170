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

KEY: Final = "ephemera.trace"
"""Where the trace of a request is in its scope, once somebody has asked for it."""

_TRACEPARENT: Final = re.compile(
    rb"(?P<version>(?!ff)[0-9a-f]{2})-(?P<trace>(?!0{32})[0-9a-f]{32})"
    rb"-(?P<parent>(?!0{16})[0-9a-f]{16})-(?P<flags>[0-9a-f]{2})(?P<more>-.*)?"
)
_SAMPLED: Final = 1


class Trace(NamedTuple):
    """A trace, by which the records of several services about one request are found.

    `trace_id` is 32 hexadecimal digits. `parent_id` is the caller's span, None where the trace
    begins here, and `sampled` whether the caller records it; what a caller says may be made up.
    """

    trace_id: str
    parent_id: str | None
    sampled: bool


def trace(scope: Scope) -> Trace:
    """Return the trace of a request, the same whenever it is asked for."""
    known: Trace | None = scope.get(KEY)
    if known is None:
        known = scope[KEY] = parse(scope["headers"]) or Trace(os.urandom(16).hex(), None, False)
    return known


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
