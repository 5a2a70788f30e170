from __future__ import annotations

import pytest
from issuer.fixtures_minting import NOW, Keeper, talking

from ephemera_client.instant import Instant
from ephemera_issuer.ending import Ending

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("keeper", [Keeper(), Keeper(None)], ids=["snapshot", "no snapshot"])
async def test_a_process_that_answers_is_alive(keeper: Keeper) -> None:
    async with talking(keeper) as client:
        answer = await client.get("/healthz")
    assert answer.status_code == 200
    assert answer.json() == {"status": "alive"}
    assert answer.headers["cache-control"] == "no-store"


async def test_a_process_that_can_mint_is_ready() -> None:
    async with talking() as client:
        answer = await client.get("/readyz")
    assert answer.status_code == 200
    assert answer.json() == {"status": "ready"}
    assert answer.headers["cache-control"] == "no-store"


async def test_a_process_that_is_about_to_end_is_not_ready() -> None:
    ending = Ending()
    async with talking(ending=ending) as client:
        assert (await client.get("/readyz")).status_code == 200
        ending.begin()
        assert (await client.get("/readyz")).status_code == 503
        assert (await client.get("/healthz")).status_code == 200


@pytest.mark.parametrize(
    ("keeper", "elapsed"),
    [(Keeper(None), 0), (Keeper(), 31)],
    ids=["no snapshot", "stale snapshot"],
)
async def test_a_process_that_cannot_mint_is_not_ready(keeper: Keeper, elapsed: int) -> None:
    now = Instant(NOW.wall + elapsed, NOW.monotonic + elapsed)
    async with talking(keeper, now=now) as client:
        answer = await client.get("/readyz")
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"
    assert answer.json()["error"] == "temporarily_unavailable"
