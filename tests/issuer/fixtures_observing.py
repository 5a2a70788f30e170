"""The public and the private application of one worker, watched as `serve` watches them."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, NamedTuple

import httpx
from issuer.fixtures_minting import ISSUER, NOW, Keeper
from prometheus_client.parser import text_string_to_metric_families

from ephemera_client import SingleProcessReplayCache
from ephemera_issuer.app import create_app
from ephemera_issuer.metrics.memory import Tallies
from ephemera_issuer.observation import observing
from ephemera_issuer.private import create_private_app
from ephemera_issuer.settings import Settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from starlette.types import ASGIApp

    from ephemera_client import ReplayCache
    from ephemera_client.instant import Clock


class Watched(NamedTuple):
    """Clients of both applications, and what they count in."""

    public: httpx.AsyncClient
    private: httpx.AsyncClient
    tallies: Tallies

    async def metrics(self) -> Samples:
        answer = await self.private.get("/metrics")
        assert answer.status_code == 200
        return samples(answer.text)


Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def samples(text: str) -> Samples:
    """Every sample of an exposition, by name and labels."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(found: Samples, name: str, **labels: str) -> float:
    """One sample; 0 where there is none, for a counter that nothing was counted by."""
    return found.get((name, frozenset(labels.items())), 0.0)


@contextlib.asynccontextmanager
async def watched(
    keeper: Keeper | None = None,
    *,
    tallies: Tallies | None = None,
    worker: int = 0,
    ledger: ReplayCache | None = None,
    clock: Clock = lambda: NOW,
    settings: Mapping[str, Any] | None = None,
) -> AsyncIterator[Watched]:
    keeper = keeper or Keeper()
    tallies = tallies or Tallies(1)
    if ledger is None:
        ledger = SingleProcessReplayCache(clock=clock)
    with observing(Settings(**(settings or {})), tallies, worker=worker, clock=clock) as parts:
        parts.follow(keeper)
        public = create_app(
            keeper,
            issuer=ISSUER,
            ledger=parts.counted(ledger),
            observers=parts.observers,
            clock=clock,
        )
        private = create_private_app(routes=[parts.metrics(keeper)])
        async with _client(parts.public(public)) as one, _client(parts.private(private)) as other:
            yield Watched(one, other, tallies)


def _client(app: ASGIApp) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://elsewhere.test")
