"""Neither verifying nor minting does more than it did."""

from __future__ import annotations

import pytest
from system.counting import counted, counts, recorded

TOLERANCE = 0.1


def test_neither_verifying_nor_minting_calls_a_tenth_more_than_recorded() -> None:
    found, before = counts(), recorded()
    assert found.keys() == before.keys()
    for what, number in found.items():
        assert number <= before[what] * (1 + TOLERANCE), (
            f"{what}: {number} calls, {before[what]} recorded; `make recount` where that is meant"
        )


def test_what_is_executed_is_counted_alike_every_time() -> None:
    # But for the numbers of a signature, which are written otherwise when they begin with zeros.
    again = counts()
    assert counts() == {what: pytest.approx(number, abs=5) for what, number in again.items()}


def test_a_call_more_is_one_more() -> None:
    def nothing() -> None:
        pass

    def twice() -> None:
        nothing()
        nothing()

    assert counted(twice) == counted(nothing) + 2
