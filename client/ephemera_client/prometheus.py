"""Events as Prometheus counters; wants the extra `prometheus`."""

from prometheus_client import REGISTRY, CollectorRegistry, Counter

from ephemera_client.counters import COUNTERS, labels
from ephemera_client.events import Event


class PrometheusEvents:
    """An `on_event` that counts, such as `ephemera_tokens_refused_total{code="token_replayed"}`.

    One serves all verifiers: a registry takes each name once.

    Raises:
        ValueError: the registry has counters of these names already.
    """

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self._counters = {
            kind: Counter(f"ephemera_{name}", text, names, registry=registry)
            for kind, (name, text, names) in COUNTERS.items()
        }

    def __call__(self, event: Event) -> None:
        """Count it."""
        self._counters[type(event)].labels(**labels(event)).inc()
