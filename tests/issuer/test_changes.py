"""Word of a change, and what happens while a database is away, on a server of its own."""

from __future__ import annotations

import signal
import threading
from contextlib import asynccontextmanager, closing
from functools import partial
from typing import TYPE_CHECKING

import anyio
import httpx
import pytest
from alembic import command
from issuer.fixtures_minting import BILLING, ISSUER, NOW, basic
from issuer.fixtures_postgresql import PostgresServer
from issuer.fixtures_registry import WHOLE, apply_text
from structlog.testing import capture_logs

from ephemera_client import SingleProcessReplayCache, instant
from ephemera_client.instant import Instant
from ephemera_issuer import snapshot as module
from ephemera_issuer.app import create_app
from ephemera_issuer.changes import Changes
from ephemera_issuer.database import connect, open_database, postgresql, prepare
from ephemera_issuer.errors import (
    DatabaseUnreachable,
    SealingKeyProblem,
    SettingsInvalid,
)
from ephemera_issuer.registry.clients import set_disabled
from ephemera_issuer.settings import Settings
from ephemera_issuer.snapshot import SnapshotKeeper, open_keeper
from ephemera_keys import SealingKeys

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from ephemera_issuer.database import Database

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Hands:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> Instant:
        return self.now

    def move(self, seconds: float) -> None:
        self.now = Instant(self.now.wall + seconds, self.now.monotonic + seconds)


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """A server that tests may stop."""
    made = PostgresServer()
    yield made
    made.end()


@pytest.fixture
def settings(server: PostgresServer, tmp_path: Path) -> Settings:
    SealingKeys.create(tmp_path / "sealing-key")
    return Settings(database_url=server.new(), sealing_key_file=tmp_path / "sealing-key")


@pytest.fixture
def database(settings: Settings) -> Iterator[Database]:
    with closing(open_database(settings.database_url, create=True)) as opened:
        yield opened


@asynccontextmanager
async def running(keeper: SnapshotKeeper) -> AsyncIterator[None]:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(keeper.run)
        yield
        tasks.cancel_scope.cancel()


async def eventually(happened: Callable[[], bool]) -> None:
    with anyio.fail_after(30):
        while not await anyio.to_thread.run_sync(happened):  # noqa: ASYNC110 - nobody tells
            await anyio.sleep(0.005)


def confirmed(keeper: SnapshotKeeper) -> bool:
    return keeper.current is not None and keeper.current.fresh(instant.read())


def is_other(keeper: SnapshotKeeper, before: object) -> bool:
    return keeper.current is not before


def is_disabled(keeper: SnapshotKeeper, expected: object) -> bool:
    clients = keeper.current.clients if keeper.current else {}
    return "orders" in clients and clients["orders"].disabled == expected


async def until_listening(server: PostgresServer, database: Database) -> None:
    name = database.location.rpartition("/")[2]
    query = "SELECT datname FROM pg_stat_activity WHERE query LIKE 'LISTEN%' AND state = 'idle'"
    await eventually(lambda: (name,) in server.run(query))


@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_word_of_a_change_ends_the_waiting(
    server: PostgresServer, database: Database, tmp_path: Path
) -> None:
    changes = Changes(database)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(changes.listen)
        await until_listening(server, database)
        await changes.wait(0.1)  # listening itself is news
        for text in (WHOLE, WHOLE.replace('"5m"', '"2m"')):
            await anyio.to_thread.run_sync(apply_text, database, tmp_path, text)
            with anyio.fail_after(30):
                await changes.wait(3600)
        tasks.cancel_scope.cancel()


async def test_a_change_that_is_undone_is_no_news(
    server: PostgresServer, database: Database
) -> None:
    heard = threading.Semaphore(0)
    ended = threading.Event()
    listening = threading.Thread(
        target=postgresql.listen, args=[database, ended, heard.release], daemon=True
    )
    listening.start()
    try:
        await until_listening(server, database)
        assert heard.acquire(timeout=30)
        with pytest.raises(LookupError), database.write():
            raise LookupError
        with database.write():
            pass
        assert heard.acquire(timeout=30)
        assert not heard.acquire(blocking=False)
    finally:
        ended.set()
        listening.join()


async def test_a_listener_whose_connection_is_cut_listens_again(
    server: PostgresServer, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgresql, "_LISTEN_AGAIN", (0.01, 0.01))
    changes = Changes(database)
    with capture_logs() as logs:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(changes.listen)
            for _ in range(3):
                await until_listening(server, database)
                await anyio.to_thread.run_sync(
                    server.run,
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE query LIKE 'LISTEN%'",
                )
            await until_listening(server, database)
            tasks.cancel_scope.cancel()
    assert {entry["event"] for entry in logs} == {"not_listening", "listening_again"}


