"""What the audit does to token requests: it records each, and holds them up where it must."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Literal

import anyio
import anyio.lowlevel
import anyio.to_thread
import httpx
import pytest
from issuer.fixtures_auditing import Stuck, writer
from issuer.fixtures_minting import (
    BILLING,
    ISSUER,
    NOW,
    SECRET,
    Keeper,
    basic,
    claims,
    part,
    snapshot,
)
from issuer.test_attempt import Told

from ephemera_client import SingleProcessReplayCache
from ephemera_issuer.app import create_app
from ephemera_issuer.audit.auditor import Auditor
from ephemera_issuer.revocation.entries import CutOff, Revocations

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ephemera_issuer.audit.writer import Writer

pytestmark = pytest.mark.anyio

ASKED = {"grant_type": "client_credentials", "resource": BILLING}


TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Audited:
    """An issuer with an audit whose sink a test holds."""

    def __init__(self, http: httpx.AsyncClient, writer: Writer, told: Told) -> None:
        self.http = http
        self.writer = writer
        self.told = told

    async def ask(self, secret: str = SECRET, **form: str) -> httpx.Response:
        return await self.http.post(
            "/oauth2/token",
            data=ASKED | form,
            headers={
                "Authorization": basic(secret=secret),
                "traceparent": f"00-{TRACE}-00f067aa0ba902b7-01",
            },
        )


@asynccontextmanager
async def audited(
    stuck: Stuck,
    *,
    when_behind: Literal["slow", "stop"] = "stop",
    before_answer: bool = False,
    most_waiting: int = 1000,
    patience: float = 60,
    keeper: Keeper | None = None,
) -> AsyncIterator[Audited]:
    writing = writer(stuck, most_waiting=most_waiting, patience=patience)
    auditor = Auditor(
        writing, when_behind=when_behind, before_answer=before_answer, clock=lambda: NOW
    )
    told = Told()
    application = create_app(
        keeper or Keeper(),
        issuer=ISSUER,
        ledger=SingleProcessReplayCache(clock=lambda: NOW),
        observers=[told],
        auditor=auditor,
        clock=lambda: NOW,
    )
    transport = httpx.ASGITransport(application, client=("192.0.2.7", 4711))
    try:
        async with httpx.AsyncClient(transport=transport, base_url="http://issuer") as http:
            yield Audited(http, writing, told)
    finally:
        stuck.failing = False
        stuck.free.set()
        await anyio.to_thread.run_sync(writing.close)


@pytest.fixture
def stuck() -> Stuck:
    return Stuck()


def without_frame(stuck: Stuck) -> list[dict[str, Any]]:
    opened, *records, closed = stuck.records
    assert (opened["kind"], closed["kind"]) == ("opened", "closed")
    return records


async def test_a_mint_is_recorded_with_all_that_was_decided(stuck: Stuck) -> None:
    async with audited(stuck) as issuer:
        answer = await issuer.ask(scope="invoices:read", lifetime="60", count="2")
    tokens = [answer.json()["access_token"], *answer.json()["additional_tokens"]]
    jtis = [claims(token)["jti"] for token in tokens]
    assert without_frame(stuck) == [
        {
            "at": NOW.wall,
            "kind": "minted",
            "client": "orders",
            "audience": BILLING,
            "scope": "invoices:read",
            "lifetime": 60,
            "rule": "asked_lifetime",
            "kid": part(tokens[0], 0)["kid"],
            "jti": [sha256(jti.encode()).hexdigest() for jti in jtis],
            "address": "192.0.2.7",
            "request_id": TRACE,
        }
    ]


@pytest.mark.parametrize(
    ("form", "secret", "expected"),
    [
        ({}, "wrong", (None, None, "invalid_client", "invalid_client")),
        ({"grant_type": "password"}, SECRET, (None, None) + ("unsupported_grant_type",) * 2),
        ({"scope": "admin"}, SECRET, ("orders", BILLING, "invalid_scope", "scope_not_granted")),
        (
            {"resource": "https://other.internal"},
            SECRET,
            ("orders", None, "invalid_target", "no_grant"),
        ),
    ],
)
async def test_a_refusal_is_recorded_with_its_reason_and_nothing_merely_claimed(
    stuck: Stuck, form: dict[str, str], secret: str, expected: tuple[Any, ...]
) -> None:
    async with audited(stuck) as issuer:
        answer = await issuer.ask(secret=secret, **form)
    (told,) = without_frame(stuck)
    assert told["kind"] == "refused"
    assert (told["client"], told["audience"], told["error"], told["reason"]) == expected
    assert told["description"] == answer.json()["error_description"]
    assert told["address"] == "192.0.2.7"
    assert told["request_id"] == TRACE


async def test_no_token_secret_or_jti_is_in_any_record(stuck: Stuck) -> None:
    async with audited(stuck) as issuer:
        token = (await issuer.ask()).json()["access_token"]
        await issuer.ask(secret="a-wrong-secret")
    written = b"".join(body for batch in stuck.batches for body in batch).decode()
    for secret in (SECRET, "a-wrong-secret", token, token.split(".")[2], claims(token)["jti"]):
        assert secret not in written


async def test_names_are_quoted_as_json_wants_them(stuck: Stuck) -> None:
    async with audited(stuck) as issuer:
        await issuer.http.post(
            "/oauth2/token", data=ASKED, headers={"Authorization": basic("caf\u00e9: %1+")}
        )
    (told,) = without_frame(stuck)
    assert told["client"] == "caf\u00e9: %1+"
    assert b"\xc3" not in b"".join(stuck.batches[0])


async def test_behind_and_told_to_stop_it_refuses_at_once_and_says_when_to_come_back(
    stuck: Stuck,
) -> None:
    async with audited(stuck, most_waiting=2) as issuer:
        assert [(await issuer.ask()).status_code for _ in range(2)] == [200, 200]
        await anyio.to_thread.run_sync(stuck.tried.wait)
        refused = [await issuer.ask() for _ in range(5)]
        assert {answer.status_code for answer in refused} == {503}
        assert refused[0].headers["retry-after"] == "1"
        assert refused[0].json() == {
            "error": "temporarily_unavailable",
            "error_description": "the audit cannot keep up",
        }
        stuck.free.set()
        await anyio.to_thread.run_sync(issuer.writer.wait, 3)
        assert (await issuer.ask()).status_code == 200
    kinds = [(told["kind"], told.get("count")) for told in without_frame(stuck)]
    assert kinds == [("minted", None)] * 2 + [("turned_away", 5), ("minted", None)]
    assert [end[2] for end in issuer.told.ends].count("temporarily_unavailable") == 5


async def test_requests_that_are_turned_away_take_one_record_until_it_is_written(
    stuck: Stuck,
) -> None:
    async with audited(stuck, most_waiting=1) as issuer:
        await issuer.ask()
        await anyio.to_thread.run_sync(stuck.tried.wait)
        for _ in range(50):
            await issuer.ask(secret="wrong")
        assert issuer.writer.waiting == 2
        stuck.free.set()
        await anyio.to_thread.run_sync(issuer.writer.wait, 2)
    assert [told.get("count") for told in without_frame(stuck)] == [None, 50]


async def test_behind_and_told_to_be_slow_it_waits_until_there_is_room(stuck: Stuck) -> None:
    async with audited(stuck, when_behind="slow", most_waiting=1) as issuer:
        await issuer.ask()
        answers: list[int] = []

        async def ask() -> None:
            answers.append((await issuer.ask()).status_code)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            await anyio.to_thread.run_sync(stuck.tried.wait)
            for _ in range(20):
                await anyio.lowlevel.checkpoint()
            assert answers == []
            stuck.free.set()
        assert answers == [200]
    assert [told["kind"] for told in without_frame(stuck)] == ["minted", "minted"]


async def test_slow_is_not_for_ever(stuck: Stuck) -> None:
    async with audited(stuck, when_behind="slow", most_waiting=1, patience=0.1) as issuer:
        await issuer.ask()
        assert (await issuer.ask()).status_code == 503


async def test_before_the_answer_the_record_is_durable(stuck: Stuck) -> None:
    async with audited(stuck, before_answer=True) as issuer:
        answers: list[httpx.Response] = []

        async def ask() -> None:
            answers.append(await issuer.ask())

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            await anyio.to_thread.run_sync(stuck.tried.wait)
            for _ in range(20):
                await anyio.lowlevel.checkpoint()
            assert answers == []
            stuck.free.set()
        token = answers[0].json()["access_token"]
        (batch,) = stuck.batches
        assert json.loads(batch[1])["jti"] == [sha256(claims(token)["jti"].encode()).hexdigest()]


async def test_tokens_whose_record_is_not_durable_in_time_are_kept_back_and_that_is_told(
    stuck: Stuck,
) -> None:
    stuck.failing = True
    async with audited(stuck, before_answer=True, patience=0.1) as issuer:
        answer = await issuer.ask()
        assert answer.status_code == 503
        assert "access_token" not in answer.text
        assert issuer.told.ends == [("orders", BILLING, "temporarily_unavailable")]
    minted, refused = without_frame(stuck)
    assert minted["kind"] == "minted"
    assert (refused["kind"], refused["client"]) == ("refused", "orders")
    assert refused["description"] == "the audit cannot be written"


async def test_a_client_that_was_cut_off_just_now_is_recorded_as_refused(stuck: Stuck) -> None:
    entry = CutOff("orders", None, int(NOW.wall) + 2)
    revocations = Revocations.none("epoch").followed_by([entry], sequence=1, now=NOW.wall)
    keeper = Keeper(snapshot(revocations=revocations))
    async with audited(stuck, keeper=keeper) as issuer:
        assert (await issuer.ask()).status_code == 503
    (told,) = without_frame(stuck)
    assert (told["kind"], told["client"], told["error"]) == (
        "refused",
        "orders",
        "temporarily_unavailable",
    )


async def test_a_record_of_a_hundred_tokens_counts_for_a_hundred(stuck: Stuck) -> None:
    async with audited(stuck, most_waiting=100) as issuer:
        assert (await issuer.ask(count="99")).status_code == 200
        assert not issuer.writer.behind
        assert (await issuer.ask()).status_code == 200
        assert issuer.writer.behind
