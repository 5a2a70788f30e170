"""Kills processes that change one database at once, and looks at what is left."""

from __future__ import annotations

import itertools
import random
import threading
from collections import Counter
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select
from system.changes import TIMING, Acknowledged, begin, change, number_of, signing_keys
from system.history import (
    KEY_REVOCATION,
    REGISTRY,
    ROTATION,
    TOKEN_REVOCATION,
    Stage,
    Write,
    committed,
    fingerprint,
)
from system.killable import Aim, Killable

from ephemera_issuer.database import Database, connect
from ephemera_issuer.errors import DatabaseUnusable
from ephemera_issuer.registry.store import read_registry
from ephemera_issuer.registry.tables import revocations
from ephemera_issuer.registry.tables import signing_keys as keys_table
from ephemera_issuer.rotation import require_ring

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

CHANGERS = 3
ONE_OF_EACH = {"active": 1, "pending": 1}


@dataclass
class Kills:
    """What the kills hit, and what was done meanwhile."""

    inside: Counter[tuple[str, Stage]] = field(default_factory=Counter)
    outside: int = 0
    acknowledged: Counter[str] = field(default_factory=Counter)
    looks: int = 0

    @property
    def hits(self) -> int:
        """How many found a transaction open."""
        return self.inside.total()

    @property
    def total(self) -> int:
        return self.hits + self.outside

    def of(self, *kinds: str) -> int:
        """How many found one of these open."""
        return sum(count for (doing, _), count in self.inside.items() if doing in kinds)

    def note(self, hit: Write | None) -> None:
        if hit is None:
            self.outside += 1
        else:
            self.inside[hit.doing, hit.stage] += 1

    def __str__(self) -> str:
        committing = sum(n for (_, stage), n in self.inside.items() if stage is Stage.COMMITTING)
        kinds = Counter[str]()
        for (doing, _), count in self.inside.items():
            kinds[doing] += count
        hit = ", ".join(f"{count} in a {kind}" for kind, count in kinds.most_common())
        done = ", ".join(f"{count} x {kind}" for kind, count in self.acknowledged.most_common())
        return (
            f"{self.total} kills, {self.hits} inside a transaction ({hit}; {committing} of them "
            f"at its commit); all that was acknowledged is there: {done}; "
            f"{self.looks} looks found one active key and one pending"
        )


class Changers:
    """So many processes that change one database; who is killed is replaced."""

    def __init__(self, url: str, sealing_key_file: Path, seed: int) -> None:
        self._database = (url, sealing_key_file)
        self._seeds = itertools.count(seed)
        self._alive = [self._new() for _ in range(CHANGERS)]
        self._dead: list[Killable] = []

    def _new(self) -> Killable:
        return Killable(change, *self._database, next(self._seeds))

    def kill(self, number: int, aim: Aim | None) -> Write | None:
        victim, self._alive[number] = self._alive[number], self._new()
        self._dead.append(victim)
        return victim.kill(aim)

    def strike(self, number: int, aim: Aim, blow: Callable[[], object]) -> None:
        self._alive[number].strike(aim, blow)

    def kill_all(self) -> None:
        """End with all of them, together."""
        while self._alive:
            self._dead.append(self._alive.pop())
            self._dead[-1].kill()

    def wait_for(self, more: int) -> None:
        """Wait until each has done so many changes from now on."""
        for changer in self._alive:
            changer.wait(partial(_enough, _count(changer.told) + more))

    @property
    def writes(self) -> list[Write]:
        return [write for one in self._dead + self._alive for write in one.writes]

    @property
    def acknowledged(self) -> list[Acknowledged]:
        return _acknowledged(self._dead + self._alive)


def _acknowledged(changers: list[Killable]) -> list[Acknowledged]:
    return [word for one in changers for word in list(one.told) if isinstance(word, Acknowledged)]


def _count(told: list[Any]) -> int:
    return sum(isinstance(word, Acknowledged) for word in list(told))


def _enough(count: int, told: list[Any]) -> bool:
    return _count(told) >= count


def states(database: Database) -> dict[str, int]:
    """How many keys are active, and how many pending, by the rows themselves."""
    with database.read() as connection:
        column = keys_table.c.state
        rows = connection.execute(select(column, func.count()).group_by(column))
        return {state: count for state, count in rows if state in ONE_OF_EACH}


@contextmanager
def looking(url: str, kills: Kills) -> Iterator[list[dict[str, int]]]:
    """Look at the keys over and over until the block ends; yields what was not as it should be."""
    ended, wrong = threading.Event(), list[dict[str, int]]()

    def look() -> None:
        with closing(connect(url)) as database:
            while not ended.wait(0.005):
                try:
                    found = states(database)
                except DatabaseUnusable:
                    continue  # it is away
                kills.looks += 1
                if found != ONE_OF_EACH:
                    wrong.append(found)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield wrong
    finally:
        ended.set()
        thread.join()


def held_in(url: str) -> str:
    """The fingerprint of what the database holds, once nothing is under way any more."""
    with closing(connect(url)) as database:
        with database.write():
            pass  # its turn comes after that of whoever was killed
        with database.read() as connection:
            return fingerprint(connection)


def all_is_there(url: str, sealing_key_file: Path, changers: Changers, first: str) -> list[Write]:
    """Every acknowledged change is in force, whole, and both private keys open."""
    row = committed(changers.writes, first=first, last=held_in(url))
    said: dict[str, set[str | int]] = {
        kind: {word.value for word in changers.acknowledged if word.doing == kind}
        for kind in (ROTATION, REGISTRY, TOKEN_REVOCATION, KEY_REVOCATION)
    }
    with closing(connect(url)) as database, database.read() as connection:
        stored = require_ring(connection, TIMING)
        signing_keys(database, sealing_key_file).read_signer(connection, stored)
        registry = read_registry(connection)
        entries = connection.execute(revocations.select()).all()
    assert number_of(registry) == registry.version
    assert all(int(number) <= registry.version for number in said[REGISTRY])
    assert said[TOKEN_REVOCATION] <= {entry.jti for entry in entries}
    assert said[KEY_REVOCATION] <= {entry.kid for entry in entries if entry.kid}
    assert {record.kid for record in stored.ring.revoked} == {
        entry.kid for entry in entries if entry.kid
    }
    return row


def kill_changes(url: str, folder: Path, *, kills: int, seed: int) -> Kills:
    """Kill one changer after another while others go on, and look at what all of them left."""
    sealing_key_file = folder / "sealing-key"
    begin(url, sealing_key_file)
    first, found = held_in(url), Kills()
    moments = random.Random(seed)  # noqa: S311 - moments, not secrets
    spans = {Stage.OPEN: 0.004, Stage.COMMITTING: 0.002}
    changers = Changers(url, sealing_key_file, seed)
    try:
        with looking(url, found) as wrong:
            for _ in range(kills):
                stage = moments.choice(list(spans))
                after = moments.uniform(0, spans[stage])
                hit = changers.kill(moments.randrange(CHANGERS), Aim(stage, after))
                # However fast the machine is: aim earlier after a miss, later after a hit.
                spans[stage] *= 1.2 if hit else 0.7
                found.note(hit)
            changers.wait_for(1)
    finally:
        changers.kill_all()
    assert wrong == []
    all_is_there(url, sealing_key_file, changers, first)
    found.acknowledged.update(word.doing for word in changers.acknowledged)
    return found
