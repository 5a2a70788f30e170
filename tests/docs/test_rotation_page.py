"""docs/rotation.md: its commands, and its numbers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from docs.pages import ROOT, blocks
from docs.running import shell
from system.running import Issuer, run_issuer

from ephemera_issuer.schedule import SETTLE
from ephemera_keys.ring import MINIMUM_PUBLICATION, RETENTION

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PAGE = "docs/rotation.md"
DRY_RUN, REVOKE = blocks(PAGE, "sh")


@pytest.fixture
def issuer(tmp_path: Path) -> Iterator[Issuer]:
    with run_issuer(tmp_path) as running:
        yield running


def keys(issuer: Issuer) -> dict[str, str]:
    listed = json.loads(issuer.command("keys", "list", "--json").stdout)["keys"]
    return {key["kid"]: key["state"] for key in listed}


def test_the_commands_of_the_page_do_what_it_says(issuer: Issuer, tmp_path: Path) -> None:
    environment = issuer.environment | {"EPHEMERA_ISSUER": issuer.url}
    before = keys(issuer)
    (active,) = [kid for kid, state in before.items() if state == "active"]
    (pending,) = [kid for kid, state in before.items() if state == "pending"]
    status, said, errors = shell(DRY_RUN, tmp_path, environment)
    assert status == 0, errors
    assert f"lack {pending}" in said
    assert keys(issuer) == before
    status, said, errors = shell(REVOKE.replace("KID", active), tmp_path, environment)
    assert status == 0, errors
    assert keys(issuer)[active] == "revoked"
    assert keys(issuer)[pending] == "active"


def test_the_numbers_of_the_page_are_those_of_the_code() -> None:
    page = (ROOT / PAGE).read_text()
    assert f"no earlier than {MINIMUM_PUBLICATION // 60} minutes" in page
    assert f"stays published for {RETENTION} s" in page
    assert f"removes nothing for {SETTLE:.0f} s" in page
