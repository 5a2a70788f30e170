"""What it costs the issuer that a client shows the token of its platform in place of its own proof.

In this process, without a network, with the client's own assertion beside it: they take turns, so
that a machine that is busy for a while is busy for all of them. Times are of the processor.
"""

import asyncio
import json
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from uuid import uuid4

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from benchmarks import rounds
from benchmarks.report import Effort, Part, table
from ephemera_client import SingleProcessReplayCache, instant
from ephemera_issuer.app import create_app
from ephemera_issuer.registry.application import apply
from ephemera_issuer.registry.file import read_files
from ephemera_issuer.settings import Settings
from ephemera_issuer.snapshot import open_keeper

ISSUER, AUDIENCE, SCOPE = "https://tokens.internal", "https://billing.internal", "invoices:read"
CLUSTER, CI = "https://kubernetes.default.svc", "https://ci.internal"
SUBJECT = "system:serviceaccount:shop:orders"
JOBS = "repo:acme/orders:"
REQUESTS = 40
REGISTRY = f"""
[[audiences]]
id = "{AUDIENCE}"
scopes = ["{SCOPE}"]

[[issuers]]
id = "{CLUSTER}"
jwks_file = "cluster.json"
reusable = true

[[issuers]]
id = "{CI}"
jwks_file = "ci.json"

[[clients]]
id = "orders"
jwks_file = "ci.json"
identities = [
    {{ issuer = "{CLUSTER}", subject = "{SUBJECT}" }},
    {{ issuer = "{CI}", subject_prefix = "{JOBS}", claims = {{ environment = "live" }} }},
]

[[grants]]
client = "orders"
audience = "{AUDIENCE}"
scopes = ["{SCOPE}"]
"""

Turn = Callable[[], float]
EC = ec.generate_private_key(ec.SECP256R1())
RSA = rsa.generate_private_key(65537, 2048)


def signed(key: Any, **claims: object) -> str:
    """Make an assertion of our own or of a platform."""
    now = int(time.time())
    algorithm = "RS256" if key is RSA else "ES256"
    said = {"aud": ISSUER, "iat": now, "exp": now + 55} | claims
    return jwt.encode(said, key, algorithm, headers={"kid": "k"})


def own() -> str:
    """Make the client's own assertion."""
    return signed(EC, iss="orders", sub="orders", jti=uuid4().hex)


def of_ci() -> str:
    """Make a token for one job, which is good once."""
    claims = {"sub": f"{JOBS}ref:main", "environment": "live", "jti": uuid4().hex}
    return signed(EC, iss=CI, **claims)


def measure(effort: Effort) -> Part:
    """Measure token requests."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        ask = _issuer(stack, folder)
        account = signed(RSA, iss=CLUSTER, sub=SUBJECT)
        turns: dict[str, Turn] = {
            "private_key_jwt, ES256": lambda: ask([own() for _ in range(REQUESTS)]),
            "a job of a CI, ES256, once": lambda: ask([of_ci() for _ in range(REQUESTS)]),
            "a service account, RS256, again": lambda: ask([account] * REQUESTS),
        }
        taken = rounds.take_turns(turns, rounds=effort.rounds)
    each = {name: [took / REQUESTS * 1e6 for took in times] for name, times in taken.items()}
    first = next(iter(each.values()))
    rows = [
        (name, rounds.spread(times), rounds.ratio(times, first)) for name, times in each.items()
    ]
    columns = "a token request, without its HTTP, with", "processor, µs", "× the first"
    return Part({"federation": table(columns, rows)})


def _issuer(stack: ExitStack, folder: Path) -> Callable[[list[str]], float]:
    """Fill an issuer; what is returned asks it and says how many processor seconds it took."""
    (folder / "registry.toml").write_text(REGISTRY)
    for name, public in (
        ("cluster", RSAAlgorithm.to_jwk(RSA.public_key(), as_dict=True) | {"alg": "RS256"}),
        ("ci", ECAlgorithm.to_jwk(EC.public_key(), as_dict=True) | {"alg": "ES256"}),
    ):
        public.pop("key_ops", None)
        (folder / f"{name}.json").write_text(json.dumps({"keys": [public | {"kid": "k"}]}))
    settings = Settings(issuer=ISSUER, database_url="sqlite://")
    keeper = stack.enter_context(closing(open_keeper(settings, issuer=ISSUER, clock=instant.read)))
    apply(keeper.database, read_files(folder / "registry.toml"), prune=False, secrets=None)
    app = create_app(keeper, issuer=ISSUER, ledger=SingleProcessReplayCache())
    loop = asyncio.new_event_loop()
    stack.callback(loop.close)

    async def ask(assertions: list[str]) -> float:
        keeper.refresh()
        bodies = [_form(assertion) for assertion in assertions]
        began = time.process_time()
        for body in bodies:
            await _post(app, body)
        return time.process_time() - began

    return lambda assertions: loop.run_until_complete(ask(assertions))


def _form(assertion: str) -> bytes:
    return urlencode(
        {
            "grant_type": "client_credentials",
            "resource": AUDIENCE,
            "client_id": "orders",
            "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            "client_assertion": assertion,
        }
    ).encode()


async def _post(app: Any, body: bytes) -> None:
    statuses: list[int] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body}

    async def send(message: dict[str, Any]) -> None:
        if "status" in message:
            statuses.append(message["status"])

    headers = [(b"content-type", b"application/x-www-form-urlencoded")]
    scope = {"type": "http", "method": "POST", "path": "/oauth2/token", "headers": headers}
    await app(scope, receive, send)
    if statuses != [200]:
        raise RuntimeError(f"answered with {statuses}")
