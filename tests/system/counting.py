"""What one verification and one mint execute, counted: the same on every machine, however busy.

usage: PYTHONPATH=tests python -m system.counting
writes the numbers anew, to be looked at and committed.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from client.fixtures_verifying import AUDIENCE, ManualClock, mint, verifier_of
from issuer.fixtures_asserting import HELD, assertion, token_form
from issuer.fixtures_minting import BILLING, ISSUER, NOW, Keeper, basic

from ephemera_client import SingleProcessReplayCache
from ephemera_issuer.app import create_app

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

RECORDED = Path(__file__).with_name("calls.json")
SEVERAL = 50
_CALLS = {"call", "c_call"}


def counts() -> dict[str, int]:
    """How many functions are called, of Python and built in, for each kind of work."""
    return {"verify": _verification()} | _mints()


def recorded() -> dict[str, int]:
    """What it was when it was last looked at."""
    numbers: dict[str, int] = json.loads(RECORDED.read_text())
    return numbers


def counted(work: Callable[[], object]) -> int:
    """How many functions this calls; what watches the tests is not counted."""
    number = 0

    def watch(frame: FrameType, event: str, _argument: object) -> None:
        nonlocal number
        if event in _CALLS and "coverage" not in frame.f_code.co_filename:
            number += 1

    before = sys.getprofile()
    sys.setprofile(watch)
    try:
        work()
    finally:
        sys.setprofile(before)
    return number


def _verification() -> int:
    clock = ManualClock()
    verifier = verifier_of(clock=clock, replay_cache=SingleProcessReplayCache(clock=clock))
    # The first ones fill what is remembered of header and scopes.
    for _ in range(3):
        verifier.verify(mint(scope="invoices:read"), scopes={"invoices:read"})
    token = mint(scope="invoices:read")
    assert verifier.audience == AUDIENCE
    return counted(lambda: verifier.verify(token, scopes={"invoices:read"}))


def _mints() -> dict[str, int]:
    app = create_app(
        Keeper(HELD),
        issuer=ISSUER,
        ledger=SingleProcessReplayCache(clock=lambda: NOW),
        clock=lambda: NOW,
    )
    by_secret = {"grant_type": "client_credentials", "resource": BILLING, "scope": "invoices:read"}

    secret = (b"authorization", basic().encode())
    found: dict[str, int] = {}
    with asyncio.Runner() as runner:

        def one(form: dict[str, str], *headers: tuple[bytes, bytes]) -> int:
            walk = _answered(app, urlencode(form).encode(), headers)
            return counted(lambda: runner.run(walk))

        for _ in range(3):
            found["mint with a client secret"] = one(by_secret, secret)
            found["mint with private_key_jwt"] = one(token_form(assertion()))
            found[f"mint {SEVERAL} tokens"] = one(by_secret | {"count": str(SEVERAL)}, secret)
    return found


async def _answered(app: Any, body: bytes, headers: tuple[tuple[bytes, bytes], ...]) -> None:
    """Ask the application; what the event loop does for that is counted too."""
    statuses: list[int] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        statuses.append(message.get("status", 0))

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/oauth2/token",
        "query_string": b"",
        "headers": [(b"content-type", b"application/x-www-form-urlencoded"), *headers],
        "client": ("127.0.0.1", 1),
    }
    await app(scope, receive, send)
    assert statuses[0] == 200, statuses


if __name__ == "__main__":
    RECORDED.write_text(json.dumps(counts(), indent=2) + "\n")
