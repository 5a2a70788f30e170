"""`/.well-known/oauth-authorization-server`: what this issuer offers, and where (RFC 8414)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from starlette.responses import Response

from ephemera_client.dpop.proof import ALGORITHMS as PROOF_ALGORITHMS
from ephemera_client.jwk import ALGORITHMS
from ephemera_issuer.authentication import METHODS
from ephemera_issuer.form import MAXIMUM_COUNT
from ephemera_keys.ring import JWKS_MAX_AGE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.requests import Request

TOKEN_PATH = "/oauth2/token"  # noqa: S105 - a path
INTROSPECTION_PATH = "/oauth2/introspect"
REVOCATION_PATH = "/oauth2/revoke"
FEED_PATH = "/v1/revocations"
METADATA_PATHS = ("/.well-known/oauth-authorization-server", "/.well-known/openid-configuration")
KEYS_PATH = "/.well-known/jwks.json"


def document(issuer: str) -> bytes:
    """Write the metadata of an issuer; its URLs follow from its identifier alone."""
    return json.dumps(
        {
            "issuer": issuer,
            "token_endpoint": issuer + TOKEN_PATH,
            "jwks_uri": issuer + KEYS_PATH,
            "grant_types_supported": ["client_credentials"],
            "token_endpoint_auth_methods_supported": METHODS,
            "token_endpoint_auth_signing_alg_values_supported": ALGORITHMS,
            "introspection_endpoint": issuer + INTROSPECTION_PATH,
            "introspection_endpoint_auth_methods_supported": METHODS,
            "introspection_endpoint_auth_signing_alg_values_supported": ALGORITHMS,
            "revocation_endpoint": issuer + REVOCATION_PATH,
            "revocation_endpoint_auth_methods_supported": METHODS,
            "revocation_endpoint_auth_signing_alg_values_supported": ALGORITHMS,
            "dpop_signing_alg_values_supported": list(PROOF_ALGORITHMS),
            "ephemera_revocations_endpoint": issuer + FEED_PATH,
            "ephemera_max_count": MAXIMUM_COUNT,
            # Required by RFC 8414; without an authorization endpoint there are none.
            "response_types_supported": [],
        },
        separators=(",", ":"),
    ).encode()


def metadata_endpoint(issuer: str) -> Callable[[Request], Awaitable[Response]]:
    """Serve the metadata, the same bytes whatever the Host header says."""
    body = document(issuer)
    headers = {"Cache-Control": f"public, max-age={JWKS_MAX_AGE}"}

    async def metadata(_request: Request) -> Response:
        return Response(body, headers=headers, media_type="application/json")

    return metadata
