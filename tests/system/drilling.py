"""The drill of docs/operations.md: a signing key is stolen, and revoked as the page says.

As a script it does the drill so many times on PostgreSQL and on SQLite, and prints how long it
takes: `make drill`. It ends with 1 where the slowest hundredth takes longer than is promised.
"""

from __future__ import annotations

import itertools
import platform
import statistics
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
from docs.pages import blocks
from docs.running import shell
from issuer.fixtures_postgresql import PostgresServer
from system.revoking import (
    REFUSED,
    SCOPE,
    Fleet,
    audience_of,
    client_of,
    fleet,
)

from ephemera_issuer.mint import mint
from ephemera_issuer.policy import Decision, Rule
from ephemera_issuer.rotation import SigningKeys, require_ring
from ephemera_issuer.sealing_key import open_sealing_keys
from ephemera_keys import SealingKeys

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ephemera_keys import Signer

PAGE = "docs/operations.md"
BEFORE, REVOKE, AFTER = (
    block for block in blocks(PAGE, "sh") if "keys revoke" in block or ".token" in block
)
WITHIN = 2.0
VERIFIERS = 4
CALLERS = 2
THINKING = 0.02
"""Seconds between two tokens of one caller, on a machine that runs all of it."""


@dataclass
class Load:
    """Callers that ask for tokens without a pause, at each replica in turn, and what they got."""

    running: Fleet
    number: int
    ended: threading.Event = field(default_factory=threading.Event)
    moments: list[float] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    latest: str = ""

    def ask(self) -> None:
        with httpx.Client(trust_env=False, timeout=30) as http:
            mine = Fleet(
                self.running.issuer, self.running.replicas, [], self.running.database, http
            )
            turn = 0
            while not self.ended.wait(THINKING):
                turn += 1
                try:
                    answer = mine.mint(self.number, turn % len(mine.replicas))
                except httpx.HTTPError as error:
                    self.refused.append(repr(error))
                    continue
                if answer.status_code == 200:
                    self.latest = answer.json()["access_token"]
                    self.moments.append(time.monotonic())
                else:
                    self.refused.append(f"{answer.status_code} {answer.text}")

    @property
    def longest_pause(self) -> float:
        """Seconds between two tokens in a row, at most."""
        pairs = itertools.pairwise(sorted(self.moments))
        return max((later - sooner for sooner, later in pairs), default=0.0)

    def minted_between(self, began: float, ended: float) -> int:
        return sum(began <= moment <= ended for moment in self.moments)


@contextmanager
def load(running: Fleet, number: int) -> Iterator[Load]:
    """Mint without a pause until the block ends."""
    asked = Load(running, number)
    callers = [threading.Thread(target=asked.ask) for _ in range(CALLERS)]
    for caller in callers:
        caller.start()
    try:
        yield asked
    finally:
        asked.ended.set()
        for caller in callers:
            caller.join()


@dataclass(frozen=True)
class Trial:
    """One key revoked, in seconds.

    `refused` counts from the moment that the revocation bears in the database, `typed` from that at
    which the command was typed; both to the last verifier's refusal of a token of the thief's.
    `signed` counts from the first to a token of the next key from every replica. `minted` is how
    many tokens callers got between the typing and the refusal.
    """

    refused: float
    typed: float
    signed: float
    minted: int


