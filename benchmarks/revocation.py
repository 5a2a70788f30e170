"""How long a revocation takes, to the last of several verifiers.

Two replicas on one database and four verifiers, each a process of its own, two behind each
replica. A trial begins before the transaction that revokes and ends when the last verifier
refuses. Fails where the slowest hundredth takes longer than is promised.
"""

import itertools
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jwt
from system.revoking import Fleet, audience_of, client_of, fleet, kid_of

from benchmarks import rounds
from benchmarks.report import Effort, Part, table

TRIALS = 50
THINKING = 0.005
"""Seconds between two tokens of the load, on a machine that runs all of it."""
REFUSED_WITHIN, CHANGED_WITHIN = 2.0, 1.0


class Measured(NamedTuple):
    """What was measured, how long it took in seconds, and how long it may take."""

    name: str
    seconds: list[float]
    within: float


def by_jti(running: Fleet, number: int) -> float:
    """Revoke one token."""
    raw = running.token(number)
    jti = jwt.decode(raw, options={"verify_signature": False})["jti"]
    return running.delay(number, raw, partial(running.revoke_jti, jti))


def by_client(running: Fleet, number: int) -> float:
    """Cut a client off."""
    raw = running.token(number, replica=number % 2)
    return running.delay(number, raw, partial(running.cut_off, client=client_of(number)))


def by_audience(running: Fleet, number: int) -> float:
    """Cut an audience off."""
    raw = running.token(number, replica=number % 2)
    return running.delay(number, raw, partial(running.cut_off, audience=audience_of(number)))


def by_key(running: Fleet, number: int, minted: list[float]) -> float:
    """Revoke the active key while tokens are minted, and use the next one at once."""
    ended = threading.Event()

    def mint() -> None:
        for turn in itertools.count():
            if ended.wait(THINKING):
                return
            running.token(number, replica=turn % 2)

    kid, raw = running.active_kid(), running.token(number)
    load = threading.Thread(target=mint)
    load.start()
    revoked_at = 0.0

    def revoke() -> None:
        nonlocal revoked_at
        revoked_at = time.monotonic()
        running.revoke_active_key()
        fresh.extend(
            running.until_minted_by_another_key(number, replica, kid) for replica in (0, 1)
        )
        minted.append(time.monotonic() - revoked_at)

    fresh: list[str] = []
    try:
        seconds = running.delay(number, raw, revoke)
    finally:
        ended.set()
        load.join()
    for token in fresh:
        if kid_of(token) == kid or not running.accepted(number, token):
            raise SystemExit("a token of the next key was refused")
    return seconds


def without_grant(running: Fleet, number: int) -> float:
    """Take a grant away, until no replica mints for it."""
    running.token(number)
    began = time.monotonic()
    running.remove_grant(number)
    return max(running.until_ungranted(number, replica) for replica in (0, 1)) - began


def trials(running: Fleet, number: int) -> Iterator[Measured]:
    """Do every kind of trial, each with a client and an audience that no other has touched."""
    numbers = itertools.count()
    kinds: dict[str, Callable[[Fleet, int], float]] = {
        "one token, by its jti": by_jti,
        "a client": by_client,
        "an audience": by_audience,
    }
    every = []
    for name, trial in kinds.items():
        seconds = [trial(running, next(numbers)) for _ in range(number)]
        every += seconds
        yield Measured(name, seconds, REFUSED_WITHIN)
    minted: list[float] = []
    client = next(numbers)
    seconds = [by_key(running, client, minted) for _ in range(number)]
    yield Measured("the active key", seconds, REFUSED_WITHIN)
    yield Measured("all of these", every + seconds, REFUSED_WITHIN)
    yield Measured("the next key signs at both replicas", minted, CHANGED_WITHIN)
    seconds = [without_grant(running, next(numbers)) for _ in range(number)]
    yield Measured("a grant: refused at the mint of both replicas", seconds, CHANGED_WITHIN)


def measure(effort: Effort) -> Part:
    """Do every kind of trial.

    Raises:
        SystemExit: the slowest hundredth of one kind takes longer than is promised.
    """
    number = effort.size(TRIALS, 1)
    with (
        tempfile.TemporaryDirectory() as folder,
        fleet(Path(folder), pairs=4 * number + 1, replicas=2, watchers=4) as running,
    ):
        found = list(trials(running, number))
    rows = []
    for name, seconds, within in found:
        p99 = rounds.quantile(seconds, 0.99)
        if p99 > within and not effort.small:
            raise SystemExit(f"{name}: slower than promised, {p99:.2f} s")
        figures = (statistics.median(seconds), p99, max(seconds))
        rows.append((name, len(seconds), *(f"{1000 * figure:.0f}" for figure in figures)))
    columns = ("what is revoked", "trials", "p50 ms", "p99 ms", "slowest ms")
    return Part({"revocation": table(columns, rows)})
