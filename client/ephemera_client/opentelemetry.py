"""Events as OpenTelemetry counters; wants the extra `opentelemetry`."""

from opentelemetry.metrics import Meter, get_meter

from ephemera_client.counters import COUNTERS, labels
from ephemera_client.events import Event


class OpenTelemetryEvents:
    """An `on_event` that counts, such as `ephemera.tokens_refused` with `code` as an attribute.

    Args:
        meter: of the caller's own provider; without it, the global one's.
    """

    def __init__(self, meter: Meter | None = None) -> None:
        chosen = meter or get_meter("ephemera_client")
        self._counters = {
            kind: chosen.create_counter(f"ephemera.{name}", description=text)
            for kind, (name, text, _) in COUNTERS.items()
        }

    def __call__(self, event: Event) -> None:
        """Count it."""
        self._counters[type(event)].add(1, labels(event))
