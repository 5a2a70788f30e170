"""What the audit costs a mint: without, in files, in the database, and before each answer."""

import tempfile
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import cores, issuers, rounds
from benchmarks.issuers import Issuer
from benchmarks.server import Window

if TYPE_CHECKING:
    from collections.abc import Callable

ROUNDS = 9
REQUESTS = 3_000


def main() -> None:
    """Print the table."""
    cores.take_load_core()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        kept = {
            "off": {},
            "file": {"EPHEMERA_AUDIT": f"file:{folder / 'audit'}"},
            "file, before each answer": {
                "EPHEMERA_AUDIT": f"file:{folder / 'audit-first'}",
                "EPHEMERA_AUDIT_BEFORE_ANSWER": "true",
            },
            "database (SQLite)": {"EPHEMERA_AUDIT": "database"},
        }
        bare = stack.enter_context(issuers.bare_starlette())
        ours = {
            name: stack.enter_context(
                issuers.prepared(
                    folder / str(number), settings={**issuers.NO_LIMIT_REACHED, **settings}
                ).serving()
            )
            for number, (name, settings) in enumerate(kept.items())
        }
        requests = ours["off"].by_secret(REQUESTS)
        turns: dict[str, Callable[[], Window]] = {"bare Starlette": lambda: bare.take(requests)}
        turns |= {name: partial(_take, issuer) for name, issuer in ours.items()}
        windows = rounds.take_turns(turns, rounds=ROUNDS)
    print("| audit | processor, µs each mint | ÷ bare Starlette | more than off, µs |")
    print("|---|---:|---:|---:|")
    limit, off = ([turn.each for turn in windows[name]] for name in ("bare Starlette", "off"))
    for name, taken in windows.items():
        each = [turn.each for turn in taken]
        more = [own - without for own, without in zip(each, off, strict=True)]
        print(
            f"| {name} | {rounds.spread(each)} | {rounds.ratio(limit, each)} "
            f"| {rounds.spread(more) if name in kept else ''} |"
        )


def _take(issuer: Issuer) -> Window:
    return issuer.server.take(issuer.by_secret(REQUESTS))


if __name__ == "__main__":
    main()
