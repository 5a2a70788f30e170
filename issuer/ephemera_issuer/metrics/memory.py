"""Counts in memory that processes share: each writes a region of its own, and any reads them all.

A region is a header and then series, one behind the other, each a word with the lengths of the
rest, a key (the family's name and the labels) and its numbers. A series is found once and from
then on is an index: to count is to add to a number in place. The end of what is used is written
last, so whoever reads never sees half a series; a worker that takes the place of a dead one goes
on where that one was.
"""

from __future__ import annotations

import mmap
import os
import threading
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Final, NamedTuple

from ephemera_client.instant import Instant
from ephemera_issuer.metrics.families import (
    FAMILIES,
    LONGEST,
    OF_REGISTRY,
    OTHER,
    WORKER_DEATHS,
    Family,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ephemera_issuer.snapshot import Snapshot

_WORD: Final = 8
_END, _PID, _WALL, _MONOTONIC, _HEADER = range(5)
_SEPARATOR: Final = "\0"
_MOST_OTHERS: Final = 64
"""Series of one family in which `OTHER` stands for what the registry brings."""


def _words(size: int) -> int:
    return -(-size // _WORD)


def _longest(family: Family) -> int:
    key = len(family.name) + sum(1 + LONGEST[label] for label in family.labels)
    return 1 + _words(key) + family.cells


WORDS: Final = _HEADER + sum((family.most + _MOST_OTHERS) * _longest(family) for family in FAMILIES)
"""Words of a region: room for all that families allow. What is not used takes no memory."""


class _Region:
    """The region of one process, to be read by any."""

    def __init__(self, region: memoryview) -> None:
        self._bytes = region
        self._words = region.cast("Q")
        self.cells = region.cast("d")

    @property
    def alive(self) -> bool:
        """Whether the worker is there."""
        return self._words[_PID] != 0

    @property
    def confirmed_at(self) -> Instant | None:
        """What was noted last; None if nothing was."""
        noted = Instant(self.cells[_WALL], self.cells[_MONOTONIC])
        return noted if noted.wall else None

    def read(self) -> Iterator[tuple[tuple[str, ...], list[float]]]:
        """Read every series: the family's name and labels, and its numbers."""
        for key, index, count in self._series():
            yield key, [*self.cells[index : index + count]]

    def _series(self) -> Iterator[tuple[tuple[str, ...], int, int]]:
        at, end = _HEADER, self._words[_END]
        while at < end:
            size, count = divmod(self._words[at], 1 << 32)
            key = bytes(self._bytes[(at + 1) * _WORD : (at + 1) * _WORD + size])
            index = at + 1 + _words(size)
            yield tuple(key.decode().split(_SEPARATOR)), index, count
            at = index + count


class Tally(_Region):
    """The region of this process.

    `cells` are its numbers, for whoever knows the index of one to add to, in one thread.
    """

    def __init__(self, region: memoryview) -> None:
        super().__init__(region)
        self._finding = threading.Lock()
        self._known: dict[tuple[str, ...], int] = {}
        self._sizes: Counter[str] = Counter()
        for key, index, _ in self._series():
            self._known[key] = index
            self._sizes[key[0]] += 1

    def index(self, family: Family, *labels: str) -> int:
        """Find where the numbers of a series begin; from now on it is there, with zeros at first.

        Where the family has as many series as it may, it is the one whose clients and audiences
        are `OTHER`.
        """
        with self._finding:
            key = (family.name, *labels)
            found = self._known.get(key)
            if found is None and self._sizes[family.name] >= family.most:
                key = (family.name, *_others(family, labels))
                found = self._known.get(key)
            return self._add(family, key) if found is None else found

    def begin(self) -> None:
        """Say that this process is the worker whose region it is."""
        self._words[_PID] = os.getpid()

    def end(self) -> None:
        """Say that it is gone."""
        self._words[_PID] = 0
        self.cells[_WALL] = self.cells[_MONOTONIC] = 0.0

    def note(self, snapshot: Snapshot) -> None:
        """Say when the database last confirmed what this worker answers from."""
        self.cells[_WALL], self.cells[_MONOTONIC] = snapshot.confirmed_at

    def _add(self, family: Family, key: tuple[str, ...]) -> int:
        written = _SEPARATOR.join(key).encode()
        at = self._words[_END]
        index = at + 1 + _words(len(written))
        self._bytes[(at + 1) * _WORD : (at + 1) * _WORD + len(written)] = written
        self._words[at] = (len(written) << 32) + family.cells
        self._words[_END] = index + family.cells
        self._known[key] = index
        self._sizes[family.name] += 1
        return index


class Totals(NamedTuple):
    """What all processes have counted together.

    `series` is by family and labels. `oldest` is the earliest moment at which a living worker's
    snapshot was confirmed; None if one has none yet.
    """

    series: Mapping[str, Mapping[tuple[str, ...], list[float]]]
    workers: int
    alive: int
    oldest: Instant | None


class Tallies:
    """The regions of an issuer's workers, and one of the process that has forked them.

    To be made before the fork.
    """

    def __init__(self, workers: int) -> None:
        size = WORDS * _WORD
        memory = memoryview(mmap.mmap(-1, (workers + 1) * size))
        self._regions = [
            memory[number * size : (number + 1) * size] for number in range(workers + 1)
        ]
        for region in self._regions:
            region.cast("Q")[_END] = _HEADER
        Tally(self._regions[-1]).index(WORKER_DEATHS)
        self.workers = workers

    def of_worker(self, number: int) -> Tally:
        """Open the region of a worker, from 0; only one process at a time may write to it."""
        return Tally(self._regions[number])

    def note_death(self, number: int) -> None:
        """Count a worker that died; for the process that has forked it."""
        self.of_worker(number).end()
        tally = Tally(self._regions[-1])
        tally.cells[tally.index(WORKER_DEATHS)] += 1

    def read(self) -> Totals:
        """Add up what all have counted so far, the dead included."""
        series: defaultdict[str, dict[tuple[str, ...], list[float]]] = defaultdict(dict)
        regions = [_Region(region) for region in self._regions]
        for region in regions:
            for (family, *labels), cells in region.read():
                known = series[family].get(tuple(labels))
                summed = (
                    cells if known is None else [a + b for a, b in zip(known, cells, strict=True)]
                )
                series[family][tuple(labels)] = summed
        alive = [region for region in regions[: self.workers] if region.alive]
        moments = [region.confirmed_at for region in alive]
        noted = [moment for moment in moments if moment is not None]
        return Totals(
            series=series,
            workers=self.workers,
            alive=len(alive),
            oldest=min(noted, default=None) if len(noted) == len(moments) else None,
        )


def _others(family: Family, labels: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(
        OTHER if name in OF_REGISTRY else value
        for name, value in zip(family.labels, labels, strict=True)
    )
