"""A line in the log for every request: who asked what, and what came of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import structlog

from ephemera_issuer import attempt as attempts
from ephemera_issuer.trace_context import trace

if TYPE_CHECKING:
    from starlette.types import Scope
    from structlog.typing import FilteringBoundLogger

    from ephemera_issuer.attempt import Attempt
    from ephemera_issuer.endpoints import Endpoints


class AccessLog:
    """A `Witness` that logs.

    What a caller has sent is not quoted, since a secret can be anywhere in it: the endpoint is one
    that there is, and client and audience are known for certain.
    """

    def __init__(self, endpoints: Endpoints) -> None:
        self._log: FilteringBoundLogger = structlog.get_logger("ephemera_issuer.access")
        self._endpoints = endpoints

    def answered(self, scope: Scope, status: int, seconds: float) -> None:
        """Log one line; `status` is left out where nothing was answered."""
        peer = scope.get("client")
        line: dict[str, Any] = {
            "listener": self._endpoints.listener,
            "method": scope["method"],
            "endpoint": self._endpoints.name(scope["path"]),
            "status": status or None,
            "seconds": round(seconds, 6),
            "address": peer[0] if peer else None,
            "request_id": trace(scope).trace_id,
        }
        attempt: Attempt | None = scope.get(attempts.KEY)
        if attempt is not None:
            line |= {
                "client": attempt.client_id,
                "audience": attempt.audience,
                "reason": attempt.reason,
            }
        self._log.info(
            "request", **{name: value for name, value in line.items() if value is not None}
        )
