"""What a token of the pool adds to a call, against the same call without one: `make bench`.

A caller with `httpx.AsyncClient` and an API under uvicorn, each a process of its own; the issuer
answers at once with tokens made beforehand. Variants take turns call by call, so a machine that
is busy for a while is busy for all of them. The caller's processor time, refills of the pool
included, is what a token costs it; the clock's has the API's share too, and the noise of whatever
else runs.
"""

import asyncio
import gc
import json
import multiprocessing
import platform
import secrets
import socket
import statistics
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple
from urllib.parse import parse_qs

import httpx
import jwt
import uvicorn
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from ephemera_client import (
    AsyncTokenClient,
    AsyncVerifier,
    ClientSecret,
    RequireToken,
    SingleProcessReplayCache,
    StaticKeys,
    Target,
)
from ephemera_client.asgi import Receive, Scope, Send

AUDIENCE, SCOPE = "https://billing.internal", "invoices:read"
CALLS, WARM = 2000, 200

PRIVATE = ec.generate_private_key(ec.SECP256R1())
KEYS = {
    "keys": [
        ECAlgorithm(ECAlgorithm.SHA256).to_jwk(PRIVATE.public_key(), as_dict=True)
        | {"kid": "k", "alg": "ES256", "use": "sig"}
    ]
}

Call = Callable[[], Awaitable[httpx.Response]]


class Taken(NamedTuple):
    """Seconds of each call, by the clock and of this process's processor time."""

    clock: list[float]
    processor: list[float]


def mint(issuer: str) -> str:
    """Make a token as the issuer does."""
    now = int(time.time())
    claims = {
        "iss": issuer,
        "sub": "orders",
        "client_id": "orders",
        "aud": AUDIENCE,
        "scope": SCOPE,
        "iat": now,
        "exp": now + 600,
        "jti": secrets.token_urlsafe(16),
    }
    return jwt.encode(claims, PRIVATE, "ES256", headers={"typ": "at+jwt", "kid": "k"})


def issue(listener: socket.socket) -> None:
    """Serve the metadata and the token endpoint of an issuer, until killed."""
    issuer = f"http://127.0.0.1:{listener.getsockname()[1]}"
    made = [mint(issuer) for _ in range(3 * (CALLS + WARM) + 2000)]

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._say(
                issuer=issuer,
                token_endpoint=f"{issuer}/oauth2/token",
                jwks_uri=f"{issuer}/jwks",
                ephemera_max_count=100,
            )

        def do_POST(self) -> None:
            form = parse_qs(self.rfile.read(int(self.headers["content-length"])).decode())
            first, *others = (made.pop() for _ in range(int(form.get("count", ["1"])[0])))
            self._say(
                access_token=first,
                additional_tokens=others,
                token_type="Bearer",  # noqa: S106 - its type
                expires_in=600,
                scope=SCOPE,
                single_use=True,
            )

        def _say(self, **members: object) -> None:
            body = json.dumps(members).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler, bind_and_activate=False)
    server.socket.close()
    server.socket = listener
    server.serve_forever()


def serve(listener: socket.socket, issuer: str) -> None:
    """Serve an API with an open path and a verified one, until killed."""
    verifier = AsyncVerifier(
        issuer=issuer,
        audience=AUDIENCE,
        algorithm="ES256",
        replay_cache=SingleProcessReplayCache(),
        keys=StaticKeys(KEYS),
    )
    guarded = RequireToken(invoices, verifier, scopes={SCOPE})

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await (guarded if scope["path"] == "/verified" else invoices)(scope, receive, send)

    config = uvicorn.Config(app, log_level="warning", access_log=False, lifespan="off")
    uvicorn.Server(config).run(sockets=[listener])


async def invoices(_scope: Scope, _receive: Receive, send: Send) -> None:
    """Answer with a short document."""
    headers = [(b"content-type", b"application/json"), (b"content-length", b"15")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b'{"invoices":[]}'})


@contextmanager
def process(work: Callable[..., None], *arguments: object) -> Iterator[str]:
    """Run `work` in a process of its own, with a listener; yields its origin."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        running = multiprocessing.get_context("fork").Process(
            target=work, args=(listener, *arguments), daemon=True
        )
        running.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            running.kill()
            running.join()


async def measure(issuer: str, api: str) -> dict[str, Taken]:
    """Return what the calls of each variant took."""
    targets = {api: Target(AUDIENCE, {SCOPE})}
    token = mint(issuer)
    async with AsyncExitStack() as stack:
        tokens = await stack.enter_async_context(
            AsyncTokenClient(
                issuer, client_id="orders", credential=ClientSecret("made up"), timeout=60
            )
        )
        plain = await stack.enter_async_context(httpx.AsyncClient(trust_env=False))
        fixed = await stack.enter_async_context(
            httpx.AsyncClient(trust_env=False, headers={"authorization": f"Bearer {token}"})
        )
        pooled = await stack.enter_async_context(
            httpx.AsyncClient(transport=tokens.transport(targets))
        )
        variants: dict[str, Call] = {
            "no token": lambda: plain.get(f"{api}/open"),
            "one token in a fixed header": lambda: fixed.get(f"{api}/open"),
            "a token of the pool": lambda: pooled.get(f"{api}/open"),
            "a token of the pool, verified by the API": lambda: pooled.get(f"{api}/verified"),
        }
        await tokens.get(AUDIENCE, scopes={SCOPE}, timeout=60)
        taken = {name: Taken([], []) for name in variants}
        for number in range(WARM + CALLS):
            if number == WARM:
                gc.collect()
                gc.freeze()
            for name, call in variants.items():
                began = time.perf_counter(), time.process_time()
                response = await call()
                ended = time.perf_counter(), time.process_time()
                response.raise_for_status()
                if number >= WARM:
                    taken[name].clock.append(ended[0] - began[0])
                    taken[name].processor.append(ended[1] - began[1])
    return taken


def main() -> None:
    """Measure and print a table, in Markdown."""
    with process(issue) as issuer, process(serve, issuer) as api:
        taken = asyncio.run(measure(issuer, api))
    print(f"{platform.machine()}, Python {platform.python_version()}, {CALLS} calls each\n")
    print("| a call with | processor, median µs | adds | mean adds | clock, median µs | adds |")
    print("|---|---:|---:|---:|---:|---:|")
    plain = next(iter(taken.values()))
    for name, each in taken.items():
        processor, clock = statistics.median(each.processor), statistics.median(each.clock)
        figures = (
            processor,
            processor - statistics.median(plain.processor),
            statistics.mean(each.processor) - statistics.mean(plain.processor),
            clock,
            clock - statistics.median(plain.clock),
        )
        print(f"| {name} | " + " | ".join(f"{1e6 * figure:.0f}" for figure in figures) + " |")


if __name__ == "__main__":
    main()
