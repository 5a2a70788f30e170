"""The lines on which the tables and keys of a TOML file stand, which `tomllib` does not tell."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_COMMENT_OR_STRING = re.compile(
    r'#[^\n]*|"""(?:\\.|[^\\])*?"{3,5}|\'\'\'.*?\'{3,5}|"(?:\\.|[^"\\\n])*"|\'[^\'\n]*\'', re.DOTALL
)
_VISIBLE = re.compile(r"[^\n]")
_HEADER = re.compile(r"\s*\[\[?\s*([A-Za-z0-9_-]+)\s*\]")
_KEY = re.compile(r"\s*([A-Za-z0-9_-]+)\s*[=.]")


def locate(text: str) -> Mapping[tuple[str, int], Mapping[str, int]]:
    """Find the lines in a text that `tomllib` accepts.

    The nth table of an array `[[name]]` is at (name, n), counted from 0, the keys before any table
    at ("", 0). In each, a key's name leads to its line, and the empty name to the header's.
    Tables that are written inline, and quoted keys, are not found.
    """
    # What stands in comments and strings could look like a header.
    masked = _COMMENT_OR_STRING.sub(lambda match: _VISIBLE.sub("_", match[0]), text)
    table: dict[str, int] = {}
    tables = {("", 0): table}
    count: dict[str, int] = {}
    for number, line in enumerate(masked.split("\n"), start=1):
        if header := _HEADER.match(line):
            name = header[1]
            table = tables[name, count.get(name, 0)] = {"": number}
            count[name] = count.get(name, 0) + 1
        elif key := _KEY.match(line):
            table.setdefault(key[1], number)
    return tables
