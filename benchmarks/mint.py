"""What minting costs: requests a second on one core, beside bare Starlette and oidc-provider."""

import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from benchmarks import cores, issuers, rounds
from benchmarks.server import Window

ROUNDS = 9
WINDOW = 0.4
"""Seconds that the requests of one turn should take."""
COUNT = 50


class Row(NamedTuple):
    """A name for the table, and what one turn of it is."""

    name: str
    turn: Callable[[], Window]


def main() -> None:
    """Print the tables."""
    cores.take_load_core()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        ours = stack.enter_context(issuers.ephemera(folder / "ephemera"))
        theirs = stack.enter_context(issuers.oidc_provider())
        bare = stack.enter_context(issuers.bare_starlette())
        rows = (
            Row("bare Starlette", lambda: bare.take(ours.by_secret(_number(20_000)))),
            Row("client secret", lambda: ours.server.take(ours.by_secret(_number(8_000)))),
            Row("private_key_jwt", lambda: ours.server.take(ours.by_assertion(_number(3_000)))),
            Row(
                f"count={COUNT}",
                lambda: ours.server.take(ours.by_secret(_number(500), count=str(COUNT))),
            ),
            Row(
                "oidc-provider, client secret",
                lambda: theirs.server.take(theirs.by_secret(_number(3_000))),
            ),
            Row(
                "oidc-provider, private_key_jwt",
                lambda: theirs.server.take(theirs.by_assertion(_number(1_500))),
            ),
        )
        windows = rounds.take_turns({row.name: row.turn for row in rows}, rounds=ROUNDS)
        memory = {"ours": ours.server.memory(), "oidc-provider": theirs.server.memory()}
    print(issuers.versions(["oidc-provider"]))
    print("\n| requests | req/s | processor, µs each | ÷ bare Starlette |\n|---|---:|---:|---:|")
    for name, turns in windows.items():
        rates = [turn.rate for turn in turns]
        each = [turn.each for turn in turns]
        limit = [turn.each for turn in windows["bare Starlette"]]
        print(
            f"| {name} | {rounds.spread(rates)} | {rounds.spread(each)} "
            f"| {rounds.ratio(limit, each)} |"
        )
    for method in ("client secret", "private_key_jwt"):
        peer = [turn.each for turn in windows[f"oidc-provider, {method}"]]
        own = [turn.each for turn in windows[method]]
        print(f"\n{method} ÷ oidc-provider: {rounds.ratio(peer, own)}")
    for name, size in memory.items():
        print(f"memory of {name}: {size / 1e6:.0f} MB")


def _number(rate: int) -> int:
    """So many requests as take about one window at this rate, a second."""
    return int(rate * WINDOW)


if __name__ == "__main__":
    main()
