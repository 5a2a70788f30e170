from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, ClassVar

import anyio
import pytest
from client.fixtures_redis import RedisServer
from issuer.fixtures_asserting import HELD, SECONDS, assertion, token_form
from issuer.fixtures_minting import NOW, Keeper, talking
from issuer.fixtures_registry import new_database
from structlog.testing import capture_logs

from ephemera_client import Claim, ReplayCacheUnavailable, instant
from ephemera_issuer.database import open_database
from ephemera_issuer.errors import LedgerUnusable, RequestRefused, Unavailable
from ephemera_issuer.spent import SpentAssertions, opened_ledger

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ephemera_client.instant import Instant
    from ephemera_client.replay import AcceptedOnce
    from ephemera_issuer.database import Database

pytestmark = pytest.mark.anyio


def spending(jti: str = "1", *, issued_at: int = SECONDS) -> Claim:
    return Claim("assertion", "reports", "reports", jti, issued_at, issued_at + 60)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with closing(new_database(tmp_path)) as opened:
        yield opened


async def spend(database: Database, claim: Claim, *, url: str | None = None) -> None:
    with opened_ledger(url, database=database, clock=lambda: NOW) as ledger:
        await SpentAssertions(ledger).claim(claim, NOW)


async def refused(database: Database, claim: Claim) -> RequestRefused:
    with pytest.raises(RequestRefused) as caught:
        await spend(database, claim)
    return caught.value


async def test_what_was_spent_stays_spent_when_the_ledger_is_opened_again(
    database: Database,
) -> None:
    await spend(database, spending())
    error = await refused(database, spending())
    assert error.error == "invalid_client"
    assert error.description == "assertion has been used before: make a new one for each request"
    await spend(database, spending("2"))


async def test_what_was_issued_before_the_ledger_began_is_refused(database: Database) -> None:
    error = await refused(database, spending(issued_at=SECONDS - 1))
    assert error.error == "invalid_client"
    assert error.description == ("assertion was issued before this ledger began; make a new one")


async def test_the_ledger_is_a_file_of_its_own_beside_the_database(
    database: Database, tmp_path: Path
) -> None:
    await spend(database, spending())
    ledger = tmp_path / "ephemera.spent.db"
    assert ledger.stat().st_mode & 0o077 == 0
    elsewhere = tmp_path / "elsewhere.db"
    await spend(database, spending(), url=f"sqlite:///{elsewhere}")
    assert elsewhere.exists()


async def test_beside_a_database_in_memory_the_ledger_is_in_memory() -> None:
    with (
        closing(open_database("sqlite://", create=True)) as database,
        opened_ledger(None, database=database, clock=lambda: NOW) as ledger,
    ):
        assert ledger.accepted_once == "process"


def test_a_ledger_that_cannot_be_opened_stops_the_start(database: Database, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no ledger, and longer than a header of SQLite: " + "x" * 100)
    missing = tmp_path / "missing" / "spent.db"
    for path in (tmp_path / "text", missing, tmp_path / "ephemera.db"):
        with (
            pytest.raises(LedgerUnusable, match=str(path)),
            opened_ledger(f"sqlite:///{path}", database=database, clock=lambda: NOW),
        ):
            pass


async def test_a_ledger_in_redis_is_shared_by_all_who_name_it(tmp_path: Path) -> None:
    with (
        closing(open_database("sqlite://", create=True)) as database,
        RedisServer(tmp_path) as redis,
        opened_ledger(redis.url, database=database, clock=instant.read) as one,
        opened_ledger(redis.url, database=database, clock=instant.read) as other,
    ):
        now = instant.read()
        later = int(now.wall) + 5  # younger than the ledger, which has just begun
        await SpentAssertions(one).claim(spending(issued_at=later), now)
        with pytest.raises(RequestRefused, match="used before"):
            await SpentAssertions(other).claim(spending(issued_at=later), now)


async def test_a_redis_that_is_away_stops_no_start_and_spends_nothing(tmp_path: Path) -> None:
    with RedisServer(tmp_path) as redis:
        url = redis.url
    with (
        closing(open_database("sqlite://", create=True)) as database,
        capture_logs() as logs,
        opened_ledger(url, database=database, clock=instant.read) as ledger,
        pytest.raises(Unavailable),
    ):
        await SpentAssertions(ledger).claim(spending(), instant.read())
    assert [entry["event"] for entry in logs] == ["ledger_not_ready"]


def test_a_redis_that_cannot_be_named_stops_the_start() -> None:
    with (
        closing(open_database("sqlite://", create=True)) as database,
        pytest.raises(LedgerUnusable, match="spent assertions: url must be redis://") as caught,
        opened_ledger("redis://:hunter2@/x/y", database=database, clock=instant.read),
    ):
        pass
    assert "hunter2" not in str(caught.value)


async def test_of_many_at_once_one_spends_it(database: Database) -> None:
    outcomes: list[str] = []

    async def attempt(spent: SpentAssertions) -> None:
        try:
            await spent.claim(spending(), NOW)
        except RequestRefused as error:
            outcomes.append(error.error)
        else:
            outcomes.append("spent")

    with opened_ledger(None, database=database, clock=lambda: NOW) as ledger:
        async with anyio.create_task_group() as tasks:
            for _ in range(50):
                tasks.start_soon(attempt, SpentAssertions(ledger))
    assert sorted(outcomes) == ["invalid_client"] * 49 + ["spent"]


class FailingLedger:
    """Answers nobody."""

    accepted_once: ClassVar[AcceptedOnce] = "process"

    def claim(self, _claim: Claim, _now: Instant) -> None:
        raise ReplayCacheUnavailable("/var/lib/spent.db cannot be used (full)", cause_code="full")

    async def claim_async(self, claim: Claim, now: Instant) -> None:
        self.claim(claim, now)

    def warm(self) -> None: ...

    async def warm_async(self) -> None: ...


async def test_a_ledger_that_does_not_answer_is_no_yes() -> None:
    with pytest.raises(Unavailable) as caught:
        await SpentAssertions(FailingLedger()).claim(spending(), NOW)
    assert isinstance(caught.value.__cause__, ReplayCacheUnavailable)
    async with talking(Keeper(HELD), ledger=FailingLedger()) as client:
        answer = await client.post("/oauth2/token", data=token_form(assertion()))
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"
    assert answer.json() == {
        "error": "temporarily_unavailable",
        "error_description": "assertions cannot be spent just now",
    }
