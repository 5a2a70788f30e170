from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from issuer.fixtures_minting import NOW, snapshot

from ephemera_client.instant import Instant
from ephemera_issuer.metrics.families import (
    CLAIM_DURATION,
    FAMILIES,
    LONGEST,
    MINTS,
    OF_REGISTRY,
    OTHER,
    REFUSALS,
    WORKER_DEATHS,
)
from ephemera_issuer.metrics.memory import Tallies

if TYPE_CHECKING:
    from collections.abc import Callable

    from ephemera_issuer.metrics.families import Family


def in_a_fork(work: Callable[[], None]) -> None:
    """Do it in a child, and wait for its end."""
    if pid := os.fork():
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        return
    status = 1
    try:
        work()
        status = 0
    finally:
        os._exit(status)


def add(tallies: Tallies, worker: int, family: Family, *labels: str, by: float = 1) -> None:
    tally = tallies.of_worker(worker)
    tally.cells[tally.index(family, *labels)] += by


def test_what_processes_count_is_added_up_whoever_asks() -> None:
    tallies = Tallies(2)
    in_a_fork(lambda: add(tallies, 0, MINTS, "orders", "https://billing.internal"))
    in_a_fork(lambda: add(tallies, 1, MINTS, "orders", "https://billing.internal", by=2))
    in_a_fork(lambda: add(tallies, 1, MINTS, "reports", "https://billing.internal"))
    expected = {
        ("orders", "https://billing.internal"): [3.0],
        ("reports", "https://billing.internal"): [1.0],
    }
    assert tallies.read().series[MINTS.name] == expected

    def read() -> None:
        assert tallies.read().series[MINTS.name] == expected

    in_a_fork(read)


def test_a_worker_in_the_place_of_a_dead_one_goes_on_where_that_one_was() -> None:
    tallies = Tallies(1)
    for _ in range(3):
        in_a_fork(lambda: add(tallies, 0, REFUSALS, "orders", OTHER, "no_grant"))
        tallies.note_death(0)
    totals = tallies.read()
    assert totals.series[REFUSALS.name] == {("orders", OTHER, "no_grant"): [3.0]}
    assert totals.series[WORKER_DEATHS.name] == {(): [3.0]}


def test_a_series_is_found_once_and_is_zero_at_first() -> None:
    tally = Tallies(1).of_worker(0)
    first, second = tally.index(MINTS, "a", "b"), tally.index(CLAIM_DURATION)
    assert (tally.index(MINTS, "a", "b"), tally.index(CLAIM_DURATION)) == (first, second)
    assert [*tally.cells[second : second + CLAIM_DURATION.cells]] == [0.0] * CLAIM_DURATION.cells
    assert second > first


def longest(family: Family, number: int) -> tuple[str, ...]:
    """Labels that are as long as they may be, and another one for each number."""
    return tuple(
        f"{number:08}"[-LONGEST[name] :].rjust(LONGEST[name], "x") for name in family.labels
    )


def test_there_is_room_for_all_that_families_allow_and_the_rest_is_other() -> None:
    tallies = Tallies(1)
    tally = tallies.of_worker(0)
    for family in FAMILIES:
        for number in range(family.most if family.labels else 1):
            tally.cells[tally.index(family, *longest(family, number))] += 1
    for family in FAMILIES:
        if not OF_REGISTRY & set(family.labels):
            continue
        others = [
            tuple(OTHER if name in OF_REGISTRY else value for name, value in labelled)
            for labelled in (
                zip(family.labels, longest(family, 10_000 + number), strict=True)
                for number in range(40)
            )
        ]
        for number in range(40):
            tally.cells[tally.index(family, *longest(family, 10_000 + number))] += 1
        series = tallies.read().series[family.name]
        assert len(series) == family.most + len(set(others))
        assert sum(series[labels][0] for labels in set(others)) == 40
    counted = tallies.read().series
    assert {name: sum(cells[0] for cells in rows.values()) for name, rows in counted.items()} == {
        family.name: (family.most if family.labels else 1)
        + 40 * bool(OF_REGISTRY & set(family.labels))
        for family in FAMILIES
    }


def test_the_oldest_snapshot_is_that_of_the_living_worker_that_is_behind_the_most() -> None:
    tallies = Tallies(2)
    late = Instant(NOW.wall - 7, NOW.monotonic - 7)
    for number, confirmed_at in enumerate((NOW, late)):
        tally = tallies.of_worker(number)
        tally.begin()
        assert tallies.read().oldest is None
        tally.note(snapshot(confirmed_at=confirmed_at))
    assert tallies.read()[1:] == (2, 2, late)
    tallies.note_death(1)
    assert tallies.read()[1:] == (2, 1, NOW)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_a_metric_is_named_as_prometheus_asks(family: Family) -> None:
    assert family.name.startswith("ephemera_")
    assert not family.name.endswith(("_total", "_count", "_sum", "_bucket"))
    assert bool(family.buckets) == family.name.endswith("_seconds")
    assert list(family.buckets) == sorted(set(family.buckets))
    assert set(family.labels) <= set(LONGEST)
