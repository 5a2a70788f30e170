"""Mints tokens by the thousand and looks at what the registry's database makes of it: `make soak`.

The whole application answers, in this process; beside it the snapshot is kept current as always.
"""

from __future__ import annotations

import hashlib
import resource
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import anyio
import anyio.lowlevel
import httpx
from issuer.fixtures_minting import ISSUER, basic
from issuer.fixtures_postgresql import PostgresServer
from issuer.fixtures_registry import BILLING, WHOLE, apply_text
from sqlalchemy import text

from ephemera_client import SingleProcessReplayCache, instant
from ephemera_issuer.app import create_app
from ephemera_issuer.database import Database, open_database
from ephemera_issuer.registry.tables import metadata
from ephemera_issuer.snapshot import SnapshotKeeper
from ephemera_keys import SealingKey, SealingKeys

EACH = 100
"""Tokens in one request: the most there may be."""
_FORM = f"grant_type=client_credentials&resource={BILLING}&count={EACH}"


class Soaked(NamedTuple):
    """What was minted, how long it took, and what the database held before and after."""

    tokens: int
    seconds: float
    before: dict[str, Any]
    after: dict[str, Any]


def soak(url: str, folder: Path, *, tokens: int) -> Soaked:
    """Mint so many tokens at an issuer on the database, which is empty."""
    with closing(open_database(url, create=True)) as database:
        keeper = SnapshotKeeper(
            database, SealingKeys([SealingKey.generate()]), ISSUER, instant.read
        )
        keeper.keys.make_first("ES256", now=instant.read().wall)
        apply_text(database, folder, WHOLE)
        keeper.refresh()
        secret = (folder / "secrets" / "orders.secret").read_text()
        before = holdings(database)
        began = time.monotonic()
        minted = anyio.run(_mint, keeper, secret, tokens)
        return Soaked(minted, time.monotonic() - began, before, holdings(database))


async def _mint(keeper: SnapshotKeeper, secret: str, tokens: int) -> int:
    app = create_app(keeper, issuer=ISSUER, ledger=SingleProcessReplayCache())
    headers = {
        "Authorization": basic("orders", secret),
        "Content-Type": "application/x-www-form-urlencoded",
    }
    minted = 0
    transport = httpx.ASGITransport(app)
    async with (
        anyio.create_task_group() as tasks,
        httpx.AsyncClient(transport=transport, base_url="http://issuer") as http,
    ):
        tasks.start_soon(keeper.run)
        while minted < tokens:
            answer = await http.post("/oauth2/token", content=_FORM, headers=headers)
            assert answer.status_code == 200, answer.text
            minted += len(_tokens(answer))
            await anyio.lowlevel.checkpoint()  # nothing here waits for a network
        tasks.cancel_scope.cancel()
    return minted


def _tokens(answer: httpx.Response) -> list[str]:
    document = answer.json()
    return [document["access_token"], *document["additional_tokens"]]


def holdings(database: Database) -> dict[str, Any]:
    """The rows of each table and the size of the whole; on a server also who wrote last."""
    held: dict[str, Any] = {}
    with database.read() as connection:
        for table in metadata.sorted_tables:
            rows = connection.execute(table.select()).all()
            held[table.name] = hashlib.sha256(repr(sorted(map(repr, rows))).encode()).hexdigest()
            held[f"{table.name}, rows"] = len(rows)
            if database.remote:
                # Every change of a row leaves the number of its transaction there.
                query = f"SELECT max(xmin::text::bigint) FROM {table.name}"  # noqa: S608 - ours
                held[f"{table.name}, transaction"] = connection.scalar(text(query))
                size = text("SELECT pg_relation_size(CAST(:name AS regclass))")
                held[f"{table.name}, bytes"] = connection.scalar(size, {"name": table.name})
    if database.path is not None:
        for file in (database.path, Path(f"{database.path}-wal")):
            held[f"{file.name}, bytes"] = file.stat().st_size
            held[file.name] = hashlib.sha256(file.read_bytes()).hexdigest()
    return held


def _report(kind: str, soaked: Soaked) -> bool:
    flat = soaked.before == soaked.after
    size = sum(value for name, value in soaked.after.items() if name.endswith(", bytes"))
    print(  # noqa: T201 - it prints what it finds
        f"{kind}: {soaked.tokens:,} tokens in {soaked.seconds:.0f} s "
        f"({soaked.tokens / soaked.seconds:,.0f}/s); the database {'is flat' if flat else 'grew'} "
        f"at {size:,} bytes; at most "
        f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MiB of memory"
    )
    for name, value in soaked.after.items():
        if soaked.before[name] != value:
            print(f"  {name}: {soaked.before[name]} -> {value}")  # noqa: T201 - the same
    return flat


if __name__ == "__main__":
    wanted = int(sys.argv[1])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        found = [_report("SQLite", soak(f"sqlite:///{folder}/e.db", folder, tokens=wanted))]
        server = PostgresServer()
        try:
            other = folder / "server"
            other.mkdir()
            found.append(_report("PostgreSQL", soak(server.new(), other, tokens=wanted)))
        finally:
            server.end()
    sys.exit(not all(found))
