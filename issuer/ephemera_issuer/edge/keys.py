"""`GET /.well-known/jwks.json`: the keys that verifiers check signatures with (RFC 7517 §5)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from starlette.responses import Response

from ephemera_issuer.edge.errors import refusal, unavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.requests import Request

    from ephemera_issuer.edge import Current

_ENTITY_TAG = re.compile(r'(?:W/)?("[^"]*")')


def keys_endpoint(snapshots: Current) -> Callable[[Request], Awaitable[Response]]:
    """Serve the published keys of the current snapshot, with 304 for those who have them.

    A snapshot too old to mint from still has the keys of all that was minted, so it is served.
    """

    async def keys(request: Request) -> Response:
        snapshot = snapshots.current
        if snapshot is None:
            return refusal(unavailable())
        headers = {
            "ETag": snapshot.jwks_etag,
            "Cache-Control": f"public, max-age={snapshot.ring.timing.jwks_max_age}",
        }
        if _has(request.headers.getlist("If-None-Match"), snapshot.jwks_etag):
            return Response(status_code=304, headers=headers)
        return Response(snapshot.jwks, headers=headers, media_type="application/jwk-set+json")

    return keys


def _has(if_none_match: list[str], etag: str) -> bool:
    """Compare weakly, as RFC 9110 §13.1.2 wants it for a GET."""
    conditions = ",".join(if_none_match)
    return conditions.strip() == "*" or etag in _ENTITY_TAG.findall(conditions)
