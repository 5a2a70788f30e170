"""What a serving process tells those who look after it: counts, an access log, traces."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from ephemera_issuer.access_log import AccessLog
from ephemera_issuer.endpoints import PRIVATE, PUBLIC
from ephemera_issuer.exchange import Watched
from ephemera_issuer.metrics.collector import IssuerCollector
from ephemera_issuer.metrics.counting import (
    CountedAudit,
    CountedLedger,
    CountedMints,
    CountedResponses,
)
from ephemera_issuer.metrics.exposition import metrics_route

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from starlette.routing import Route
    from starlette.types import ASGIApp

    from ephemera_client.instant import Clock
    from ephemera_client.replay import ReplayCache
    from ephemera_issuer.attempt import Observer
    from ephemera_issuer.audit.writer import Writer
    from ephemera_issuer.edge import feed
    from ephemera_issuer.endpoints import Endpoints
    from ephemera_issuer.exchange import Witness
    from ephemera_issuer.metrics.memory import Tallies
    from ephemera_issuer.settings import Settings


@contextlib.contextmanager
def observing(
    settings: Settings, tallies: Tallies, *, worker: int, clock: Clock
) -> Iterator[Observation]:
    """Watch one worker until the block ends.

    Args:
        settings: How it is watched.
        tallies: Where all workers count.
        worker: Its number, from 0.
        clock: Times requests, and tells ages.

    Raises:
        SettingsInvalid: There are to be traces, and OpenTelemetry is not installed.
    """
    if settings.traces is None:
        yield Observation(settings, tallies, worker=worker, clock=clock)
        return
    from ephemera_issuer.traces import opened_traces  # noqa: PLC0415 - an extra

    with opened_traces(settings.traces, clock=clock) as traces:
        yield Observation(settings, tallies, worker=worker, clock=clock, more=[traces])


class Observation:
    """The parts that watch one worker; `more` of them watch the public application."""

    def __init__(
        self,
        settings: Settings,
        tallies: Tallies,
        *,
        worker: int,
        clock: Clock,
        more: Sequence[Witness] = (),
    ) -> None:
        self._more = more
        self._settings = settings
        self._tallies = tallies
        self._tally = tallies.of_worker(worker)
        self._clock = clock
        self.observers: Sequence[Observer] = [CountedMints(self._tally)]
        self._tally.begin()

    def follow(self, keeper: feed.Watched) -> None:
        """Note whenever the snapshot is confirmed."""
        if keeper.current is not None:
            self._tally.note(keeper.current)
        keeper.watch(self._tally.note)

    def counted(self, ledger: ReplayCache) -> ReplayCache:
        """Return the ledger, its claims counted."""
        return CountedLedger(ledger, self._tally, clock=self._clock)

    def watch(self, writer: Writer) -> None:
        """Count what becomes of the audit's records."""
        CountedAudit(writer, self._tally)

    def metrics(self, keeper: feed.Watched) -> Route:
        """Make `/metrics` of the private application."""
        return metrics_route(
            IssuerCollector(
                self._tallies, keeper, rotate_every=self._settings.rotate_every, clock=self._clock
            )
        )

    def public(self, app: ASGIApp) -> ASGIApp:
        """Watch the public application."""
        return self._watched(app, PUBLIC, self._more)

    def private(self, app: ASGIApp) -> ASGIApp:
        """Watch the private application."""
        return self._watched(app, PRIVATE)

    def _watched(self, app: ASGIApp, endpoints: Endpoints, more: Sequence[Witness] = ()) -> ASGIApp:
        counted = CountedResponses(self._tally, endpoints)
        witnesses: list[Witness] = [counted, *more]
        if self._settings.access_log:
            witnesses.append(AccessLog(endpoints))
        return Watched(app, witnesses, clock=self._clock, identified=len(witnesses) > 1)
