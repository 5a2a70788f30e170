"""docs/token.md names each number of the key sets, with the default that it has."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

from ephemera_client import RemoteKeys

PAGE = Path(__file__).parents[2] / "docs" / "token.md"


def test_the_table_of_numbers_is_the_one_in_the_code() -> None:
    defaults = {
        name: parameter.default
        for name, parameter in inspect.signature(RemoteKeys).parameters.items()
        if type(parameter.default) in {int, float}
    }
    table = re.findall(r"^\| `(\w+)` \| (\d+) \|", PAGE.read_text(), re.MULTILINE)
    assert {name: int(number) for name, number in table} == defaults
    assert len(table) == 11
