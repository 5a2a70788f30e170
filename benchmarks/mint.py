"""What minting costs: requests a second on one core, beside bare Starlette and oidc-provider."""

import tempfile
from contextlib import ExitStack
from pathlib import Path

from benchmarks import cores, issuers, rounds
from benchmarks.server import Window

ROUNDS = 9
WINDOW = 0.4
"""Seconds that the requests of one turn should take."""
COUNT = 50


def main() -> None:
    cores.take_load_core()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        ours = stack.enter_context(issuers.ephemera(folder / "ephemera"))
        theirs = stack.enter_context(issuers.oidc_provider())
        bare = stack.enter_context(issuers.bare_starlette())

        def window(server, make, rate) -> Window:
            return server.take(make(int(rate * WINDOW)))

        variants = {
            "bare": lambda: bare.take(ours.by_secret(int(20000 * WINDOW))),
            "ours secret": lambda: ours.server.take(ours.by_secret(int(8000 * WINDOW))),
            "ours assertion": lambda: ours.server.take(ours.by_assertion(int(3000 * WINDOW))),
            "ours 50": lambda: ours.server.take(ours.by_secret(int(500 * WINDOW), count="50")),
            "oidc secret": lambda: theirs.server.take(theirs.by_secret(int(3000 * WINDOW))),
            "oidc assertion": lambda: theirs.server.take(theirs.by_assertion(int(1500 * WINDOW))),
        }
        res = rounds.take_turns(variants, rounds=5)
        for name, ws in res.items():
            print(
                name,
                "rate",
                rounds.spread([w.rate for w in ws]),
                "us",
                rounds.spread([w.each for w in ws]),
                "x bare cpu",
                rounds.ratio([b.each for b in res["bare"]], [w.each for w in ws]),
                "wall",
                rounds.ratio([w.rate for w in ws], [b.rate for b in res["bare"]]),
            )
        for k in "secret", "assertion":
            print(
                k,
                "vs oidc",
                rounds.ratio(
                    [b.each for b in res["oidc " + k]], [w.each for w in res["ours " + k]]
                ),
            )
        print({k: s.memory() / 1e6 for k, s in [("ours", ours.server), ("oidc", theirs.server)]})


if __name__ == "__main__":
    main()
