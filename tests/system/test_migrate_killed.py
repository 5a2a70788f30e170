"""However `ephemera migrate` ends, the tables are the old ones or the new ones, whole."""

from __future__ import annotations

import itertools
import json
import random
import signal
import subprocess
import sys
from collections import Counter
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from alembic import command
from issuer.fixtures_tables import assert_current
from sqlalchemy import func, select
from system import migrating
from system.migrating import Stage

from ephemera_issuer.database import connect, found, migration, open_database, prepare
from ephemera_issuer.registry.tables import audiences, state

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from issuer.fixtures_postgresql import PostgresServer

KILLS = 30
OLDER = "0001"


@pytest.fixture(params=["sqlite", "postgresql"])
def older(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[], str]:
    """Makes databases with one audience in the tables of the first version."""
    upgrade = command.upgrade
    numbers = itertools.count()
    server: PostgresServer = request.getfixturevalue("postgres")
    on_server = server.new() if request.param == "postgresql" else ""

    def make() -> str:
        url = on_server or f"sqlite:///{tmp_path / f'{next(numbers)}.db'}"
        if on_server:
            name = on_server.rpartition("/")[2]
            server.run("DROP SCHEMA public CASCADE", name)
            server.run("CREATE SCHEMA public", name)
        with monkeypatch.context() as patch:
            patch.setattr(command, "upgrade", lambda config, _: upgrade(config, OLDER))
            with closing(open_database(url, create=True)) as database, database.write() as writer:
                writer.exec_driver_sql(
                    "INSERT INTO audiences VALUES ('a', 'read', 60, true, false, false, 1)"
                )
        return url

    return make


@pytest.fixture
def migrator() -> Iterator[Callable[[str, Stage, float | None], tuple[bool, Stage, float]]]:
    """A warm process that forks a migration for each attempt."""
    process = subprocess.Popen(
        [sys.executable, migrating.__file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )

    def run(url: str, kill_at: Stage, kill_after: float | None) -> tuple[bool, Stage, float]:
        assert process.stdin
        assert process.stdout
        process.stdin.write(
            json.dumps({"url": url, "kill_at": kill_at, "kill_after": kill_after}) + "\n"
        )
        process.stdin.flush()
        answer = json.loads(process.stdout.readline())
        assert answer["status"] in {0, -signal.SIGKILL}
        return answer["status"] != 0, Stage(answer["stage"]), answer["seconds"]

    yield run
    process.communicate()
    assert process.returncode == 0


def revision(url: str) -> str:
    """What the tables are of, once a server has ended what the killed process had begun."""
    with closing(connect(url)) as database:
        with database.write():
            pass  # its turn comes after that of whoever was before
        there = found(database)
    assert there is not None
    return there


def test_a_migration_killed_at_random_moments_leaves_the_old_or_the_new_tables(
    older: Callable[[], str],
    migrator: Callable[[str, Stage, float | None], tuple[bool, Stage, float]],
) -> None:
    moments = random.Random(20261126)  # noqa: S311 - moments, not secrets
    migrator(older(), Stage.LOOKING, None)
    usual = {stage: migrator(older(), stage, None)[2] for stage in (Stage.LOOKING, Stage.OPEN)}
    killed, outcomes = Counter[Stage](), Counter[str]()
    for number in range(KILLS):
        # However fast or slow the machine is by now, most of them begin inside the transaction.
        kill_at = Stage.OPEN if number % 3 else Stage.LOOKING
        url = older()
        was_killed, stage, _ = migrator(url, kill_at, moments.uniform(0, usual[kill_at]))
        there = revision(url)
        if not was_killed or stage is Stage.DONE:
            assert there == migration.head()
        elif stage is Stage.WRITTEN:
            assert there in {OLDER, migration.head()}  # the commit was under way
        else:
            assert there == OLDER
        if was_killed:
            killed[stage] += 1
            outcomes["new" if there == migration.head() else "old"] += 1
        with closing(connect(url)) as database:
            prepare(database, create=True, migrating=True)
            with database.read() as connection:
                assert_current(connection)
                assert connection.scalar(select(func.count()).select_from(audiences)) == 1
                assert connection.scalar(select(func.count()).select_from(state)) == 1
    inside = killed[Stage.OPEN] + killed[Stage.WRITTEN]
    print(  # noqa: T201 - what the kills hit is part of the result
        f"{killed.total()} kills: {inside} while a transaction was open; "
        f"{outcomes['old']} left the old tables, {outcomes['new']} the new ones"
    )
    assert inside > 0
