"""Finding records: by client, audience, token, kind and time."""

from __future__ import annotations

import heapq
import json
from typing import TYPE_CHECKING, Any, NamedTuple

from ephemera_issuer.audit import chain

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ephemera_issuer.audit.source import Source

_NO_DATE = 0.0


class Found(NamedTuple):
    """A record as it was read; by itself it proves nothing, as `verify` does."""

    at: float
    stream: str
    sequence: int
    members: dict[str, Any]


class Wanted(NamedTuple):
    """What to look for: all of what is named. `jti` is the digest of one."""

    client: str | None = None
    audience: str | None = None
    jti: str | None = None
    kind: str | None = None
    since: float | None = None
    until: float | None = None

    def matches(self, found: Found) -> bool:
        """Whether a record is one of those."""
        members = found.members
        return (
            (self.client is None or self.client in _named(members, "client"))
            and (self.audience is None or self.audience in _named(members, "audience"))
            and (self.jti is None or self.jti in members.get("jti", ()))
            and self.kind in {None, members.get("kind")}
            and (self.since is None or found.at >= self.since)
            and (self.until is None or found.at < self.until)
        )


def records(source: Source, stream: str, *, after: int = 0) -> Iterator[Found]:
    """Read the records of a stream after the one numbered `after`; what is none is passed over."""
    for placed in source.lines(stream, after=after):
        line = chain.parse(placed.text.removesuffix(b"\n"))
        if line is None or line.head.sequence <= after or not placed.text.endswith(b"\n"):
            continue
        try:
            members = json.loads(b"{" + line.body)
            at = float(members.get("at", _NO_DATE))
        except (ValueError, TypeError):
            continue
        yield Found(at, stream, line.head.sequence, members)


def search(source: Source, wanted: Wanted) -> Iterator[Found]:
    """Find records of all streams, by their time."""
    for found in _together(source, dict.fromkeys(source.streams(), 0)):
        if wanted.matches(found):
            yield found


class Tail:
    """The last records, and then those that come."""

    def __init__(self, source: Source, number: int) -> None:
        self._source = source
        self._after = {
            stream: max(source.head(stream).sequence - number, 0) for stream in source.streams()
        }
        self._first: int | None = number

    def more(self) -> list[Found]:
        """Read what has come since the last time, or at first the last records."""
        for stream in self._source.streams():
            self._after.setdefault(stream, 0)
        found = list(_together(self._source, self._after))
        for each in found:
            self._after[each.stream] = max(self._after[each.stream], each.sequence)
        number, self._first = self._first, None
        return found if number is None else found[len(found) - min(number, len(found)) :]


def _together(source: Source, after: dict[str, int]) -> Iterator[Found]:
    return heapq.merge(
        *(records(source, stream, after=number) for stream, number in after.items()),
        key=lambda found: found.at,
    )


def _named(members: dict[str, Any], what: str) -> set[object]:
    """Who is meant by a record: also where a registry entry is what was changed."""
    names = {members.get(what)}
    if members.get("entry") == what:
        names.add(members.get("id"))
    return names
