from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import anyio
import httpx
import pytest
from issuer.fixtures_minting import BILLING, ISSUER, NOW, Keeper, snapshot, talking

from ephemera_client import SingleProcessReplayCache
from ephemera_client.instant import Instant
from ephemera_client.revocations.document import parse
from ephemera_issuer.app import create_app
from ephemera_issuer.edge import feed
from ephemera_issuer.edge.waiting import News
from ephemera_issuer.ending import Ending
from ephemera_issuer.revocation.entries import (
    CutOff,
    Revocation,
    Revocations,
    RevokedKey,
    RevokedToken,
)

if TYPE_CHECKING:
    from starlette.types import Message

pytestmark = pytest.mark.anyio

PATH = "/v1/revocations"
SECOND = int(NOW.wall)
ENTRIES: list[Revocation] = [
    RevokedToken("one", "orders", SECOND, SECOND + 120),
    CutOff("orders", BILLING, SECOND + 3),
    CutOff("orders", None, SECOND - 9),
    CutOff(None, BILLING, SECOND - 9),
    CutOff(None, None, SECOND - 9),
    RevokedKey("signing-1"),
]


class Issuer(Keeper):
    """Keeps a snapshot in which more and more is revoked."""

    def __init__(self, *entries: Revocation) -> None:
        super().__init__()
        self.revoke_all(*entries)

    @property
    def revocations(self) -> Revocations:
        assert self.current is not None
        return self.current.revocations

    def revoke_all(self, *entries: Revocation) -> None:
        assert self.current is not None
        for entry in entries:
            held = self.current.revocations
            more = held.followed_by([entry], sequence=held.sequence + 1, now=NOW.wall)
            self.replace(replace(self.current, revocations=more))


async def get(client: httpx.AsyncClient, **question: Any) -> dict[str, Any]:
    answer = await client.get(PATH, params=question)
    assert answer.status_code == 200
    found: dict[str, Any] = answer.json()
    return found


async def test_all_is_told_in_a_closed_shape_that_no_cache_keeps() -> None:
    async with talking(Issuer(*ENTRIES)) as client:
        answer = await client.get(PATH)
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.json() == {
        "epoch": "epoch",
        "sequence": 6,
        "after": 0,
        "entries": [
            {"jti": "one", "exp": SECOND + 120},
            {
                "client": "orders",
                "audience": BILLING,
                "cut_off": SECOND + 3,
                "exp": SECOND + 903,
            },
            {"client": "orders", "cut_off": SECOND - 9, "exp": SECOND + 891},
            {"audience": BILLING, "cut_off": SECOND - 9, "exp": SECOND + 891},
            {"cut_off": SECOND - 9, "exp": SECOND + 891},
            {"kid": "signing-1"},
        ],
    }


async def test_what_is_told_is_what_verifiers_read() -> None:
    async with talking(Issuer(*ENTRIES)) as client:
        read = parse((await client.get(PATH)).content, max_entries=100)
    assert len(read.revoked) == len(ENTRIES)
    assert read.revoked.cut_offs["orders", BILLING] == (SECOND + 3, SECOND + 903)


async def test_nothing_is_revoked_in_the_beginning() -> None:
    async with talking() as client:
        assert await get(client) == {"epoch": "epoch", "sequence": 0, "after": 0, "entries": []}


async def test_who_has_some_gets_the_rest_and_at_once() -> None:
    async with talking(Issuer(*ENTRIES)) as client:
        with anyio.fail_after(10):
            told = await get(client, epoch="epoch", after=5, wait=25)
    assert (told["after"], told["entries"]) == (5, [{"kid": "signing-1"}])


async def test_who_has_another_epoch_gets_all_and_at_once() -> None:
    async with talking(Issuer(*ENTRIES)) as client:
        with anyio.fail_after(10):
            told = await get(client, epoch="another", after=99, wait=25)
    assert (told["epoch"], told["after"], len(told["entries"])) == ("epoch", 0, 6)


async def test_without_an_epoch_the_number_is_taken_for_one_of_the_present_one() -> None:
    async with talking(Issuer(*ENTRIES)) as client:
        told = await get(client, after=4)
    assert (told["after"], len(told["entries"])) == (4, 2)


