"""`GET /metrics`, as Prometheus asks it: its text format, or OpenMetrics where that is wanted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from starlette.responses import Response
from starlette.routing import Route

from ephemera_issuer.edge.errors import NO_STORE

if TYPE_CHECKING:
    from prometheus_client.registry import Collector
    from starlette.requests import Request


def metrics_route(collector: Collector) -> Route:
    """Make the route; it answers in a thread, for the text can be long and mints must not wait."""
    registry = CollectorRegistry()
    registry.register(collector)

    def metrics(request: Request) -> Response:
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        return Response(encode(registry), headers=NO_STORE | {"Content-Type": content_type})

    return Route("/metrics", metrics, methods=["GET"])
