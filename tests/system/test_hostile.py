"""Hostile callers of every kind at once do not keep an honest one from its tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

from system.hostile import OF_ADDRESS, endure
from system.running import run_issuer

if TYPE_CHECKING:
    from pathlib import Path

SECONDS = 12
IDLE = 900
ROOM = 600
"""Fewer than there are idle callers: they are pushed out, and come back."""


def test_an_issuer_under_siege_goes_on_minting_and_fails_nobody(tmp_path: Path) -> None:
    settings = {
        "EPHEMERA_MAX_CONNECTIONS": str(ROOM),
        "EPHEMERA_MAX_CONNECTIONS_OF_ADDRESS": str(OF_ADDRESS),
    }
    with run_issuer(tmp_path, settings=settings) as issuer:
        endured = endure(issuer, SECONDS, idle=IDLE)
    assert endured.refused == []
    assert endured.minted > 0
    assert endured.pushed_out <= endured.minted // 20
    assert endured.failures == {}
    assert endured.status == 0
    assert "Traceback" not in endured.output
    assert endured.answers["huge heads"]["400"] > 0
    assert endured.answers["random bytes"]["400"] > 0
    assert endured.answers["idle"]["200"] > ROOM
