"""What a claim costs with few live ids in the ledger and with many, and what an id weighs.

Claims alone, without any token: their processor time in this process, by the clock for SQLite,
whose work is done in it as well but waits for the disk.
"""

import asyncio
import gc
import multiprocessing
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import count, islice
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from benchmarks import ledgers, rounds
from benchmarks.report import Effort, Part, table
from benchmarks.tokens import ISSUER
from ephemera_client import (
    RedisReplayCache,
    ReplayCache,
    SingleProcessReplayCache,
    SQLiteReplayCache,
    instant,
)
from ephemera_client.replay import Claim

AT_ONCE = 128
LIVE = 1_000_000
MOST = 10_000_000
_CLAIMS = 2_000

T = TypeVar("T")


class Grown(NamedTuple):
    """Microseconds a claim, round by round, with few ids in a ledger and with many; bytes an id."""

    few: Sequence[float]
    many: Sequence[float]
    weight: float

    def row(self, ledger: str, live: int) -> tuple[str, ...]:
        """Write a row."""
        slower = rounds.ratio(self.many, self.few)
        few, many = rounds.spread(self.few), rounds.spread(self.many)
        return (ledger, f"{live:,}", str(few), str(many), str(slower), f"{self.weight:.0f}")


def measure(effort: Effort) -> Part:
    """Claim in each ledger."""
    live, most = effort.size(LIVE, 10_000), effort.size(MOST, 20_000)
    claims = effort.size(_CLAIMS, 300)
    process = {
        number: apart(partial(in_process, number, claims=claims, turns=effort.rounds))
        for number in (live, most)
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sqlite = in_sqlite(folder, live, claims=claims, turns=effort.rounds)
        with ledgers.redis(folder) as cache:
            redis = in_redis(cache, folder, live, claims=claims, turns=effort.rounds)
    rows = [
        *(it.row("SingleProcessReplayCache", number) for number, it in process.items()),
        sqlite.row("SQLiteReplayCache", live),
        redis.row(f"RedisReplayCache, {AT_ONCE} at once", live),
    ]
    weight = process[live].weight
    columns = ("ledger", "live ids", "µs a claim, few ids", "µs, so many", "÷ few", "bytes an id")
    return Part(
        {"replay": table(columns, rows)},
        {
            "redis": rounds.spread(redis.few),
            "entries": rounds.Spread(weight, weight, weight),
        },
    )


def in_process(live: int, *, claims: int, turns: int) -> Grown:
    """Fill a cache; each round claims in it and in a new one. For a process of its own."""
    made = _claims()
    few, many = [], []
    before = _resident()
    full = SingleProcessReplayCache(max_entries=live + (turns + 1) * claims)
    _fill(full, islice(made, live))
    weight = (_resident() - before) / live
    for _ in range(turns):
        new = SingleProcessReplayCache()
        few.append(_one_by_one(new, islice(made, claims), time.process_time))
        many.append(_one_by_one(full, islice(made, claims), time.process_time))
    return Grown(few, many, weight)


def in_sqlite(folder: Path, live: int, *, claims: int, turns: int) -> Grown:
    """Do the same with a file."""
    made = _claims()
    few, many = [], []
    path = folder / "full.db"
    with SQLiteReplayCache(path) as full, SQLiteReplayCache(folder / "new.db") as new:
        asyncio.run(_at_once(full, islice(made, live)))
        for _ in range(turns):
            few.append(_one_by_one(new, islice(made, claims), time.perf_counter))
            many.append(_one_by_one(full, islice(made, claims), time.perf_counter))
    return Grown(few, many, path.stat().st_size / live)


def in_redis(cache: RedisReplayCache, folder: Path, live: int, *, claims: int, turns: int) -> Grown:
    """Do the same with a server; many tasks claim at once."""

    def turn() -> float:
        return asyncio.run(_timed(cache, list(islice(made, claims))))

    made = _claims()
    turn()
    few = [turn() for _ in range(turns)]
    before = ledgers.used_memory(folder)
    asyncio.run(_at_once(cache, islice(made, live)))
    weight = (ledgers.used_memory(folder) - before) / live
    many = [turn() for _ in range(turns)]
    return Grown(few, many, weight)


def apart(work: Callable[[], T]) -> T:
    """Run this in a process of its own, whose memory is then all due to it."""
    here, there = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_report, args=(there, work))
    process.start()
    there.close()
    try:
        result: T = here.recv()
        return result
    finally:
        process.join()


def _report(there: Connection, work: Callable[[], Any]) -> None:
    there.send(work())


def _claims() -> Iterator[Claim]:
    # Ends over two minutes, as the tokens of so long.
    run = time.time_ns()
    for number in count():
        born = int(time.time()) + 1
        yield Claim("token", ISSUER, "orders", f"{run}-{number}", born, born + 300 + number % 120)


def _fill(cache: SingleProcessReplayCache, claims: Iterable[Claim]) -> None:
    now = instant.read()
    for claim in claims:
        cache.claim(claim, now)


def _one_by_one(cache: ReplayCache, claims: Iterable[Claim], clock: Callable[[], float]) -> float:
    made = list(claims)
    gc.collect()
    now = instant.read()
    began = clock()
    for claim in made:
        cache.claim(claim, now)
    return (clock() - began) / len(made) * 1e6


async def _timed(cache: ReplayCache, claims: Sequence[Claim]) -> float:
    gc.collect()
    began = time.process_time()
    await _at_once(cache, iter(claims))
    return (time.process_time() - began) / len(claims) * 1e6


async def _at_once(cache: ReplayCache, claims: Iterator[Claim]) -> None:
    async def work() -> None:
        for claim in claims:
            await cache.claim_async(claim, instant.read())

    async with asyncio.TaskGroup() as tasks:
        for _ in range(AT_ONCE):
            tasks.create_task(work())


def _resident() -> int:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096
