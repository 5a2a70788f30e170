"""Reading an audit, wherever it is kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ephemera_issuer.audit.chain import Head


class Placed(NamedTuple):
    """A line with its end, if it has one, and where it is."""

    where: str
    text: bytes


class Source(Protocol):
    """Streams of lines, each of them a chain."""

    def streams(self) -> list[str]:
        """Name the streams, in order."""
        ...

    def head(self, stream: str) -> Head:
        """Say where a stream ends, going by its last whole line."""
        ...

    def lines(self, stream: str, *, after: int = 0) -> Iterator[Placed]:
        """Read a stream; lines up to the one numbered `after` may be left out."""
        ...