@dataclass(frozen=True)
class Drill:
    """A fleet, and what an operator of it types."""

    running: Fleet
    folder: Path
    environment: dict[str, str] = field(repr=False)

    def types(self, commands: str) -> str:
        status, said, errors = shell(commands, self.folder, self.environment)
        assert status == 0, said + errors
        return said

    def stolen(self) -> Signer:
        """The key that signs, as somebody has it who got at the issuer's memory."""
        file = self.environment.get("EPHEMERA_SEALING_KEY_FILE")
        keys = SigningKeys(
            database=self.running.database,
            sealing_keys=open_sealing_keys(
                self.running.database, file=Path(file) if file else None
            ),
            issuer=self.running.issuer.url,
        )
        with self.running.database.read() as connection:
            return keys.read_signer(connection, require_ring(connection))

    def forge(self, signer: Signer, number: int) -> str:
        """A token that the issuer has never minted, and that nothing tells from one that it has."""
        decision = Decision(
            client_of(number),
            audience_of(number),
            SCOPE,
            900,
            single_use=True,
            rule=Rule.ASKED_LIFETIME,
        )
        issuer = self.running.issuer.url
        return mint(decision, issuer=issuer, signer=signer, now=time.time())

    def once(self, number: int, callers: Load) -> Trial:
        """Steal the key that signs, revoke it, and see that nothing of the thief's is accepted."""
        running = self.running
        thief = self.stolen()
        forged = self.forge(thief, number)
        assert running.accepted(number, forged)
        for watcher in running.watchers:
            watcher.ask(audience_of(number), forged, until_refused=True)
        typed = time.monotonic()
        self.types(REVOKE.replace("KID", thief.kid))
        noted = self._noted(thief.kid)
        fresh = [
            running.until_minted_by_another_key(number, replica, thief.kid)
            for replica in range(len(running.replicas))
        ]
        signed = time.monotonic()
        told = [watcher.told() for watcher in running.watchers]
        assert {outcome for outcome, _ in told} <= REFUSED, told
        last = max(moment for _, moment in told)
        assert all(running.accepted(number, token) for token in fresh)
        assert running.outcomes(number, self.forge(thief, number)) <= REFUSED
        return Trial(
            last - noted, last - typed, signed - noted, callers.minted_between(typed, last)
        )

    def _noted(self, kid: str) -> float:
        with self.running.database.read() as connection:
            revoked_at = require_ring(connection).ring.record(kid).revoked_at
        assert revoked_at is not None
        return revoked_at - (time.time() - time.monotonic())


@contextmanager
def drill(folder: Path, *, database_url: str | None = None) -> Iterator[Drill]:
    """Two replicas on one database and four verifiers, each a process, until the block ends."""
    settings = {}
    if database_url is not None:
        key = folder / "sealing-key"
        SealingKeys.create(key)
        settings = {
            "EPHEMERA_DATABASE_URL": database_url,
            "EPHEMERA_SEALING_KEY_FILE": str(key),
            "EPHEMERA_REPLAY_URL": f"sqlite:///{folder / 'spent.db'}",
        }
    with fleet(folder, pairs=2, replicas=2, watchers=VERIFIERS, settings=settings) as running:
        secret = running.issuer.secret_file.with_name(f"{client_of(0)}.secret")
        environment = running.issuer.environment | {
            "EPHEMERA_ISSUER": running.issuer.url,
            "EPHEMERA_CLIENT_ISSUER": running.issuer.url,
            "EPHEMERA_CLIENT_ID": client_of(0),
            "EPHEMERA_CLIENT_SECRET_FILE": str(secret),
        }
        yield Drill(running, folder, environment)


def _report(kind: str, trials: list[Trial], callers: Load) -> bool:
    refused = [trial.refused for trial in trials]
    p99 = statistics.quantiles(refused, n=100, method="inclusive")[-1]
    shown = [
        f"{1000 * figure:.0f}"
        for figure in (
            statistics.median(refused),
            p99,
            max(refused),
            statistics.median(trial.typed for trial in trials),
            max(trial.typed for trial in trials),
            max(trial.signed for trial in trials),
            callers.longest_pause,
        )
    ]
    row = " | ".join([kind, str(len(trials)), *shown, str(len(callers.moments))])
    print(f"| {row} | {len(callers.refused)} |", flush=True)  # noqa: T201 - it prints what it finds
    return p99 <= WITHIN and not callers.refused


def main(number: int) -> int:
    """Do so many trials on each kind of database; 1 where one is slower than promised."""
    print(f"{platform.machine()}, Python {platform.python_version()}\n")  # noqa: T201
    print(  # noqa: T201 - the same
        "| database | trials | p50 ms | p99 ms | slowest ms | typed, p50 ms | typed, slowest ms "
        "| next key, slowest ms | longest pause of minting ms | minted | refused |\n"
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|"
    )
    good = True
    server = PostgresServer()
    try:
        for kind, url in (("PostgreSQL", server.new()), ("SQLite", None)):
            with (
                tempfile.TemporaryDirectory() as folder,
                drill(Path(folder), database_url=url) as drilled,
            ):
                with load(drilled.running, 1) as callers:
                    trials = [drilled.once(0, callers) for _ in range(number)]
                good &= _report(kind, trials, callers)
    finally:
        server.end()
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
