"""An issuer under load agrees with its callers on what happened, in metrics and in its audit."""

from __future__ import annotations

import pytest
from system.endurance import WORKERS, Endured, Memory, endure

SECONDS = 2
SWOLLEN = 64 << 20
"""Far beyond what a start needs: only what is kept of each request gets there in seconds."""
MIB = 1 << 20
COUNTED = {
    "ephemera_mints_total",
    "ephemera_minted_tokens_total",
    "ephemera_refusals_total",
    "ephemera_http_responses_total",
    "ephemera_token_request_duration_seconds_count",
    "ephemera_assertion_claims_total",
}


@pytest.fixture(scope="module")
def endured(tmp_path_factory: pytest.TempPathFactory) -> Endured:
    return endure(tmp_path_factory.mktemp("issuer"), SECONDS, full_for=1)


def test_half_of_full_load_is_answered_counted_and_recorded_to_the_last_request(
    endured: Endured,
) -> None:
    assert endured.failures == []
    assert {name for name, _ in endured.told} == COUNTED
    assert len(endured.memory) == 1 + WORKERS
    for memory in endured.memory.values():
        assert max(memory.resident) - memory.resident[0] < SWOLLEN


def test_one_request_more_or_less_in_metrics_or_audit_is_found(endured: Endured) -> None:
    for key, number in endured.told.items():
        for wrong in (number - 1, number + 1):
            (failure,) = endured._replace(told=endured.told | {key: wrong}).failures
            assert failure.startswith(f"metrics: {key[0]} ")
            assert failure.endswith(f" is {wrong:.0f}, counted were {number:.0f}")
    for key, number in endured.recorded.items():
        for wrong in (number - 1, number + 1):
            (failure,) = endured._replace(recorded=endured.recorded | {key: wrong}).failures
            assert failure.startswith(f"audit: {key[0]} ")
            assert failure.endswith(f" is {wrong:.0f}, counted were {number:.0f}")


def test_memory_that_grows_all_the_time_is_found_and_that_of_a_warm_up_is_not() -> None:
    moments = [float(moment) for moment in range(1800)]
    # A process of 80 MiB is allowed 2.4 MiB and 2 more.
    level = [80 * MIB + number % 7 * 100_000 for number in range(1800)]
    warming = [min(50 * MIB + number * MIB // 10, 80 * MIB) for number in range(1800)]
    leaking = [held + number * 8 * MIB // 1800 for number, held in enumerate(level)]
    assert not Memory(moments, level).swollen
    assert not Memory(moments, warming).swollen
    leak = Memory(moments, leaking)
    assert leak.swollen
    assert leak.grown == pytest.approx(6 * MIB, rel=0.02)
