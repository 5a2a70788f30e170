"""What verifying a token costs, against the bare signature check and beside other libraries.

All variants take turns within one run, each with tokens that it has not met. Times are of the
processor, not of the clock.
"""

import asyncio
import base64
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.utils import raw_to_der_signature

from benchmarks import ledgers, libraries, rounds
from benchmarks.report import Bar, Effort, Part, table
from benchmarks.tokens import AUDIENCE, ISSUER, KEYS, PUBLIC, SCOPE, mint, published
from ephemera_client import (
    AsyncVerifier,
    Keys,
    NoReplayCache,
    RemoteKeys,
    ReplayCache,
    RevocationFeed,
    SingleProcessReplayCache,
    SQLiteReplayCache,
    StaticKeys,
    Verifier,
)

TOKENS = 200
"""Of a batch: so many that its first, for which nothing is in the caches yet, hardly count."""
_WARM = 20

Batch = Callable[[Sequence[str]], float]
"""Returns the processor seconds that verifying these tokens took."""

BARE = "bare ES256 (cryptography)"
OURS = "Verifier, SingleProcessReplayCache"


def measure(effort: Effort) -> Part:
    """Verify with each."""
    number = effort.size(TOKENS, 5)
    with ExitStack() as stack:
        own = dict(_own(stack))
        others = dict(_others(stack, warm=effort.size(_WARM, 1)))

        def each(batch: Batch) -> Callable[[], float]:
            return lambda: batch([mint() for _ in range(number)]) / number * 1e6

        taken = rounds.take_turns(
            {name: each(batch) for name, batch in {**own, **others}.items()},
            # A round takes half a second, so there can be more of them.
            rounds=effort.size(2 * effort.rounds, 1),
        )
    return Part(
        {
            "verify": _table(own, taken),
            "verify-peers": _table([BARE, OURS, *others], taken),
        },
        {"verify": rounds.ratio(taken[OURS], taken[BARE])},
        "verifying one token: processor time ÷ bare ES256 (less is better)",
        [
            Bar(
                name.split(",")[0] if name == OURS else name,
                _times(taken, name).median,
                name in own,
            )
            for name in (OURS, *others)
        ],
    )


def _table(
    names: "Sequence[str] | Mapping[str, Batch]", taken: Mapping[str, Sequence[float]]
) -> str:
    rows = [(name, rounds.spread(taken[name]), _times(taken, name)) for name in names]
    return table(("variant", "µs a token (middle half)", "÷ bare"), rows)


def _times(taken: Mapping[str, Sequence[float]], name: str) -> rounds.Spread:
    return rounds.ratio(taken[name], taken[BARE])


def _own(stack: ExitStack) -> Iterator[tuple[str, Batch]]:
    directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    loop = asyncio.new_event_loop()
    stack.callback(loop.close)
    jwks_url = stack.enter_context(published(KEYS))
    yield BARE, bare
    yield "Verifier, NoReplayCache", verifier(NoReplayCache())
    yield OURS, verifier(SingleProcessReplayCache())
    yield f"{OURS}, JWKS fetched", verifier(SingleProcessReplayCache(), keys=RemoteKeys(jwks_url))
    for count in (0, 1000):
        yield (
            f"the same, following a feed of {count} revocations",
            verifier(SingleProcessReplayCache(), revocations=stack.enter_context(feed(count))),
        )
    yield "AsyncVerifier, SingleProcessReplayCache", async_verifier(loop)
    sqlite = stack.enter_context(SQLiteReplayCache(directory / "ledger.db"))
    yield "Verifier, SQLiteReplayCache", verifier(sqlite)
    yield "Verifier, RedisReplayCache", verifier(stack.enter_context(ledgers.redis(directory)))


def _others(stack: ExitStack, *, warm: int) -> Iterator[tuple[str, Batch]]:
    jwks_url = stack.enter_context(published(KEYS))
    for name, verify in libraries.in_python(jwks_url).items():
        yield name, each(verify)
    node = stack.enter_context(libraries.in_node(jwks_url))
    versions = node.versions
    for variant in ("bare", "jose", "jose, JWKS fetched", "fast-jwt", "aws-jwt-verify"):
        library, comma, fetched = variant.partition(",")
        name = (
            f"{library} {versions[library]} (npm){comma}{fetched}"
            if library in versions
            else (f"bare ES256 (Node.js {versions['node']})")
        )
        batch: Batch = partial(node.verify, variant)
        # Node.js compiles what has run often.
        for _ in range(warm):
            batch([mint() for _ in range(TOKENS)])
        yield name, batch


def bare(tokens: Sequence[str]) -> float:
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

    def run(tokens: Sequence[str]) -> float:
        began = time.process_time()
        for token in tokens:
            verify(token)
        return time.process_time() - began

    return run


def verifier(
    replay_cache: ReplayCache,
    *,
    keys: Keys | None = None,
    revocations: RevocationFeed | None = None,
) -> Batch:
    """Do every check, and claim."""
    made = Verifier(
        issuer=ISSUER,
        audience=AUDIENCE,
        algorithm="ES256",
        replay_cache=replay_cache,
        revocations=revocations,
        keys=keys or StaticKeys(KEYS),
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

    async def verify(tokens: Sequence[str]) -> float:
        began = time.process_time()
        for token in tokens:
            await made.verify(token, scopes={SCOPE})
        return time.process_time() - began

    return lambda tokens: loop.run_until_complete(verify(tokens))


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
    with (
        published(document, "/v1/revocations", waiting=True) as url,
        RevocationFeed(url) as followed,
    ):
        yield followed
