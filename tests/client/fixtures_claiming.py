"""Claims by hand, and processes that race for them."""

import codecs
import multiprocessing
import os
import resource
from collections.abc import Iterable
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from client.fixtures_verifying import NOW

from ephemera_client import Claim, IssuedBeforeLedger, ReplayCacheUnavailable, TokenReplayed
from ephemera_client.instant import Instant
from ephemera_client.replay import Purpose
from ephemera_client.replay.sqlite import SQLiteReplayCache

# Forking a process that has threads is no test of anything but luck.
_processes = multiprocessing.get_context("spawn")


def claim_of(
    jti: str = "one", *, iat: int = NOW, exp: int = NOW + 120, purpose: Purpose = "token"
) -> Claim:
    return Claim(purpose, "https://tokens.internal", "orders", jti, iat, exp)


def still() -> Instant:
    return Instant(NOW, 5000.0)


def accepted(path: Path, jtis: Iterable[str], *, iat: int = NOW) -> list[str]:
    """Claim one after another and return those that were accepted."""
    found = []
    with SQLiteReplayCache(path, clock=still, deadline=20) as cache:
        for jti in jtis:
            try:
                cache.claim(claim_of(jti, iat=iat), still())
            except (TokenReplayed, IssuedBeforeLedger):
                continue
            found.append(jti)
    return found


def start(work: Any, *arguments: object) -> tuple[BaseProcess, Connection]:
    """Run `work` in a new process with one more argument, the other end of the connection."""
    ours, theirs = _processes.Pipe()
    process = _processes.Process(target=work, args=(*arguments, theirs), daemon=True)
    process.start()
    theirs.close()
    return process, ours


def race(path: Path, jtis: list[str], connection: Connection) -> None:
    connection.send("ready")
    connection.recv()
    connection.send(accepted(path, jtis))


def claim_until_killed(path: Path, run: int, connection: Connection) -> None:
    """Claim without end and say which claims were made; each second one is overdue at once.

    A second goes by with each claim, so that each begins with a purge.
    """
    with SQLiteReplayCache(path, clock=still, deadline=20) as cache:
        for number in range(10_000):
            now = Instant(NOW, 5000.0 + number)
            overdue = NOW - 200_000 + 10_000 * run + number
            cache.claim(claim_of(f"{run}-{number}", iat=NOW + 1), now)
            connection.send(f"{run}-{number}")
            cache.claim(claim_of(f"{run}-{number} overdue", iat=NOW + 1, exp=overdue), now)


def fill_a_small_disk(path: Path, size: int, connection: Connection) -> None:
    """Claim with files limited to `size` until that fails, and report how it did."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
    found = []
    with SQLiteReplayCache(path, clock=still) as cache:
        try:
            for number in range(100_000):
                cache.claim(claim_of(str(number)), still())
                found.append(str(number))
        except ReplayCacheUnavailable as error:
            connection.send((found, error.cause_code))
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        cache.claim(claim_of("with room again"), still())
    connection.send("recovered")


def open_as_nobody(path: Path, connection: Connection) -> None:
    """Use the file as a user who may only read it."""
    codecs.lookup("ascii")  # while the standard library can still be read
    if os.geteuid() == 0:
        os.setuid(65534)
    try:
        accepted(path, ["one"])
    except ReplayCacheUnavailable as error:
        connection.send(error.cause_code)