async def test_without_word_changes_are_seen_when_they_are_looked_for(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What a pooler may answer that has no sessions to listen in.
    monkeypatch.setattr(postgresql, "_listening", refusing)
    with (
        closing(open_database(settings.database_url, create=True)) as database,
        capture_logs() as logs,
        closing(open_keeper(settings, issuer=ISSUER, clock=lambda: NOW)) as keeper,
    ):
        async with running(keeper):
            await anyio.to_thread.run_sync(apply_text, database, tmp_path, WHOLE)
            await eventually(lambda: bool(keeper.current and keeper.current.clients))
    assert [entry["event"] for entry in logs] == ["not_listening"]


def refusing(_database: Database) -> Iterator[None]:
    raise DatabaseUnreachable("LISTEN is not supported here")


async def test_a_database_that_is_gone_stops_the_minting_at_30_seconds_and_its_return_resumes_it(
    server: PostgresServer, settings: Settings, tmp_path: Path
) -> None:
    clock = Hands()
    with closing(open_keeper(settings, issuer=ISSUER, clock=clock)) as keeper:
        apply_text(keeper.database, tmp_path, WHOLE)
        keeper.refresh()
        secret = (tmp_path / "secrets" / "orders.secret").read_text()
        application = create_app(
            keeper, issuer=ISSUER, ledger=SingleProcessReplayCache(clock=clock), clock=clock
        )
        transport = httpx.ASGITransport(application)
        async with httpx.AsyncClient(transport=transport, base_url="http://issuer") as http:

            async def statuses() -> tuple[int, int, int]:
                form = {"grant_type": "client_credentials", "resource": BILLING}
                headers = {"Authorization": basic("orders", secret)}
                minted = await http.post("/oauth2/token", data=form, headers=headers)
                ready = await http.get("/readyz")
                keys = await http.get("/.well-known/jwks.json")
                return minted.status_code, ready.status_code, keys.status_code

            assert await statuses() == (200, 200, 200)
            server.stop(signal.SIGQUIT)
            for seconds, expected in ((30, (200, 200, 200)), (0.5, (503, 503, 200))):
                clock.move(seconds)
                with pytest.raises(DatabaseUnreachable):
                    keeper.refresh()
                assert await statuses() == expected
            server.start()
            keeper.refresh()
            assert await statuses() == (200, 200, 200)


async def test_running_outlives_a_database_that_goes_and_comes_back_again_and_again(
    server: PostgresServer, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "REFRESH_EVERY", 0.01)
    with (
        capture_logs() as logs,
        closing(open_keeper(settings, issuer=ISSUER, clock=instant.read)) as keeper,
    ):
        async with running(keeper):
            for _ in range(3):
                await anyio.to_thread.run_sync(server.stop)
                await anyio.to_thread.run_sync(server.start)
                before = keeper.current
                await eventually(partial(is_other, keeper, before))
    events = [entry["event"] for entry in logs if "snapshot" in entry["event"]]
    assert events.count("snapshot_not_refreshed") == events.count("snapshot_refreshed_again") == 3


async def test_a_frozen_database_holds_up_neither_the_answers_nor_the_end(
    server: PostgresServer, settings: Settings
) -> None:
    with closing(open_keeper(settings, issuer=ISSUER, clock=instant.read)) as keeper:
        with anyio.fail_after(30):
            async with running(keeper):
                server.signal_all(signal.SIGSTOP)
                await anyio.sleep(module.REFRESH_EVERY * 2)
        assert keeper.current is not None
    server.signal_all(signal.SIGCONT)


async def test_an_issuer_that_is_started_before_its_database_waits_for_it(
    server: PostgresServer, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "REFRESH_EVERY", 0.01)
    server.stop()
    with (
        capture_logs() as logs,
        closing(open_keeper(settings, issuer=ISSUER, clock=instant.read)) as keeper,
    ):
        assert not confirmed(keeper)
        async with running(keeper):
            await anyio.to_thread.run_sync(server.start)
            await eventually(partial(confirmed, keeper))
        assert confirmed(keeper)
    assert logs[0]["event"] == "waiting_for_the_database"
    assert "postgresql://127.0.0.1" in logs[0]["reason"]


async def test_an_issuer_that_is_started_before_the_migration_waits_for_it(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "REFRESH_EVERY", 0.01)
    upgrade = command.upgrade
    with monkeypatch.context() as patch:
        patch.setattr(command, "upgrade", lambda config, _: upgrade(config, "0002"))
        open_database(settings.database_url, create=True).close()
    with (
        capture_logs() as logs,
        closing(open_keeper(settings, issuer=ISSUER, clock=instant.read)) as keeper,
    ):
        assert not confirmed(keeper)
        async with running(keeper):
            with closing(connect(settings.database_url)) as database:
                prepare(database, create=True, migrating=True)
            await eventually(partial(confirmed, keeper))
    assert "ephemera migrate" in logs[0]["reason"]


async def test_a_database_that_comes_and_cannot_be_used_ends_the_waiting(
    server: PostgresServer, settings: Settings, tmp_path: Path
) -> None:
    with closing(open_keeper(settings, issuer=ISSUER, clock=instant.read)) as keeper:
        assert keeper.current is not None
    server.stop()
    other = tmp_path / "other"
    SealingKeys.create(other)
    wrong = settings.model_copy(update={"sealing_key_file": other})
    with (
        closing(open_keeper(wrong, issuer=ISSUER, clock=instant.read)) as first,
        closing(open_keeper(settings, issuer="https://other", clock=instant.read)) as second,
    ):
        server.start()
        for keeper, problem in ((first, SealingKeyProblem), (second, SettingsInvalid)):
            with pytest.raises(ExceptionGroup) as caught, anyio.fail_after(30):
                await keeper.run()
            assert caught.group_contains(problem)


async def test_a_change_is_followed_while_another_writes(
    settings: Settings, tmp_path: Path
) -> None:
    with closing(open_keeper(settings, issuer=ISSUER, clock=instant.read)) as keeper:
        apply_text(keeper.database, tmp_path, WHOLE)
        async with running(keeper):
            for disabled in (True, False) * 5:
                set_disabled(keeper.database, "orders", disabled=disabled)
                await eventually(partial(is_disabled, keeper, disabled))
