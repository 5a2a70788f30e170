"""docs/admin.md: from the first administrator to the first call, and every operation named."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest
from docs.pages import ROOT, blocks
from docs.running import shell, without_settings

from ephemera_issuer.admin.api import OPERATIONS
from ephemera_issuer.admin.api.openapi import document
from ephemera_issuer.demo.process import Service
from ephemera_issuer.demo.story import REGISTRY

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PAGE = "docs/admin.md"
KEYGEN, APPLY, COMMANDS, CURL = blocks(PAGE, "sh")
(ENTRY,) = blocks(PAGE, "toml")
PRIVATE = re.compile(r"private listener on (http://[0-9.:]+)")


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    inherited = without_settings()
    return inherited | {
        "EPHEMERA_DATABASE_URL": f"sqlite:///{tmp_path / 'ephemera.db'}",
        "EPHEMERA_LISTEN": "127.0.0.1:0",
    }


@pytest.fixture
def issuer(environment: dict[str, str]) -> Iterator[Service]:
    with Service("issuer", ["ephemera_issuer", "serve"], environment=environment) as running:
        yield running


def test_the_first_administrator_makes_the_first_calls(
    tmp_path: Path, environment: dict[str, str], issuer: Service
) -> None:
    (private,) = PRIVATE.findall("".join(issuer.output))

    def types(commands: str) -> str:
        commands = commands.replace("http://127.0.0.1:8701", private)
        commands = commands.replace("http://127.0.0.1:8700", issuer.url)
        where = environment | {"EPHEMERA_ISSUER": issuer.url}
        status, said, errors = shell(commands, tmp_path, where)
        assert status == 0, said + errors
        return said

    types(KEYGEN)
    (tmp_path / "registry.toml").write_text(REGISTRY + ENTRY)
    assert "+ admin ops" in types(APPLY)
    for _ in range(100):  # until the issuer has heard of it
        told = json.loads(types(CURL))
        if "administrator" in told:
            break
    assert told["administrator"] == "ops"
    assert told["issuer"] == issuer.url
    said = types(COMMANDS)
    assert "orders gets a token for https://billing.internal" in said
    assert "orders is disabled\norders is enabled\n" in said
    assert len((tmp_path / "new-secrets" / "orders.secret").read_text()) == 43
    assert "Nothing was changed." in said


def test_the_page_names_every_path_and_every_code() -> None:
    page = (ROOT / PAGE).read_text()
    for path in document(OPERATIONS, issuer="", version="")["paths"]:
        assert f"`{path.replace('/{which}', '/oldest')}`" in page
    source = (ROOT / "issuer/ephemera_issuer/admin/api").glob("*.py")
    codes = set()
    for file in source:
        codes |= set(re.findall(r'\b(?:4\d\d|503)[,:] "(\w+)"', file.read_text()))
    assert {"precondition_failed", "too_large", "unauthenticated", "invalid"} <= codes
    for code in codes:
        assert f"`{code}`" in page, code
