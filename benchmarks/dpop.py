"""What binding tokens to a key costs, at the mint, at the verifier and at the caller: `make bench`.

Each part runs in this process, without a network, beside the same without a proof; they take turns,
so that a machine that is busy for a while is busy for all of them. Times are of the processor.
"""

import asyncio
import base64
import secrets
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from benchmarks import rounds
from benchmarks.report import Effort, Part, table
from ephemera_client import (
    DPoP,
    DPoPKey,
    DPoPNonces,
    Presented,
    SingleProcessReplayCache,
    StaticKeys,
    Verifier,
    instant,
)
from ephemera_client.compact import strict_json
from ephemera_issuer.app import create_app
from ephemera_issuer.registry.application import apply
from ephemera_issuer.registry.file import read_files
from ephemera_issuer.registry.secrets import SecretsDirectory
from ephemera_issuer.settings import Settings
from ephemera_issuer.snapshot import open_keeper

ISSUER, AUDIENCE, SCOPE = "https://tokens.internal", "https://billing.internal", "invoices:read"
TOKEN_URL, API_URL = f"{ISSUER}/oauth2/token", f"{AUDIENCE}/invoices"
REQUESTS = 40
ALGORITHMS = ("ES256", "EdDSA", "RS256")
REGISTRY = f"""
[[audiences]]
id = "{AUDIENCE}"
scopes = ["{SCOPE}"]

[[clients]]
id = "orders"
secret = "generate"

[[grants]]
client = "orders"
audience = "{AUDIENCE}"
scopes = ["{SCOPE}"]
"""

Turn = Callable[[], float]
App = Any


