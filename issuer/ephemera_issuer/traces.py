"""A span for each request of a client, sent to an OpenTelemetry collector in the background."""

from __future__ import annotations

import contextlib
from importlib.metadata import version
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from ephemera_issuer import attempt as attempts
from ephemera_issuer.errors import SettingsInvalid
from ephemera_issuer.exchange import FAILED
from ephemera_issuer.trace_context import trace

try:
    from opentelemetry import trace as api
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
except ImportError as error:
    raise SettingsInvalid(
        "EPHEMERA_TRACES: needs OpenTelemetry: pip install 'ephemera-issuer[opentelemetry]'"
    ) from error

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opentelemetry.util.types import AttributeValue
    from starlette.types import Scope

    from ephemera_client.instant import Clock
    from ephemera_issuer.attempt import Attempt

PATH: Final = "/v1/traces"
"""Where a collector takes traces, unless its URL names another path."""
PATIENCE: Final = 3
"""Seconds that a collector gets to take what it is sent, at the end of the process too."""
_NANOSECONDS: Final = 1_000_000_000


class Traces:
    """A `Witness` of token, introspection and revocation requests.

    A span says what the access log says. It belongs to the caller's trace where the request names
    one; otherwise it begins the trace whose id is that of the request.
    """

    def __init__(self, provider: TracerProvider, ids: RequestIds, *, clock: Clock) -> None:
        self._tracer = provider.get_tracer("ephemera_issuer", version("ephemera-issuer"))
        self._ids = ids
        self._clock = clock

    def answered(self, scope: Scope, status: int, seconds: float) -> None:
        """Make the span of a request that is over."""
        attempt: Attempt | None = scope.get(attempts.KEY)
        if attempt is None:
            return
        ended = int(self._clock().wall * _NANOSECONDS)
        identity = trace(scope)
        self._ids.trace_id = int(identity.trace_id, 16)
        context = None
        if identity.parent_id is not None:
            flags = api.TraceFlags(api.TraceFlags.SAMPLED if identity.sampled else 0)
            parent = api.SpanContext(
                self._ids.trace_id, int(identity.parent_id, 16), is_remote=True, trace_flags=flags
            )
            context = api.set_span_in_context(api.NonRecordingSpan(parent))
        span = self._tracer.start_span(
            f"{scope['method']} {scope['path']}",
            context=context,
            kind=api.SpanKind.SERVER,
            attributes=_attributes(scope, attempt, status),
            start_time=ended - int(seconds * _NANOSECONDS),
        )
        if status >= FAILED:
            span.set_status(api.StatusCode.ERROR)
        span.end(ended)


class RequestIds(RandomIdGenerator):
    """Gives the next root span the trace id that its request has already."""

    trace_id = 0

    def generate_trace_id(self) -> int:
        """Return it."""
        return self.trace_id


@contextlib.contextmanager
def opened_traces(collector: str, *, clock: Clock) -> Iterator[Traces]:
    """Send spans to the collector at this URL until the block ends, and the last of them then.

    What a collector does not take is dropped: it is never waited for.
    """
    url = collector if urlsplit(collector).path.strip("/") else collector.rstrip("/") + PATH
    ids = RequestIds()
    resource = Resource.create(
        {SERVICE_NAME: "ephemera-issuer", SERVICE_VERSION: version("ephemera-issuer")}
    )
    provider = TracerProvider(resource=resource, id_generator=ids, shutdown_on_exit=False)
    provider.add_span_processor(
        BatchSpanProcessor(OTLPSpanExporter(endpoint=url, timeout=PATIENCE))
    )
    try:
        yield Traces(provider, ids, clock=clock)
    finally:
        provider.shutdown()


def _attributes(scope: Scope, attempt: Attempt, status: int) -> dict[str, AttributeValue]:
    attributes: dict[str, AttributeValue | None] = {
        "http.request.method": scope["method"],
        "http.route": scope["path"],
        "http.response.status_code": status or None,
        "client.address": attempt.address,
        "ephemera.client_id": attempt.client_id,
        "ephemera.audience": attempt.audience,
        "ephemera.reason": attempt.reason,
        "error.type": str(status) if status >= FAILED else None,
    }
    return {name: value for name, value in attributes.items() if value is not None}
