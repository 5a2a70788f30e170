"""However many processes rotate at once, one of them does, and the others are told so."""

from __future__ import annotations

import multiprocessing
import time
from collections import Counter
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from system.changes import begin
from system.changing import Kills, looking
from system.racing import CONFLICT, TOO_EARLY, WON, rotate

from ephemera_issuer.database import connect
from ephemera_issuer.rotation import require_ring

if TYPE_CHECKING:
    from pathlib import Path

    from issuer.fixtures_postgresql import PostgresServer

ROTATORS = 6
ROUNDS = 15
DAY = 86_400.0


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_of_many_who_rotate_at_once_one_wins_and_never_are_two_keys_active(
    tmp_path: Path, postgres: PostgresServer, kind: str
) -> None:
    url = f"sqlite:///{tmp_path / 'ephemera.db'}" if kind == "sqlite" else postgres.new()
    begin(url, tmp_path / "sealing-key")
    processes = multiprocessing.get_context("forkserver")
    together = processes.Barrier(ROTATORS)
    pipes, rotators = [], []
    for _ in range(ROTATORS):
        ours, theirs = processes.Pipe()
        rotator = processes.Process(
            target=rotate, args=(theirs, together, url, tmp_path / "sealing-key"), daemon=True
        )
        rotator.start()
        theirs.close()
        pipes.append(ours)
        rotators.append(rotator)
    outcomes, looks = Counter[str](), Kills()
    try:
        with looking(url, looks) as wrong, closing(connect(url)) as database:
            with database.read() as connection:
                before = require_ring(connection)
            for number in range(1, ROUNDS + 1):
                for pipe in pipes:
                    pipe.send(time.time() + number * DAY)
                answers = [pipe.recv() for pipe in pipes]
                outcomes.update(outcome for outcome, _ in answers)
                winners = [kid for outcome, kid in answers if outcome == WON]
                with database.read() as connection:
                    after = require_ring(connection)
                assert winners == [before.ring.pending.kid] == [after.ring.active.kid]
                assert after.version == before.version + 1
                before = after
        for pipe in pipes:
            pipe.send(None)
        for rotator in rotators:
            rotator.join()
            assert rotator.exitcode == 0
    finally:
        for rotator in rotators:
            rotator.kill()
    assert wrong == []
    assert len(before.ring.retired) == outcomes[WON] == ROUNDS
    assert outcomes[TOO_EARLY] + outcomes[CONFLICT] == ROUNDS * (ROTATORS - 1)
    assert outcomes[CONFLICT] > 0  # so they have met
    print(f"{kind}: {dict(outcomes)}, {looks.looks} looks")  # noqa: T201 - what met is the result