class Mint:
    """An issuer in this process, asked as a server would ask it."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        (folder / "registry.toml").write_text(REGISTRY)
        settings = Settings(issuer=ISSUER, database_url="sqlite://")
        self._keeper = stack.enter_context(
            closing(open_keeper(settings, issuer=ISSUER, clock=instant.read))
        )
        declared = read_files(folder / "registry.toml")
        directory = SecretsDirectory(folder / "secrets", reuse=False)
        apply(self._keeper.database, declared, prune=False, secrets=directory)
        snapshot = self._keeper.refresh()
        self.keys = strict_json(snapshot.jwks)
        self._secret = (folder / "secrets" / "orders.secret").read_text().strip()
        self._loop = asyncio.new_event_loop()
        stack.callback(self._loop.close)

    def app(self, nonces: DPoPNonces | None = None) -> App:
        """Make the application; its ledger of proofs is in memory."""
        return create_app(
            self._keeper, issuer=ISSUER, ledger=SingleProcessReplayCache(), dpop_nonces=nonces
        )

    def ask(self, app: App, proofs: list[str], *, count: int = 1) -> tuple[float, list[str]]:
        """Return the processor seconds of as many requests as there are proofs, and the tokens."""
        pair = base64.b64encode(f"orders:{self._secret}".encode())
        body = f"grant_type=client_credentials&resource={AUDIENCE}&count={count}".encode()
        headers = [
            (b"authorization", b"Basic " + pair),
            (b"content-type", b"application/x-www-form-urlencoded"),
        ]
        answers: list[bytes] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body}

        async def send(message: dict[str, Any]) -> None:
            answers.append(message.get("body", b""))

        async def ask_all() -> float:
            self._keeper.refresh()
            began = time.process_time()
            for proof in proofs:
                more = [(b"dpop", proof.encode())] if proof else []
                scope = {
                    "type": "http",
                    "method": "POST",
                    "path": "/oauth2/token",
                    "headers": headers + more,
                }
                await app(scope, receive, send)
            return time.process_time() - began

        took = self._loop.run_until_complete(ask_all())
        documents = [strict_json(answer) for answer in answers if answer]
        found = [[it["access_token"], *it.get("additional_tokens", [])] for it in documents]
        return took, [token for each in found for token in each]


def proofs(key: DPoPKey, nonces: DPoPNonces | None, number: int) -> list[str]:
    """Make proofs for token requests."""
    now = time.time()
    nonce = None if nonces is None else nonces.make(now)
    return [key.proof("POST", TOKEN_URL, token=None, nonce=nonce, now=now) for _ in range(number)]


def minting(mint: Mint) -> dict[str, Turn]:
    """Return the variants of a token request."""
    nonces = DPoPNonces.of_this_process()
    plain, nonced = mint.app(), mint.app(nonces)
    key = DPoPKey.generate()
    turns: dict[str, Turn] = {
        "mint, no proof": lambda: mint.ask(plain, [""] * REQUESTS)[0],
    }
    for algorithm in ALGORITHMS:
        own = DPoPKey.generate(algorithm)
        turns[f"mint, {algorithm} proof"] = lambda own=own: mint.ask(  # type: ignore[misc]
            plain, proofs(own, None, REQUESTS)
        )[0]
    turns["mint, ES256 proof by a new key each"] = lambda: mint.ask(
        plain, [proofs(DPoPKey.generate(), None, 1)[0] for _ in range(REQUESTS)]
    )[0]
    turns["mint, ES256 proof with nonce"] = lambda: mint.ask(nonced, proofs(key, nonces, REQUESTS))[
        0
    ]
    return turns


def verifying(mint: Mint) -> dict[str, Turn]:
    """Return the variants of a token that is verified and claimed."""
    app = mint.app()
    nonces = DPoPNonces.of_this_process()

    def verifier(dpop: DPoP | None) -> Verifier:
        return Verifier(
            issuer=ISSUER,
            audience=AUDIENCE,
            algorithm="ES256",
            replay_cache=SingleProcessReplayCache(),
            keys=StaticKeys(mint.keys),
            dpop=dpop,
        )

    def bearer(by: Verifier) -> float:
        _, tokens = mint.ask(app, [""], count=REQUESTS)
        began = time.process_time()
        for token in tokens:
            by.verify(token, scopes={SCOPE})
        return time.process_time() - began

    def bound(by: Verifier, key: DPoPKey, given: DPoPNonces | None = None) -> float:
        now = time.time()
        _, tokens = mint.ask(app, proofs(key, None, 1), count=REQUESTS)
        nonce = None if given is None else given.make(now)
        made = [key.proof("GET", API_URL, token=it, nonce=nonce, now=now) for it in tokens]
        shown = [Presented("GET", API_URL, proof) for proof in made]
        began = time.process_time()
        for token, presented in zip(tokens, shown, strict=True):
            by.verify(token, scopes={SCOPE}, presented=presented)
        return time.process_time() - began

    plain = verifier(None)
    either = verifier(DPoP(origin=AUDIENCE, required=False))
    nonced = verifier(DPoP(origin=AUDIENCE, required=True, nonces=nonces))
    key = DPoPKey.generate()
    turns: dict[str, Turn] = {
        "verify, Bearer": lambda: bearer(plain),
        "verify, Bearer where bound tokens are taken too": lambda: bearer(either),
    }
    for algorithm in ALGORITHMS:
        own = DPoPKey.generate(algorithm)
        turns[f"verify, {algorithm} proof"] = lambda own=own: bound(either, own)  # type: ignore[misc]
    turns["verify, ES256 proof with nonce"] = lambda: bound(nonced, key, nonces)
    return turns


def proving() -> dict[str, Turn]:
    """Return what it takes a caller to make the proof of a call."""

    def made(key: DPoPKey) -> float:
        token, now = secrets.token_urlsafe(300), time.time()
        began = time.process_time()
        for _ in range(REQUESTS):
            key.proof("GET", API_URL, token=token, nonce=None, now=now)
        return time.process_time() - began

    keys = {algorithm: DPoPKey.generate(algorithm) for algorithm in ALGORITHMS}
    return {
        f"make a proof, {algorithm}": lambda key=key: made(key)  # type: ignore[misc]
        for algorithm, key in keys.items()
    }


def measured(title: str, turns: Mapping[str, Turn], count: int) -> str:
    """Measure variants and write their table, each beside the first."""
    taken = rounds.take_turns(turns, rounds=count)
    each = {name: [took / REQUESTS * 1e6 for took in times] for name, times in taken.items()}
    first = next(iter(each.values()))
    rows = [
        (
            name,
            rounds.spread(times),
            rounds.ratio(times, first),
            rounds.spread([one - other for one, other in zip(times, first, strict=True)]),
        )
        for name, times in each.items()
    ]
    return table((title, "processor, µs", "× the first", "adds µs"), rows)


def measure(effort: Effort) -> Part:
    """Measure a token request, a verification and the making of a proof, with and without."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        mint = Mint(stack, folder)
        tables = (
            measured("a token request, without its HTTP", minting(mint), effort.rounds),
            measured("a token verified and claimed", verifying(mint), effort.rounds),
            measured("a call's proof, at the caller", proving(), effort.rounds),
        )
    return Part({"dpop": "\n\n".join(tables)})