async def test_who_is_ahead_of_this_replica_learns_how_far_it_is() -> None:
    async with talking(Issuer(*ENTRIES)) as client:
        told = await get(client, epoch="epoch", after=9)
    assert (told["sequence"], told["after"], told["entries"]) == (6, 6, [])


@pytest.mark.parametrize("seconds", [180, 181, 963, 964])
async def test_an_entry_leaves_sixty_seconds_after_what_it_revokes_without_any_news(
    seconds: int,
) -> None:
    issuer = Issuer(ENTRIES[0], ENTRIES[1], ENTRIES[5])
    now = Instant(SECOND + seconds, 5000)
    assert issuer.current is not None
    issuer.replace(replace(issuer.current, confirmed_at=now))
    async with talking(issuer, now=now) as client:
        told = await get(client)
    assert [set(entry) for entry in told["entries"]] == (
        [{"jti", "exp"}] * (seconds == 180)
        + [{"client", "audience", "cut_off", "exp"}] * (seconds < 964)
        + [{"kid"}]
    )


async def test_all_who_wait_are_answered_when_something_is_revoked() -> None:
    issuer = Issuer()
    told: list[dict[str, Any]] = []
    async with talking(issuer) as client:

        async def follow() -> None:
            told.append(await get(client, epoch="epoch", after=0, wait=25))

        with anyio.fail_after(20):
            async with anyio.create_task_group() as tasks:
                for _ in range(50):
                    tasks.start_soon(follow)
                await anyio.wait_all_tasks_blocked()
                assert not told
                # A refresh that brings nothing wakes nobody.
                issuer.replace(replace(snapshot(), revocations=issuer.revocations))
                await anyio.wait_all_tasks_blocked()
                assert not told
                await anyio.to_thread.run_sync(issuer.revoke_all, ENTRIES[0])
    assert [answer["entries"] for answer in told] == [[{"jti": "one", "exp": SECOND + 120}]] * 50


async def test_who_is_ahead_waits_until_this_replica_has_more() -> None:
    issuer = Issuer(ENTRIES[0])
    told: list[dict[str, Any]] = []
    async with talking(issuer) as client:

        async def follow() -> None:
            told.append(await get(client, epoch="epoch", after=2, wait=25))

        with anyio.fail_after(20):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(follow)
                await anyio.wait_all_tasks_blocked()
                issuer.revoke_all(ENTRIES[1])
                await anyio.wait_all_tasks_blocked()
                assert not told
                issuer.revoke_all(ENTRIES[2])
    assert told[0]["sequence"] == 3
    assert len(told[0]["entries"]) == 1


async def test_a_wait_ends_by_itself_with_what_there_is() -> None:
    async with talking(Issuer(*ENTRIES)) as client:
        with anyio.fail_after(10):
            told = await get(client, epoch="epoch", after=6, wait=1)
    assert (told["sequence"], told["entries"]) == (6, [])


@pytest.mark.parametrize("current", ["none", "old"])
async def test_an_issuer_without_a_fresh_view_says_so_at_once(current: str) -> None:
    issuer = Issuer(*ENTRIES)
    if current == "none":
        issuer.current = None
    async with talking(issuer, now=Instant(NOW.wall + 31, NOW.monotonic + 31)) as client:
        with anyio.fail_after(10):
            answer = await client.get(PATH, params={"epoch": "epoch", "after": 6, "wait": 25})
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"
    assert answer.json()["error"] == "temporarily_unavailable"


@pytest.mark.parametrize(
    "query",
    [
        "after=-1",
        "after=1.5",
        "after=x",
        "after=%C2%B2",
        "after=9999999999999999",
        "wait=x",
        "after=1&after=2",
        "epoch=a&epoch=a",
        "a&b=%ff",
        "&".join(f"p{number}=1" for number in range(11)),
    ],
)
async def test_a_question_that_makes_no_sense_is_refused(query: str) -> None:
    async with talking() as client:
        answer = await client.get(f"{PATH}?{query}")
    assert answer.status_code == 400
    assert answer.json()["error"] == "invalid_request"


