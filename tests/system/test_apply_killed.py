"""However `ephemera apply` ends, the registry is the old one or the new one, whole."""

from __future__ import annotations

import json
import random
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from contextlib import closing
from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple, Self

from system import applying
from system.applying import Stage, declare, number_of

from ephemera_issuer.database import open_database
from ephemera_issuer.errors import DatabaseMissing
from ephemera_issuer.registry.entries import Registry
from ephemera_issuer.registry.store import read_registry

if TYPE_CHECKING:
    from pathlib import Path

KILLS = 100
FRESH_EVERY = 5
"""Every so many attempts the apply is a first one, which makes the database too."""

MOST_ATTEMPTS = 300
IN_TRANSACTION = 20
"""So many of the kills, at least, must have hit an open transaction."""

AIMS = (Stage.READING, Stage.OPEN, Stage.WRITTEN)
"""From one of these on a kill is timed: what is over in milliseconds would seldom be hit."""


class Applier:
    """A warm process that forks an apply for each attempt."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, applying.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()
        assert self._process.returncode == 0

    def run(
        self, folder: Path, *, number: int, kill_at: Stage | None, kill_after: float = 0
    ) -> Attempt:
        declare(folder / "registry", number)
        assert self._process.stdin
        assert self._process.stdout
        line = json.dumps({"folder": str(folder), "kill_at": kill_at, "kill_after": kill_after})
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        assert answer["status"] in {0, -signal.SIGKILL}
        return Attempt(answer["status"] != 0, Stage(answer["stage"]), answer["seconds"])


class Attempt(NamedTuple):
    """What became of one apply, and how long it took."""

    killed: bool
    stage: Stage
    seconds: float


def held_in(folder: Path) -> Registry:
    try:
        database = open_database(f"sqlite:///{folder / 'ephemera.db'}", create=False)
    except DatabaseMissing:
        return Registry(audiences={}, clients={}, grants={}, version=0)
    with closing(database), database.read() as connection:
        return read_registry(connection)


def new_folder(parent: Path, number: int) -> Path:
    folder = parent / f"from-{number}"
    folder.mkdir()
    return folder


def test_apply_killed_at_100_random_moments_leaves_the_old_or_the_new_registry(
    tmp_path: Path,
) -> None:
    moments = random.Random(20261123)  # noqa: S311 - moments, not secrets
    folder = new_folder(tmp_path, 1)
    held, killed, outcomes = 2, Counter[Stage](), Counter[str]()
    with Applier() as applier:
        first, later = (
            applier.run(folder, number=number, kill_at=None).seconds for number in (1, 2)
        )
        spans = {(aim, fresh): (later, first)[fresh] for aim in AIMS for fresh in (False, True)}
        for number in range(3, MOST_ATTEMPTS):
            if killed.total() == KILLS:
                break
            fresh = number % FRESH_EVERY == 0
            if fresh:
                folder, held = new_folder(tmp_path, number), 0
            aim = moments.choice(AIMS)
            moment = moments.uniform(0, spans[aim, fresh])
            attempt = applier.run(folder, number=number, kill_at=aim, kill_after=moment)
            # The machine may be busier than it was: aim later after a hit, earlier after a miss.
            spans[aim, fresh] *= 1.2 if attempt.killed else 0.7
            found = number_of(held_in(folder))
            if not attempt.killed or attempt.stage is Stage.DONE:
                assert found == number
            elif attempt.stage is Stage.WRITTEN:
                assert found in {held, number}  # the commit was under way
            else:
                assert found == held
            if attempt.killed:
                killed[attempt.stage] += 1
                outcomes["new" if found == number else "old"] += 1
            held = found
        assert not applier.run(folder, number=MOST_ATTEMPTS, kill_at=None).killed

    in_transaction = killed[Stage.OPEN] + killed[Stage.WRITTEN]
    print(  # noqa: T201 - what the kills hit is part of the result
        f"{killed.total()} kills: {in_transaction} while a transaction was open, "
        f"{killed[Stage.WRITTEN]} of them with every row written and the commit not acknowledged; "
        f"{outcomes['old']} left the old registry, {outcomes['new']} the new one"
    )
    assert killed.total() == KILLS
    assert in_transaction >= IN_TRANSACTION
    assert outcomes["new"] > 0
    the_last_apply_is_whole(folder)


def the_last_apply_is_whole(folder: Path) -> None:
    """Whatever the kills before it left behind."""
    registry = held_in(folder)
    assert number_of(registry) == MOST_ATTEMPTS
    secret = (folder / "secrets" / f"secret-{MOST_ATTEMPTS}.secret").read_bytes()
    assert registry.clients[f"secret-{MOST_ATTEMPTS}"].secret_hashes == (sha256(secret).digest(),)
    assert not list((folder / "secrets").glob("*.new"))
    with closing(sqlite3.connect(folder / "ephemera.db")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
