"""Each example is run by a test."""

from __future__ import annotations

import ast
from pathlib import Path

from examples.fixtures_examples import EXAMPLES


def test_each_example_is_run_by_a_test() -> None:
    named = {
        node.value
        for test in Path(__file__).parent.glob("test_*.py")
        for node in ast.walk(ast.parse(test.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    files = [file for file in EXAMPLES.iterdir() if file.is_file()]
    assert files
    assert [file.name for file in files if not {file.name, file.stem} & named] == []