async def test_what_is_empty_or_unknown_counts_as_absent() -> None:
    async with talking(Issuer(*ENTRIES)) as client:
        answer = await client.get(f"{PATH}?epoch=&after=&wait=&more=1")
    assert len(answer.json()["entries"]) == 6


async def test_it_is_for_get_alone() -> None:
    async with talking() as client:
        answer = await client.post(PATH)
    assert answer.status_code == 405
    assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD"}


async def test_waits_are_bounded_by_address_and_in_all_and_other_answers_are_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(feed, "MOST_WAITS", 3)
    monkeypatch.setattr(feed, "MOST_WAITS_OF_ADDRESS", 2)
    issuer = Issuer()
    application = create_app(
        issuer, issuer=ISSUER, ledger=SingleProcessReplayCache(), clock=lambda: NOW
    )
    question: dict[str, str | int] = {"epoch": "epoch", "after": 0, "wait": 25}
    async with AsyncExitStack() as stack:

        async def of(address: str) -> httpx.AsyncClient:
            transport = httpx.ASGITransport(application, client=(address, 1))
            made = httpx.AsyncClient(transport=transport, base_url=ISSUER)
            return await stack.enter_async_context(made)

        first, second = await of("10.0.0.1"), await of("10.0.0.2")
        with anyio.fail_after(20):
            async with anyio.create_task_group() as tasks:

                async def follow(client: httpx.AsyncClient) -> None:
                    await get(client, **question)

                tasks.start_soon(follow, first)
                tasks.start_soon(follow, first)
                await anyio.wait_all_tasks_blocked()
                of_one = await first.get(PATH, params=question)
                tasks.start_soon(follow, second)
                await anyio.wait_all_tasks_blocked()
                in_all = await second.get(PATH, params=question)
                assert (await get(first))["entries"] == []
                issuer.revoke_all(ENTRIES[0])
        assert (of_one.status_code, of_one.headers["retry-after"]) == (429, "1")
        assert (in_all.status_code, in_all.headers["retry-after"]) == (503, "1")
        with anyio.fail_after(20):
            # Their places are free again.
            assert (await get(first, epoch="epoch", after=1, wait=1))["entries"] == []


async def test_a_caller_that_goes_away_gives_up_its_place() -> None:
    endpoint = feed.FeedEndpoint(Issuer(), clock=lambda: NOW)
    scope = {
        "type": "http",
        "method": "GET",
        "query_string": b"epoch=epoch&after=0&wait=25",
        "client": ("10.0.0.1", 1),
    }
    sent: list[Message] = []
    gone = anyio.Event()
    messages = iter([{"type": "http.request", "body": b"", "more_body": False}])

    async def receive() -> Message:
        for message in messages:
            return message
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(endpoint, scope, receive, send)
            await anyio.wait_all_tasks_blocked()
            assert endpoint._room._waiting == {"10.0.0.1": 1}
            gone.set()
    assert not endpoint._room._waiting
    assert not sent


async def test_when_the_server_ends_all_who_wait_are_answered_and_nobody_waits_any_more() -> None:
    issuer, ending = Issuer(), Ending()
    application = create_app(
        issuer,
        issuer=ISSUER,
        ledger=SingleProcessReplayCache(),
        ending=ending,
        clock=lambda: NOW,
    )
    async with application.router.lifespan_context(application):
        transport = httpx.ASGITransport(application)
        async with httpx.AsyncClient(transport=transport, base_url=ISSUER) as client:
            with anyio.fail_after(10):
                async with anyio.create_task_group() as tasks:

                    async def follow() -> None:
                        assert (await get(client, epoch="epoch", wait=25))["entries"] == []

                    tasks.start_soon(follow)
                    await anyio.wait_all_tasks_blocked()
                    ending.begin()
                await follow()


async def test_news_for_an_event_loop_that_has_ended_are_news_for_nobody() -> None:
    news = News()

    async def wait() -> None:
        news.awaited()

    await anyio.to_thread.run_sync(anyio.run, wait)
    news.tell()
