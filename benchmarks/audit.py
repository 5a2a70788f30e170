"""What the audit costs a mint: without, in files, in the database, and before each answer."""

import tempfile
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import cores, issuers, rounds
from benchmarks.issuers import Issuer
from benchmarks.report import Effort, Part, table
from benchmarks.server import Window

if TYPE_CHECKING:
    from collections.abc import Callable

REQUESTS = 3_000


def measure(effort: Effort) -> Part:
    """Measure minting with a client secret."""
    number_of = effort.size(REQUESTS, 50)
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
        requests = ours["off"].by_secret(number_of)
        turns: dict[str, Callable[[], Window]] = {"bare Starlette": lambda: bare.take(requests)}
        turns |= {name: partial(_take, issuer, number_of) for name, issuer in ours.items()}
        windows = rounds.take_turns(turns, rounds=effort.rounds)
    limit, off = ([turn.each for turn in windows[name]] for name in ("bare Starlette", "off"))
    rows = []
    for name, taken in windows.items():
        each = [turn.each for turn in taken]
        more = [own - without for own, without in zip(each, off, strict=True)]
        adds = rounds.spread(more) if name in kept else ""
        rows.append((name, rounds.spread(each), rounds.ratio(limit, each), adds))
    columns = "audit", "processor, µs each mint", "÷ bare Starlette", "more than off, µs"
    return Part({"audit": table(columns, rows)}, {})


def _take(issuer: Issuer, number: int) -> Window:
    return issuer.server.take(issuer.by_secret(number))
