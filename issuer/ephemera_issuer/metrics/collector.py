"""Everything that there is to tell, gathered when somebody asks."""

from __future__ import annotations

import math
import platform
from importlib.metadata import version
from itertools import accumulate
from typing import TYPE_CHECKING

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)
from prometheus_client.registry import Collector

from ephemera_issuer.metrics.families import FAMILIES
from ephemera_issuer.schedule import next_rotation

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from prometheus_client import Metric

    from ephemera_client.instant import Clock
    from ephemera_issuer.edge import Current
    from ephemera_issuer.metrics.families import Family
    from ephemera_issuer.metrics.memory import Tallies, Totals
    from ephemera_issuer.snapshot import Snapshot
    from ephemera_keys import KeyRing


class IssuerCollector(Collector):
    """What all workers have counted, and what the snapshot of this one says.

    Args:
        tallies: What is counted.
        snapshots: Where the current snapshot is.
        rotate_every: The period of rotations in seconds; None where they are left to people.
        clock: Tells ages; the one that snapshots are dated by.
    """

    def __init__(
        self, tallies: Tallies, snapshots: Current, *, rotate_every: float | None, clock: Clock
    ) -> None:
        self._tallies = tallies
        self._snapshots = snapshots
        self._rotate_every = rotate_every
        self._clock = clock

    def collect(self) -> Iterator[Metric]:
        """Gather all families; safe in any thread."""
        totals = self._tallies.read()
        for family in FAMILIES:
            yield _counted(family, totals.series.get(family.name, {}))
        yield from self._processes(totals)
        snapshot = self._snapshots.current
        if snapshot is not None:
            yield from _registry(snapshot)
            yield from self._keys(snapshot.ring)

    def _processes(self, totals: Totals) -> Iterator[Metric]:
        build = InfoMetricFamily("ephemera_build", "What is running.")
        build.add_metric(
            [], {"version": version("ephemera-issuer"), "python": platform.python_version()}
        )
        yield build
        yield _gauge("ephemera_workers", "Workers that there should be.", totals.workers)
        yield _gauge("ephemera_workers_alive", "Workers that there are.", totals.alive)
        yield _gauge(
            "ephemera_snapshot_age_seconds",
            "Since the database last confirmed what is answered from, in the worker that is behind "
            "the most; over 30 it mints nothing.",
            math.inf if totals.oldest is None else self._clock().since(totals.oldest),
        )

    def _keys(self, ring: KeyRing) -> Iterator[Metric]:
        now = self._clock().wall
        ages = GaugeMetricFamily(
            "ephemera_signing_key_age_seconds",
            "Since a published key came into its state.",
            labels=["state", "kid", "alg"],
        )
        numbers = GaugeMetricFamily(
            "ephemera_signing_keys", "Signing keys by state.", labels=["state"]
        )
        for state, records in (
            ("pending", (ring.pending,)),
            ("active", (ring.active,)),
            ("retired", ring.retired),
            ("revoked", ring.revoked),
        ):
            numbers.add_metric([state], len(records))
            for record in records if state != "revoked" else ():
                ages.add_metric([state, record.kid, record.alg], now - record.moments[-1])
        yield ages
        yield numbers
        due = next_rotation(ring, every=self._rotate_every)
        if due is not None:
            yield _gauge(
                "ephemera_next_rotation_timestamp_seconds",
                "When the pending key is to sign; not there where rotation is off.",
                due,
            )


def _registry(snapshot: Snapshot) -> Iterator[Metric]:
    entries = GaugeMetricFamily(
        "ephemera_registry_entries", "What the registry holds, by kind.", labels=["kind"]
    )
    for kind in ("clients", "audiences", "grants"):
        entries.add_metric([kind], len(getattr(snapshot, kind)))
    yield entries
    yield _gauge(
        "ephemera_registry_version",
        "Goes up with every change of the registry.",
        snapshot.registry_version,
    )
    revocations = snapshot.revocations
    sequence = GaugeMetricFamily(
        "ephemera_feed_sequence",
        "The number of the latest revocation, by the epoch in which it counts.",
        labels=["epoch"],
    )
    sequence.add_metric([revocations.epoch], revocations.sequence)
    yield sequence
    kept = GaugeMetricFamily(
        "ephemera_feed_entries", "Revocations that the feed still tells, by kind.", labels=["kind"]
    )
    for kind in ("tokens", "cut_offs", "kids"):
        kept.add_metric([kind], len(getattr(revocations, kind)))
    yield kept


def _counted(family: Family, series: Mapping[tuple[str, ...], list[float]]) -> Metric:
    if not family.buckets:
        counter = CounterMetricFamily(family.name, family.help, labels=family.labels)
        for labels, (count,) in series.items():
            counter.add_metric(labels, count)
        return counter
    histogram = HistogramMetricFamily(family.name, family.help, labels=family.labels)
    bounds = [*map(_bound, family.buckets), "+Inf"]
    for labels, (*counts, total) in series.items():
        histogram.add_metric(
            labels, list(zip(bounds, accumulate(counts), strict=True)), sum_value=total
        )
    return histogram


def _bound(seconds: float) -> str:
    return f"{seconds:g}"


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=value)
