"""Tokens as the issuer makes them, with a key of this run's own."""

import base64
import http.server
import json
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from ephemera_client.jwk import thumbprint

ISSUER, AUDIENCE, SCOPE = "https://tokens.internal", "https://billing.internal", "invoices:read"

PRIVATE = ec.generate_private_key(ec.SECP256R1())
PUBLIC = PRIVATE.public_key()
JWK = ECAlgorithm(ECAlgorithm.SHA256).to_jwk(PUBLIC, as_dict=True)
KID = thumbprint(JWK)
KEYS = {"keys": [JWK | {"kid": KID, "alg": "ES256", "use": "sig"}]}


def mint(*, issuer: str = ISSUER, lifetime: int = 120) -> str:
    """Make a token that lives for so many seconds."""
    now = int(time.time())
    claims = {
        "iss": issuer,
        "sub": "orders",
        "client_id": "orders",
        "aud": AUDIENCE,
        "scope": SCOPE,
        "iat": now,
        "exp": now + lifetime,
        "jti": base64.urlsafe_b64encode(secrets.token_bytes(16)).rstrip(b"=").decode(),
    }
    return jwt.encode(claims, PRIVATE, "ES256", headers={"typ": "at+jwt", "kid": KID})


@contextmanager
def published(document: object, path: str = "/", *, waiting: bool = False) -> Iterator[str]:
    """Serve a JSON document on loopback and yield its URL.

    With `waiting`, requests that wait for news get their answer at the end.
    """
    body = json.dumps(document).encode()
    ended = threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if waiting and "wait=" in self.path:
                ended.wait(25)
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    class Server(http.server.ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            # A follower hangs up while it waits for news.
            pass

    server = Server(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}{path}"
    finally:
        ended.set()
        server.shutdown()
        server.server_close()
