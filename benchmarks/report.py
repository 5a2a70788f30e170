"""What a part of the benchmarks has found: tables to read, ratios for the musts, bars to draw."""

import platform
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from benchmarks.rounds import Spread


class Effort(NamedTuple):
    """How long to measure: `small` sizes show that everything runs, and no more."""

    rounds: int
    small: bool

    def size(self, full: int, small: int) -> int:
        """Choose a size."""
        return small if self.small else full


class Bar(NamedTuple):
    """One bar of the chart; `ours` stands out."""

    label: str
    ratio: float
    ours: bool


class Part(NamedTuple):
    """What one part has found.

    `tables` are Markdown by the name of the place in the page that they go to, `ratios` what the
    musts are about, by their keys, and `bars` what the panel of the chart called `panel` shows.
    """

    tables: Mapping[str, str]
    ratios: Mapping[str, Spread] = {}
    panel: str = ""
    bars: Sequence[Bar] = ()


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Write a table in Markdown, numbers to the right of their names."""
    lines = [columns, ["---", *["---:"] * (len(columns) - 1)], *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def machine() -> str:
    """Say what was measured on."""
    return f"{_processor()}, Python {platform.python_version()}"


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:  # noqa: PTH123 - no file to keep
            names = [
                line.partition(":")[2].strip() for line in lines if line.startswith("model name")
            ]
    except OSError:
        names = []
    return f"{len(names)} cores of {names[0]}" if names else platform.machine()
