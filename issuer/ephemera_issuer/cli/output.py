"""What commands print: tables for people, JSON documents for programs."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_ENDLESS = 10_000

Json = Annotated[bool, typer.Option("--json", help="Print a JSON document instead of a table.")]


def console() -> Console:
    """Standard output; where it is no terminal, lines are never folded."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else _ENDLESS)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print rows of plain text under a heading."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    console().print(table)


def print_json(document: dict[str, Any]) -> None:
    """Print a document whose members keep their names and meaning from version to version."""
    sys.stdout.write(json.dumps(document, indent=2) + "\n")
