"""Kills processes by the hundred and looks at what is left: `make faults`.

Three in four of them change the database without a break, the others are a whole `serve` under
load; half of each work on SQLite, half on PostgreSQL.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from issuer.fixtures_postgresql import PostgresServer
from system.changing import kill_changes
from system.deployment import Deployment
from system.restarting import kill_serve

from ephemera_keys import SealingKeys

if TYPE_CHECKING:
    from collections.abc import Callable

    from system.changing import Kills

SEED = 20261127
AT_ONCE = 50
"""Kills before a database is made anew: it grows with what is revoked."""


def deployment_on(folder: Path, server: PostgresServer | None) -> Deployment:
    """An issuer of two workers, whose database is a file or an empty one on a server."""
    settings = {"EPHEMERA_WORKERS": "2"}
    if server is not None:
        SealingKeys.create(folder / "sealing-key")
        settings |= {
            "EPHEMERA_DATABASE_URL": server.new(),
            "EPHEMERA_SEALING_KEY_FILE": str(folder / "sealing-key"),
            "EPHEMERA_REPLAY_URL": f"sqlite:///{folder / 'spent.db'}",
        }
    return Deployment(folder, **settings)


def _changes(folder: Path, server: PostgresServer | None, kills: int, seed: int) -> Kills:
    url = f"sqlite:///{folder / 'ephemera.db'}" if server is None else server.new()
    return kill_changes(url, folder, kills=kills, seed=seed)


def _serve(folder: Path, server: PostgresServer | None, kills: int, seed: int) -> Kills:
    return kill_serve(deployment_on(folder, server), kills=kills, seed=seed)


def _campaign(folder: Path, server: PostgresServer, wanted: int) -> None:
    inside: Counter[str] = Counter()
    done: Counter[str] = Counter()
    shares: list[tuple[str, Callable[..., Kills], int]] = [
        ("changes", _changes, wanted - wanted // 4),
        ("serve", _serve, wanted // 4),
    ]
    total = 0
    for name, campaign, share in shares:
        for kind, on in (("SQLite", None), ("PostgreSQL", server)):
            left = share // 2 if on else share - share // 2
            while left:
                place = folder / f"{name}-{kind}-{left}"
                place.mkdir()
                kills = campaign(place, on, min(left, AT_ONCE), SEED + total)
                print(f"{name}, {kind}: {kills}", flush=True)  # noqa: T201 - it prints what it finds
                total += kills.total
                left -= kills.total
                done.update(kills.acknowledged)
                for (doing, _), count in kills.inside.items():
                    inside[doing] += count
    print(f"{total} kills, {inside.total()} inside a transaction: {dict(inside)}")  # noqa: T201
    print(f"acknowledged, and found again afterwards: {dict(done)}")  # noqa: T201


if __name__ == "__main__":
    began = time.monotonic()
    postgres = PostgresServer()
    try:
        with tempfile.TemporaryDirectory() as made:
            _campaign(Path(made), postgres, int(sys.argv[1]))
    finally:
        postgres.end()
    print(f"{time.monotonic() - began:.0f} s")  # noqa: T201
