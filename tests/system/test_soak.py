"""Nothing is written to the registry's database for a mint: it stays as it is, to the byte."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from system.soak import soak

if TYPE_CHECKING:
    from pathlib import Path

    from issuer.fixtures_postgresql import PostgresServer

TOKENS = 20_000


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_twenty_thousand_mints_leave_the_database_as_it_was(
    tmp_path: Path, postgres: PostgresServer, kind: str
) -> None:
    url = f"sqlite:///{tmp_path / 'ephemera.db'}" if kind == "sqlite" else postgres.new()
    soaked = soak(url, tmp_path, tokens=TOKENS)
    assert soaked.tokens == TOKENS
    assert soaked.before["audiences, rows"] == 1
    assert soaked.after == soaked.before
