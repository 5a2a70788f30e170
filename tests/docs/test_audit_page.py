"""docs/audit.md: its commands, and its numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
from docs.pages import ROOT, blocks
from docs.running import shell
from system.running import run_issuer

from ephemera_issuer.audit import files, record, writer

if TYPE_CHECKING:
    from pathlib import Path

PAGE = "docs/audit.md"
LOOKING, ANCHORED = blocks(PAGE, "sh")


def test_the_commands_of_the_page_look_at_what_happened_and_verify_it(tmp_path: Path) -> None:
    settings = {"EPHEMERA_AUDIT": f"file:{tmp_path / 'audit'}"}
    with run_issuer(tmp_path, settings=settings) as issuer:
        form = {"grant_type": "client_credentials", "resource": "https://billing.internal"}
        answer = httpx.post(
            f"{issuer.url}/oauth2/token",
            data=form,
            auth=("orders", issuer.client_secret),
            trust_env=False,
        )
        assert answer.status_code == 200
        assert issuer.service.stop() == 0
    status, said, errors = shell(LOOKING, tmp_path, issuer.environment)
    assert status == 0, errors
    assert "  minted  client=orders audience=https://billing.internal " in said
    assert '"kind":"registry"' in said
    assert "records: whole" in said
    status, said, errors = shell(ANCHORED, tmp_path, issuer.environment)
    assert status == 0, errors
    assert "records: whole" in said


def test_the_numbers_and_kinds_of_the_page_are_those_of_the_code() -> None:
    page = (ROOT / PAGE).read_text()
    assert f"until {writer.MOST_WAITING:,} tokens wait" in page
    assert f"for {writer.PATIENCE:.0f} s at most" in page
    assert f"about {writer._GATHER * 1000:.0f} ms" in page
    assert f"segments of {files.SEGMENT >> 20} MB" in page
    for kind in record.KINDS:
        assert f"`{kind}`" in page
