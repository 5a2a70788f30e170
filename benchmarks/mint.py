"""What minting costs: processor time of a server on one core, beside bare Starlette and a peer."""

import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from benchmarks import cores, issuers, load, rounds
from benchmarks.report import Bar, Effort, Part, table
from benchmarks.rounds import Spread
from benchmarks.server import Window
from benchmarks.tokens import PRIVATE

WINDOW = 0.3
"""Seconds that the requests of one turn should take."""
COUNT = 50

BARE, SECRET, KEYED, SEVERAL = (
    "bare Starlette, POST",
    "client secret",
    "private_key_jwt",
    "50 tokens",
)
AUDITED = ", audited"
PEER = "oidc-provider"
KEYS, BARE_GET = "our JWKS endpoint", "bare Starlette, GET"
SIGN = "raw ES256 signature"


class Turn(NamedTuple):
    """What one turn gave: requests a second, and microseconds of processor time for each."""

    rate: float
    each: float


def measure(effort: Effort) -> Part:
    """Ask each server in turn."""
    cores.take_load_core()

    def number(rate: int) -> int:
        return effort.size(int(rate * WINDOW), 40)

    def asked(window: Callable[[], Window]) -> Callable[[], Turn]:
        def turn() -> Turn:
            taken = window()
            return Turn(taken.rate, taken.each)

        return turn

    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        ours = stack.enter_context(issuers.ephemera(folder / "ephemera"))
        audited = stack.enter_context(issuers.ephemera(folder / "audited", audited=True))
        theirs = stack.enter_context(issuers.oidc_provider())
        bare = stack.enter_context(issuers.bare_starlette())
        jwks = [load.get("/.well-known/jwks.json")]
        variants: dict[str, Callable[[], Turn]] = {
            BARE: asked(lambda: bare.take(ours.by_secret(number(20_000)))),
            SECRET: asked(lambda: ours.server.take(ours.by_secret(number(8_000)))),
            KEYED: asked(lambda: ours.server.take(ours.by_assertion(number(3_000)))),
            SEVERAL: asked(lambda: ours.server.take(ours.by_secret(number(500), count=str(COUNT)))),
            SECRET + AUDITED: asked(lambda: audited.server.take(audited.by_secret(number(8_000)))),
            KEYED + AUDITED: asked(
                lambda: audited.server.take(audited.by_assertion(number(3_000)))
            ),
            SEVERAL + AUDITED: asked(
                lambda: audited.server.take(audited.by_secret(number(500), count=str(COUNT)))
            ),
            f"{PEER}, {SECRET}": asked(lambda: theirs.server.take(theirs.by_secret(number(3_000)))),
            f"{PEER}, {KEYED}": asked(
                lambda: theirs.server.take(theirs.by_assertion(number(1_500)))
            ),
            BARE_GET: asked(lambda: bare.take([load.get("/")] * number(20_000))),
            KEYS: asked(lambda: ours.server.take(jwks * number(15_000))),
            SIGN: lambda: _signed(number(20_000)),
        }
        turns = rounds.take_turns(variants, rounds=effort.rounds)
    return _found(turns)


def _found(turns: dict[str, list[Turn]]) -> Part:
    def faster(one: str, other: str) -> Spread:
        return rounds.ratio(
            [turn.each for turn in turns[other]], [turn.each for turn in turns[one]]
        )

    def row(name: str, beside: str) -> Sequence[object]:
        rates = rounds.spread([turn.rate for turn in turns[name]])
        each = rounds.spread([turn.each for turn in turns[name]])
        return (name, rates, each, faster(name, beside))

    peers = [f"{PEER}, {method}" for method in (SECRET, KEYED)]
    several, several_audited = (
        rounds.spread([it * COUNT for it in _ratios(turns, SIGN, name)])
        for name in (SEVERAL, SEVERAL + AUDITED)
    )
    own = [name + more for name in (SECRET, KEYED, SEVERAL) for more in ("", AUDITED)]
    columns = ("requests", "requests a second", "processor, µs each", "÷ bare Starlette")
    return Part(
        {
            "mint": table(columns, [row(name, BARE) for name in (BARE, *own, *peers)])
            + f"\n\n50 tokens a request are {several} of the signatures that the same core makes, "
            f"{several_audited} audited, at {rounds.spread([turn.each for turn in turns[SIGN]])} "
            f"µs each. "
            f"Measured beside: {issuers.versions([PEER])}.",
            "jwks": table(columns, [row(name, BARE_GET) for name in (BARE_GET, KEYS)]),
        },
        {
            "secret": faster(SECRET, BARE),
            "secret-peer": faster(SECRET, peers[0]),
            "keyed": faster(KEYED, BARE),
            "keyed-peer": faster(KEYED, peers[1]),
            "several": several,
            "audited-secret": faster(SECRET + AUDITED, BARE),
            "audited-secret-peer": faster(SECRET + AUDITED, peers[0]),
            "audited-keyed": faster(KEYED + AUDITED, BARE),
            "audited-keyed-peer": faster(KEYED + AUDITED, peers[1]),
            "audited-several": several_audited,
        },
        "minting: requests of one core ÷ bare Starlette (more is better)",
        [Bar(BARE, 1.0, ours=False)]
        + [
            Bar(f"Ephemera, {name}" if ours else name, faster(name, BARE).median, ours=ours)
            for name, ours in ((SECRET, True), (peers[0], False), (KEYED, True), (peers[1], False))
        ],
    )


def _ratios(turns: dict[str, list[Turn]], ones: str, others: str) -> list[float]:
    pairs = zip(turns[ones], turns[others], strict=True)
    return [one.each / other.each for one, other in pairs]


def _signed(number: int) -> Turn:
    message = bytes(400)
    began = time.process_time()
    for _ in range(number):
        PRIVATE.sign(message, ec.ECDSA(hashes.SHA256()))
    seconds = time.process_time() - began
    return Turn(number / seconds, seconds / number * 1e6)
