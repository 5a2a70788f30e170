"""How long an issuer takes from nothing to its first token, and what it then holds in memory."""

import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

from benchmarks import cores, issuers, load, rounds
from benchmarks.issuers import Issuer
from benchmarks.report import Effort, Part, table

CLIENTS = 1000
_LOAD = 5000
_STARTS = 9

OURS, PEER = "Ephemera", "oidc-provider"


def measure(effort: Effort) -> Part:
    """Start both again and again, then load both; ours is audited."""
    cores.take_load_core()
    clients = effort.size(CLIENTS, 20)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        ours = issuers.prepared(folder / "ephemera", clients=clients, audited=True)
        runs: dict[str, Callable[[], AbstractContextManager[Issuer]]] = {
            OURS: ours.serving,
            PEER: lambda: issuers.oidc_provider(clients=clients),
        }

        def started(run: Callable[[], AbstractContextManager[Issuer]]) -> Callable[[], float]:
            def turn() -> float:
                began = time.perf_counter()
                with run() as issuer:
                    load.drive(issuer.server.port, issuer.by_secret(1))
                    return time.perf_counter() - began

            return turn

        starts = rounds.take_turns(
            {name: started(run) for name, run in runs.items()},
            rounds=min(effort.rounds, effort.size(_STARTS, 1)),
            warm=not effort.small,
        )
        memory = {name: _loaded(run, effort.size(_LOAD, 100)) for name, run in runs.items()}
    start = rounds.ratio(starts[OURS], starts[PEER])
    held = rounds.ratio(memory[OURS], memory[PEER])
    rows = [
        (
            name,
            rounds.spread([1000 * seconds for seconds in starts[name]]),
            f"{memory[name][-1] / 1e6:.0f}",
        )
        for name in runs
    ]
    columns = ("issuer", "ms to the first token", f"MB, loaded, {clients:,} clients")
    ratios = ("Ephemera ÷ oidc-provider", start, held)
    return Part({"start": table(columns, [*rows, ratios])}, {"start": start, "memory": held})


def _loaded(run: Callable[[], AbstractContextManager[Issuer]], requests: int) -> list[float]:
    # Some looks: Node.js collects its garbage now and then.
    with run() as issuer:
        looks = []
        for _ in range(3):
            issuer.server.take(issuer.by_secret(requests))
            issuer.server.take(issuer.by_assertion(requests // 5))
            looks.append(float(issuer.server.resident()))
        return looks
