"""Events as metrics: in Prometheus, and in OpenTelemetry."""

from typing import get_args

import pytest
from client.fixtures_verifying import AUDIENCE, ISSUER, mint, verifier_of
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, NumberDataPoint
from prometheus_client import CollectorRegistry, generate_latest

from ephemera_client import EphemeraError
from ephemera_client.counters import COUNTERS, labels
from ephemera_client.events import (
    Event,
    KeysDown,
    KeysRefreshed,
    OnEvent,
    Refused,
    ReplayCacheDown,
    RevocationsDown,
    RevocationsRefreshed,
    StaleServed,
)
from ephemera_client.opentelemetry import OpenTelemetryEvents
from ephemera_client.prometheus import PrometheusEvents

EVENTS: list[Event] = [
    Refused(ISSUER, AUDIENCE, "token_replayed"),
    KeysDown(ISSUER, AUDIENCE, "timeout"),
    ReplayCacheDown(ISSUER, AUDIENCE, "full"),
    KeysRefreshed(ISSUER),
    StaleServed(ISSUER),
    RevocationsDown(ISSUER, AUDIENCE, "timeout"),
    RevocationsRefreshed(ISSUER, 7),
]


def happen(on_event: OnEvent) -> None:
    """Let everything happen once, but two refusals by a real verifier."""
    verifier = verifier_of(on_event=on_event)
    raw = mint()
    verifier.verify(raw)
    with pytest.raises(EphemeraError):
        verifier.verify(raw)
    for event in EVENTS:
        on_event(event)


def test_every_event_is_counted() -> None:
    assert set(COUNTERS) == set(get_args(Event))


def test_no_label_is_from_a_token() -> None:
    for kind, counter in COUNTERS.items():
        assert set(counter.labels) <= {"issuer", "audience", "code", "cause_code"} & set(
            kind._fields
        )
    assert labels(EVENTS[0]) == {
        "issuer": ISSUER,
        "audience": AUDIENCE,
        "code": "token_replayed",
    }


def test_prometheus_counts() -> None:
    registry = CollectorRegistry()
    happen(PrometheusEvents(registry))
    verifier = {"issuer": ISSUER, "audience": AUDIENCE}
    expected = {
        "tokens_accepted": (verifier, 1),
        "tokens_refused": (verifier | {"code": "token_replayed"}, 2),
        "keys_down": (verifier | {"cause_code": "timeout"}, 1),
        "replay_cache_down": (verifier | {"cause_code": "full"}, 1),
        "keys_refreshed": ({"issuer": ISSUER}, 1),
        "keys_stale_served": ({"issuer": ISSUER}, 1),
        "revocations_down": (verifier | {"cause_code": "timeout"}, 1),
        "revocations_refreshed": ({"issuer": ISSUER}, 1),
    }
    for name, (named, count) in expected.items():
        assert registry.get_sample_value(f"ephemera_{name}_total", named) == count
    assert b"# HELP ephemera_tokens_refused_total Tokens refused." in generate_latest(registry)


def test_prometheus_events_are_made_once() -> None:
    registry = CollectorRegistry()
    PrometheusEvents(registry)
    with pytest.raises(ValueError, match="Duplicated"):
        PrometheusEvents(registry)


def test_opentelemetry_counts() -> None:
    reader = InMemoryMetricReader()
    provider = MeterProvider(metric_readers=[reader])
    happen(OpenTelemetryEvents(provider.get_meter("billing")))
    data = reader.get_metrics_data()
    assert data is not None
    found = {}
    for metric in data.resource_metrics[0].scope_metrics[0].metrics:
        (point,) = metric.data.data_points
        assert isinstance(point, NumberDataPoint)
        found[metric.name] = (dict(point.attributes or {}), point.value)
    verifier = {"issuer": ISSUER, "audience": AUDIENCE}
    assert found == {
        "ephemera.tokens_accepted": (verifier, 1),
        "ephemera.tokens_refused": (verifier | {"code": "token_replayed"}, 2),
        "ephemera.keys_down": (verifier | {"cause_code": "timeout"}, 1),
        "ephemera.replay_cache_down": (verifier | {"cause_code": "full"}, 1),
        "ephemera.keys_refreshed": ({"issuer": ISSUER}, 1),
        "ephemera.keys_stale_served": ({"issuer": ISSUER}, 1),
        "ephemera.revocations_down": (verifier | {"cause_code": "timeout"}, 1),
        "ephemera.revocations_refreshed": ({"issuer": ISSUER}, 1),
    }
    provider.shutdown()


def test_opentelemetry_without_a_meter_uses_the_global_one() -> None:
    happen(OpenTelemetryEvents())
