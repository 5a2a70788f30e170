"""docs/errors.md has a section for each code, and none for a code that is no more."""

from __future__ import annotations

import re
from pathlib import Path

from ephemera_client import errors

PAGE = Path(__file__).parents[2] / "docs" / "errors.md"


def tree(root: type[errors.EphemeraError]) -> set[type[errors.EphemeraError]]:
    return {root}.union(*(tree(child) for child in root.__subclasses__()))


def test_each_code_has_a_section_of_the_errors_page_and_each_section_a_code() -> None:
    codes = {error.code for error in tree(errors.EphemeraError)}
    sections = re.findall(r"^### `(\w+)`$", PAGE.read_text(), re.MULTILINE)
    assert sorted(sections) == sorted(codes)


def test_each_class_has_a_code_of_its_own() -> None:
    classes = tree(errors.EphemeraError)
    assert len({error.code for error in classes}) == len(classes)


def test_the_tree_drawn_in_the_module_is_the_tree_that_exists() -> None:
    drawn = re.findall(r"^[│├└─ ]*([A-Z]\w+)", errors.__doc__ or "", re.MULTILINE)
    assert {name for name in drawn if hasattr(errors, name)} == {
        error.__name__ for error in tree(errors.EphemeraError)
    }
