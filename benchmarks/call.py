"""What a token of the pool adds to a call, against the same call without one.

A caller with `httpx.AsyncClient` and an API under uvicorn, each a process of its own; the issuer
answers at once with tokens made beforehand. Variants take turns call by call, in any order, so that
a machine that is busy for a while is busy for all of them. The caller's processor time, refills of
the pool included, is what a token costs it; the clock's has the API's share too, and the noise of
whatever else runs.
"""

import asyncio
import gc
import json
import multiprocessing
import random
import socket
import statistics
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple
from urllib.parse import parse_qs

import httpx
import uvicorn

from benchmarks import rounds
from benchmarks.report import Effort, Part, table
from benchmarks.tokens import AUDIENCE, KEYS, SCOPE, mint
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

CALLS, WARM = 2000, 200

PLAIN, POOLED = "no token", "a token of the pool"

Call = Callable[[], Awaitable[httpx.Response]]


class Taken(NamedTuple):
    """Seconds of each call, by the clock and of this process's processor time."""

    clock: list[float]
    processor: list[float]


def issue(listener: socket.socket, tokens: int) -> None:
    """Serve the metadata and the token endpoint of an issuer, until killed."""
    issuer = f"http://127.0.0.1:{listener.getsockname()[1]}"
    made = [mint(issuer=issuer, lifetime=600) for _ in range(tokens)]

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # one packet an answer: with two, the second waits for an acknowledgement

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


async def calls(issuer: str, api: str, *, number: int, warm: int) -> dict[str, Taken]:
    """Return what the calls of each variant took."""
    targets = {api: Target(AUDIENCE, {SCOPE})}
    token = mint(issuer=issuer, lifetime=600)
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
        unpooled_tokens = await stack.enter_async_context(
            AsyncTokenClient(
                issuer,
                client_id="orders",
                credential=ClientSecret("made up"),
                timeout=60,
                pool_size=0,
            )
        )
        unpooled = await stack.enter_async_context(
            httpx.AsyncClient(transport=unpooled_tokens.transport(targets))
        )
        pooled = await stack.enter_async_context(
            httpx.AsyncClient(transport=tokens.transport(targets))
        )
        variants: dict[str, Call] = {
            PLAIN: lambda: plain.get(f"{api}/open"),
            "one token in a fixed header": lambda: fixed.get(f"{api}/open"),
            POOLED: lambda: pooled.get(f"{api}/open"),
            "a token of the pool, verified by the API": lambda: pooled.get(f"{api}/verified"),
            "a token minted for it (pool_size=0)": lambda: unpooled.get(f"{api}/open"),
        }
        await tokens.get(AUDIENCE, scopes={SCOPE}, timeout=60)
        taken = {name: Taken([], []) for name in variants}
        for turn in range(warm + number):
            if turn == warm:
                gc.collect()
                gc.freeze()
            turns = list(variants.items())
            random.shuffle(turns)
            for name, call in turns:
                began = time.perf_counter(), time.process_time()
                response = await call()
                ended = time.perf_counter(), time.process_time()
                response.raise_for_status()
                if turn >= warm:
                    taken[name].clock.append(ended[0] - began[0])
                    taken[name].processor.append(ended[1] - began[1])
    return taken


def measure(effort: Effort) -> Part:
    """Call in every way, in turn."""
    number, warm = effort.size(CALLS, 20), effort.size(WARM, 5)
    with (
        process(issue, 4 * (number + warm) + 2000) as issuer,
        process(serve, issuer) as api,
    ):
        taken = asyncio.run(calls(issuer, api, number=number, warm=warm))
    plain = taken[PLAIN]
    rows = []
    for name, each in taken.items():
        processor, clock = statistics.median(each.processor), statistics.median(each.clock)
        figures = (
            processor,
            processor - statistics.median(plain.processor),
            tenth(each.processor) - tenth(plain.processor),
            clock,
            clock - statistics.median(plain.clock),
        )
        rows.append((name, *(f"{1e6 * figure:.0f}" for figure in figures)))
    columns = "processor, median µs", "adds", "fastest tenth adds", "clock, median µs", "adds"
    pairs = zip(taken[POOLED].processor, plain.processor, strict=True)
    return Part(
        {"call": table(("a call with", *columns), rows)},
        {"call": rounds.spread([1e6 * (one - other) for one, other in pairs])},
    )


def tenth(times: list[float]) -> float:
    """Return what the fastest tenth took at most: the call on a machine that is all its own."""
    return statistics.quantiles(times, n=10)[0]
