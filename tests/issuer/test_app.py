from __future__ import annotations

from typing import Any

import anyio
import pytest
from issuer.fixtures_minting import ISSUER, Keeper, snapshot, talking

from ephemera_client import SingleProcessReplayCache
from ephemera_issuer.app import create_app

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    "path",
    ["/", "/oauth2", "/oauth2/token/", "/oauth2//token", "/OAUTH2/TOKEN", "/metrics", "/readyz/"],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_path_that_is_not_there_is_404_in_json_and_never_a_redirect(
    path: str, method: str
) -> None:
    async with talking() as client:
        answer = await client.request(method, path)
    assert answer.status_code == 404
    assert answer.headers["cache-control"] == "no-store"
    assert answer.json()["error"] == "invalid_request"


async def test_a_websocket_is_refused() -> None:
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "websocket", "path": "/oauth2/token", "headers": []}
    await create_app(Keeper(), issuer=ISSUER, ledger=SingleProcessReplayCache())(
        scope, receive, send
    )
    assert [message["type"] for message in sent] == ["websocket.close"]


class RunningKeeper(Keeper):
    def __init__(self) -> None:
        super().__init__(None)
        self.events: list[str] = []

    async def run(self) -> None:
        self.events.append("running")
        self.current = snapshot()
        try:
            await anyio.sleep_forever()
        finally:
            self.events.append("stopped")


async def test_the_keeper_runs_while_the_application_lives() -> None:
    keeper = RunningKeeper()
    app = create_app(keeper, issuer=ISSUER, ledger=SingleProcessReplayCache())
    async with app.router.lifespan_context(app):
        await anyio.wait_all_tasks_blocked()
        assert keeper.events == ["running"]
        assert keeper.current is not None
    assert keeper.events == ["running", "stopped"]
