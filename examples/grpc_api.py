"""A gRPC service: each method has its scopes, and a stream ends with its token.

    EPHEMERA_CLIENT_ISSUER=http://127.0.0.1:8700 PORT=8443 \
        TLS_CERTIFICATE_FILE=server.pem TLS_KEY_FILE=server.key python examples/grpc_api.py

AUDIENCE is what callers ask for a token for. Without a PORT, any free one is taken. Messages are
JSON here, so that there is nothing to generate; with a `.proto` nothing else changes.
"""

import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc

from ephemera_client import SingleProcessReplayCache, Verifier
from ephemera_client.grpc import RequireToken, access_token

verifier = Verifier(
    issuer=os.environ.get("EPHEMERA_CLIENT_ISSUER", "http://127.0.0.1:8700"),
    audience=os.environ.get("AUDIENCE", "https://billing.internal"),
    algorithm="ES256",
    replay_cache=SingleProcessReplayCache(),
)
guard = RequireToken(
    verifier,
    scopes={
        "/billing.Invoices/Get": {"invoices:read"},
        "/billing.Invoices/Watch": {"invoices:read"},
        "/billing.Invoices/Add": {"invoices:read", "invoices:write"},
    },
    unguarded={"/grpc.health.v1.Health/Check"},
)


def get(request: Any, _context: grpc.ServicerContext) -> Any:
    return {"number": request["number"], "for": access_token().client_id}


def watch(request: Any, _context: grpc.ServicerContext) -> Iterator[Any]:
    token = access_token()
    for number in range(request["count"]):
        if not verifier.still_valid(token):
            return
        yield {"number": number, "for": token.client_id}


def add(_request: Any, _context: grpc.ServicerContext) -> Any:
    return {"added_by": access_token().client_id}


def encode(message: Any) -> bytes:
    return json.dumps(message).encode()


if __name__ == "__main__":
    key = Path(os.environ["TLS_KEY_FILE"]).read_bytes()
    certificate = Path(os.environ["TLS_CERTIFICATE_FILE"]).read_bytes()
    server = grpc.server(ThreadPoolExecutor(8), interceptors=[guard])
    unary, stream = grpc.unary_unary_rpc_method_handler, grpc.unary_stream_rpc_method_handler
    handlers: dict[str, Any] = {
        "Get": unary(get, json.loads, encode),
        "Watch": stream(watch, json.loads, encode),
        "Add": unary(add, json.loads, encode),
    }
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("billing.Invoices", handlers),)
    )
    port = server.add_secure_port(
        f"127.0.0.1:{os.environ.get('PORT', '0')}",
        grpc.ssl_server_credentials([(key, certificate)]),
    )
    server.start()
    print(f"serving (listening on https://127.0.0.1:{port})", flush=True)
    server.wait_for_termination()
