"""docs/testing.md: the page's tests of an API and of its caller pass, and are tests."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from docs.pages import blocks

from ephemera_client.testing import REFUSALS

if TYPE_CHECKING:
    from pathlib import Path

PAGE = "docs/testing.md"
API, *TESTS = blocks(PAGE, "python")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where a reader of the page works."""
    (tmp_path / "billing.py").write_text(API)
    (tmp_path / "test_billing.py").write_text("\n\n".join(TESTS))
    return tmp_path


def run_tests(folder: Path) -> tuple[int, str]:
    plugins = ["-p", "anyio.pytest_plugin", "-p", "ephemera_client.testing"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-W", "error", "-q", *plugins, "-p", "no:cacheprovider"],
        cwd=folder,
        env=dict(os.environ) | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def test_the_tests_of_the_page_pass(folder: Path) -> None:
    status, said = run_tests(folder)
    assert status == 0, said
    ones = "".join(TESTS).count("def test_") - 1
    assert f"{ones + len(REFUSALS)} passed" in said


def test_the_tests_of_the_page_notice_an_api_that_lets_everybody_in(folder: Path) -> None:
    guarded = (folder / "billing.py").read_text()
    guard = '    app.add_middleware(RequireToken, verifier=verifier, scopes={"invoices:read"})\n'
    assert guard in guarded
    open_to_all = guarded.replace(guard, "").replace("access_token(request.scope).client_id", "1")
    (folder / "billing.py").write_text(open_to_all)
    status, said = run_tests(folder)
    assert status == 1
    assert said.count("FAILED test_billing.py::test_bad_tokens_are_refused") == len(REFUSALS)


def test_an_issuer_for_the_apis_tests_takes_three_lines() -> None:
    _, _, fixture = TESTS[0].partition("\n\n\n")
    assert len(fixture.splitlines()) == 3
