"""The chain: each line carries a digest of itself and of all lines before it; pure.

A line is a JSON object whose first two members are its number in the stream, from 1, and the
digest: SHA-256 over the digest of the line before it (32 zero bytes before the first) and the line
without its digest. The very bytes are digested, so there is nothing that can be written in two
ways.
"""

from __future__ import annotations

import re
from binascii import hexlify
from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

_LINE = re.compile(rb'\{"sequence":([1-9][0-9]{0,18}),"chain":"([0-9a-f]{64})",("[^\n]*\})')


class Head(NamedTuple):
    """Where a chain ends: the number of its last line, and that line's digest."""

    sequence: int
    digest: bytes


BEGINNING = Head(0, bytes(32))
"""The head of a chain that has no line yet."""


class Line(NamedTuple):
    """A line taken apart: its place, and the rest of it as it was digested."""

    head: Head
    body: bytes

    def follows(self, before: Head) -> bool:
        """Whether it is the line after `before`, and unchanged."""
        return self.head == link(before, [b"{" + self.body])[1]


def link(head: Head, bodies: Iterable[bytes]) -> tuple[list[bytes], Head]:
    """Make the lines that follow `head`, without line ends, and say where the chain ends then.

    A body is a JSON object of at least one member, in ASCII, on one line, and with nothing before
    its first quotation mark but the brace.
    """
    # For every mint: so without a call for each.
    sequence, digest = head
    lines = []
    for body in bodies:
        rest = body[1:]
        sequence += 1
        digest = sha256(b'%b{"sequence":%d,%b' % (digest, sequence, rest)).digest()
        lines.append(b'{"sequence":%d,"chain":"%b",%b' % (sequence, hexlify(digest), rest))
    return lines, Head(sequence, digest)


def parse(line: bytes) -> Line | None:
    """Take a line apart, given without its end; None where it has not the form of one."""
    found = _LINE.fullmatch(line)
    if found is None:
        return None
    return Line(Head(int(found[1]), bytes.fromhex(found[2].decode())), found[3])
