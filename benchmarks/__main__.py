"""Measure, print the tables, and write them with the chart to the page: `make bench`.

Fails where a must is missed, naming it.
"""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path

from benchmarks import chart, musts, page
from benchmarks.report import Bar, Effort, Part, machine

PARTS = ("verify", "replay", "mint", "start", "growth", "sizes", "call", "dpop", "revocation")
ROUNDS, PANELS = 25, 2


def main() -> int:
    """Do as the command line says; the status to end with."""
    options = _options()
    effort = Effort(1 if options.quick else options.rounds, options.quick)
    parts = []
    for name in options.part or PARTS:
        measure: Callable[[Effort], Part] = import_module(f"benchmarks.{name}").measure
        parts.append(measure(effort))
        print(*parts[-1].tables.values(), sep="\n\n", end="\n\n", flush=True)
    found = {key: ratio for part in parts for key, ratio in part.ratios.items()}
    said = f"Measured on {machine()}; rounds: {effort.rounds}."
    if effort.small:
        said += " In small sizes, which show only that everything runs: the figures mean nothing."
    tables = {"musts": f"{musts.overview(found)}\n\n{said}"}
    print(tables["musts"])
    if options.into is not None:
        # A run of some parts leaves the places of the others as they are.
        written = tables if len(found) == len(musts.MUSTS) else {}
        for part in parts:
            written |= part.tables
        _write(options.into, written, {part.panel: part.bars for part in parts if part.bars})
    missed = musts.missed(found)
    for line in missed:
        print(f"missed: {line}", file=sys.stderr)
    return 1 if missed and not effort.small else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("part", nargs="*", choices=[*PARTS, []], help="all of them by default")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="turns of each variant")
    parser.add_argument(
        "--quick", action="store_true", help="small sizes, which show only that everything runs"
    )
    parser.add_argument("--into", type=Path, metavar="DIR", help="where performance.md is")
    return parser.parse_args()


def _write(folder: Path, tables: Mapping[str, str], panels: Mapping[str, Sequence[Bar]]) -> None:
    file = folder / "performance.md"
    file.write_text(page.filled(file.read_text("utf-8"), tables), "utf-8")
    if len(panels) == PANELS:
        (folder / "performance.svg").write_text(chart.draw(panels), "utf-8")


if __name__ == "__main__":
    sys.exit(main())
