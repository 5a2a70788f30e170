"""What becomes of the mint as the registry grows, and with a second process."""

import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from benchmarks import cores, issuers, rounds
from benchmarks.issuers import Issuer
from benchmarks.report import Effort, Part, table
from benchmarks.server import Window

MANY = 100_000
_REQUESTS = 2000


def measure(effort: Effort) -> Part:
    """Ask an issuer of few clients, one of many, and one of two workers; all are audited."""
    cores.take_load_core()
    many = effort.size(MANY, 50)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        small = issuers.prepared(folder / "few", audited=True)
        few = stack.enter_context(small.serving())
        grown = stack.enter_context(issuers.ephemera(folder / "many", clients=many, audited=True))
        two = stack.enter_context(small.serving(workers=2))

        def asked(issuer: Issuer) -> Callable[[], Window]:
            number = effort.size(_REQUESTS, 40)
            return lambda: issuer.server.take(issuer.by_secret(number))

        names = {"2": few, f"{many:,}": grown, "2, and two workers": two}
        turns = rounds.take_turns(
            {name: asked(issuer) for name, issuer in names.items()}, rounds=effort.rounds
        )
        memory = {name: issuer.server.memory() for name, issuer in names.items()}
    each = {name: [turn.each for turn in windows] for name, windows in turns.items()}
    rates = {name: [turn.rate for turn in windows] for name, windows in turns.items()}
    rows = [
        (
            name,
            rounds.spread(rates[name]),
            rounds.spread(each[name]),
            rounds.ratio(rates[name], rates["2"]),
            rounds.ratio(each["2"], each[name]),
            f"{memory[name] / 1e6:.0f}",
        )
        for name in names
    ]
    columns = (
        "clients",
        "requests a second",
        "processor, µs each",
        "rate ÷ first line",
        "the same, by the processor",
        "MB",
    )
    return Part(
        {"growth": table(columns, rows)},
        {"clients": rounds.ratio(each["2"], each[f"{many:,}"])},
    )
