"""API processes behind one Redis, to which the same tokens are shown at once."""

import time
from multiprocessing.connection import Connection
from typing import Any

import anyio

from ephemera_client import AsyncVerifier, EphemeraError, RedisReplayCache, StaticKeys
from ephemera_client.instant import read

AUDIENCE = "https://billing.internal"
ISSUER = "https://tokens.internal"
TASKS = 64
PATIENCE = 0.5


def serve(url: str, jwk: dict[str, Any], connection: Connection) -> None:
    """Verify the tokens that come, until None does, and tell which were accepted."""
    anyio.run(_serve, url, jwk, connection)


async def _serve(url: str, jwk: dict[str, Any], connection: Connection) -> None:
    with RedisReplayCache(url) as cache:
        verifier = AsyncVerifier(
            issuer=ISSUER,
            audience=AUDIENCE,
            algorithm="ES256",
            keys=StaticKeys({"keys": [jwk]}),
            replay_cache=cache,
            clock=read,
        )
        await cache.warm_async()
        connection.send("ready")
        while (tokens := connection.recv()) is not None:
            accepted: list[int] = []
            async with anyio.create_task_group() as group:
                numbered = iter(enumerate(tokens))
                for _ in range(TASKS):
                    group.start_soon(_show, verifier, numbered, accepted)
            connection.send(accepted)


async def _show(verifier: AsyncVerifier, numbered: Any, accepted: list[int]) -> None:
    for number, token in numbered:
        give_up_at = time.monotonic() + PATIENCE
        while True:
            try:
                await verifier.verify(token)
            except EphemeraError as error:
                # As a caller would, who is told 503.
                if error.code == "replay_cache_unavailable" and time.monotonic() < give_up_at:
                    await anyio.sleep(0.005)
                    continue
                break
            accepted.append(number)
            break
