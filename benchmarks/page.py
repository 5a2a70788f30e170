"""The page that the tables go to: what stands between two markers is written by a run."""

import re
from collections.abc import Mapping


class PlaceMissing(Exception):
    """The page has no place of this name."""


def filled(page: str, tables: Mapping[str, str]) -> str:
    """Return the page with these tables in their places; all else stays as it is.

    Raises:
        PlaceMissing: there is a table without a place.
    """
    for name, text in tables.items():
        begin, end = marks(name)
        place = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
        page, found = place.subn(lambda _, new=f"{begin}\n{text}\n{end}": new, page)  # type: ignore[misc]
        if found != 1:
            raise PlaceMissing(f"the page has {found} places for {name}")
    return page


def marks(name: str) -> tuple[str, str]:
    """Return the lines that begin and end a place."""
    return f"<!-- {name}: written by make bench -->", f"<!-- end of {name} -->"
