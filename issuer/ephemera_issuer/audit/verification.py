"""Whether an audit is what was written: no line changed, removed, added or moved.

What a chain shows of itself is that each line follows the one before. That its end is still there,
or that nobody has written it anew, only a head can show that was noted earlier: an anchor. There
are anchors in the audit itself, as each stream notes where the others end; those that are kept
elsewhere show the rest.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

from ephemera_issuer.audit import chain
from ephemera_issuer.audit.chain import BEGINNING, Head
from ephemera_issuer.errors import AuditUnusable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ephemera_issuer.audit.source import Placed, Source

_MOST_PROBLEMS = 20
"""Of each stream, so many are told; the first is what matters."""


class Anchor(NamedTuple):
    """That a stream once ended here; `seen` says who tells."""

    stream: str
    head: Head
    seen: str


class Verified(NamedTuple):
    """What was found of one stream: its end, how many lines it has, and what is wrong with it.

    `incomplete` tells that after the last line there is the beginning of another one: one that is
    being written, or that its writer was killed in.
    """

    stream: str
    head: Head
    lines: int
    anchors: int
    problems: tuple[str, ...]
    incomplete: bool


def verify(source: Source, anchors: Iterable[Anchor] = ()) -> list[Verified]:
    """Read everything, and hold it against itself and against the anchors."""
    streams = source.streams()
    known = [*anchors, *(each for stream in streams for each in _noted(source, stream))]
    missing = sorted({anchor.stream for anchor in known} - set(streams))
    return [
        _verify(stream, source.lines(stream), [each for each in known if each.stream == stream])
        for stream in streams
    ] + [
        _verify(stream, [], [each for each in known if each.stream == stream]) for stream in missing
    ]


def write_anchor(stream: str, head: Head) -> str:
    """Write a head as a line of text, to be kept elsewhere."""
    return f"{stream} {head.sequence} {head.digest.hex()}"


def read_anchors(text: str, *, seen: str) -> list[Anchor]:
    """Read what `write_anchor` has written, a line for each.

    Raises:
        AuditUnusable: A line is something else.
    """
    anchors = []
    for number, line in enumerate(text.splitlines(), 1):
        stream, sequence, digest = [*line.split(), "", "", ""][:3]
        try:
            head = Head(int(sequence), bytes.fromhex(digest))
        except ValueError:
            head = BEGINNING
        if head.sequence < 1 or len(head.digest) != len(BEGINNING.digest):
            raise AuditUnusable(
                f"{seen}: line {number} is no head as `ephemera audit head` prints it"
            )
        anchors.append(Anchor(stream, head, seen))
    return anchors


def _noted(source: Source, stream: str) -> Iterator[Anchor]:
    """What this stream tells of the others."""
    for placed in source.lines(stream):
        line = chain.parse(placed.text.removesuffix(b"\n"))
        if line is None or b'"others":' not in line.body:
            continue
        try:
            told = json.loads(b"{" + line.body)
            heads = told["others"] if told["kind"] == "opened" else {}
            for other, (sequence, digest) in heads.items():
                head = Head(int(sequence), bytes.fromhex(digest))
                yield Anchor(str(other), head, f"record {line.head.sequence} of {stream}")
        except (ValueError, TypeError, KeyError, AttributeError):
            continue  # changed: its own chain tells


def _verify(stream: str, lines: Iterable[Placed], anchors: list[Anchor]) -> Verified:
    walk = _Walk(anchors)
    for placed in lines:
        walk.take(placed)
    return walk.end(stream)


class _Walk:
    """One stream from its beginning to its end."""

    def __init__(self, anchors: list[Anchor]) -> None:
        self._anchors: dict[int, list[Anchor]] = {}
        for anchor in anchors:
            self._anchors.setdefault(anchor.head.sequence, []).append(anchor)
        self._head = BEGINNING
        self._lines = 0
        self._torn = ""
        self._problems: list[str] = []
        self._more = 0

    def take(self, placed: Placed) -> None:
        """Look at the next line."""
        where, text = placed
        if self._torn:
            self._complain(f"{self._torn}: is no whole record")
            self._torn = ""
        if not text.endswith(b"\n"):
            self._torn = where
            return
        line = chain.parse(text[:-1])
        if line is None:
            self._complain(f"{where}: is no record")
            return
        self._lines += 1
        if self._lines == 1:
            # Whoever removed the beginning may have kept its end.
            vouched = self._anchors.get(line.head.sequence - 1)
            self._head = vouched[0].head if vouched else BEGINNING
        if not line.follows(self._head):
            self._complain(f"{where}: {self._wrong(line.head)}")
        self._head = line.head
        for anchor in self._anchors.get(line.head.sequence, ()):
            if anchor.head != line.head:
                self._complain(
                    f"{where}: record {line.head.sequence} is not the one that {anchor.seen} has "
                    "seen: it was written anew, or one before it"
                )

    def end(self, stream: str) -> Verified:
        """Look whether anything comes after the last line, and tell what was found."""
        last = max(self._anchors, default=0)
        if last > self._head.sequence:
            seen = self._anchors[last][0].seen
            self._complain(
                f"{stream}: ends with record {self._head.sequence}, and {seen} has seen record "
                f"{last}: what came after was removed"
                if self._lines
                else f"{stream}: is gone, and {seen} has seen {last} records of it"
            )
        more = [f"{stream}: and {self._more} more"] if self._more else []
        return Verified(
            stream,
            self._head,
            self._lines,
            sum(map(len, self._anchors.values())),
            (*self._problems, *more),
            bool(self._torn),
        )

    def _complain(self, sentence: str) -> None:
        if len(self._problems) < _MOST_PROBLEMS:
            self._problems.append(sentence)
        else:
            self._more += 1

    def _wrong(self, found: Head) -> str:
        last, sequence = self._head.sequence, found.sequence
        if self._lines == 1 and sequence > 1 and not last:
            return (
                f"begins with record {sequence}: what came before was removed, and no anchor has "
                f"seen record {sequence - 1}"
            )
        if sequence == last + 1:
            return f"record {sequence} was changed, or does not belong after the one before it"
        if sequence > last:
            return f"records {last + 1} to {sequence - 1} are missing"
        return f"record {sequence} comes after record {last}"
