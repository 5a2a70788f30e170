from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread
import pytest
from client.fixtures_publishing import Publisher, publishing
from client.fixtures_requesting import Reply
from issuer.fixtures_asserting import (
    KEY,
    NEXT_KEY,
    SECONDS,
    assertion,
    holding,
    public,
    reports,
    token_form,
)
from issuer.fixtures_minting import NOW, Keeper, talking
from structlog.testing import capture_logs

from ephemera_client.instant import Instant
from ephemera_issuer.authentication.client_keys import ClientKeys
from ephemera_issuer.registry.entries import Client, ClientKey, TrustedIssuer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ephemera_client.jwk import VerificationKey

pytestmark = pytest.mark.anyio

LOOPBACK = "127.0.0.1"


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    with publishing() as made:
        publish(made, public(KEY))
        yield made


def publish(publisher: Publisher, *keys: ClientKey) -> None:
    publisher.reply = Reply(
        200, json.dumps({"keys": [json.loads(key.text) for key in keys]}).encode()
    )


def remote(uri: str, name: str = "reports") -> Client:
    return Client(name, (), disabled=False, jwks_uri=uri)


class Finding:
    """`ClientKeys` among clients that a test may change, at a time that it may move."""

    def __init__(self, *clients: Client, hosts: tuple[str, ...] = (LOOPBACK,)) -> None:
        self.now = NOW
        self.clients = {client.id: client for client in clients}
        self.keys = ClientKeys(hosts=hosts, clock=lambda: self.now)

    def move(self, seconds: float) -> None:
        self.now = Instant(self.now.wall + seconds, self.now.monotonic + seconds)

    async def find(
        self, kid: str | None = "first", *, client: str = "reports", alg: str = "ES256"
    ) -> VerificationKey | None:
        return await self.keys.find(
            self.clients[client], alg=alg, kid=kid, among=self.clients, now=self.now
        )


async def test_a_key_is_fetched_from_where_its_client_publishes_it_and_kept(
    publisher: Publisher,
) -> None:
    finding = Finding(remote(publisher.url))
    for _ in range(3):
        key = await finding.find()
        assert key is not None
        assert (key.kid, key.alg) == ("first", "ES256")
    assert len(publisher.loads) == 1


async def test_a_client_gets_a_token_with_the_key_that_it_publishes(publisher: Publisher) -> None:
    keeper = Keeper(holding(remote(publisher.url)))
    async with talking(keeper, jwks_uri_hosts=(LOOPBACK,)) as client:
        good = await client.post("/oauth2/token", data=token_form(assertion()))
        keeper.current = holding(remote(publisher.url))
        other = await client.post("/oauth2/token", data=token_form(assertion(NEXT_KEY)))
    assert (good.status_code, other.status_code) == (200, 401)
    assert len(publisher.loads) == 1


@pytest.mark.parametrize("change", ["none", "policy", "credential", "gone", "issuers"])
async def test_what_changes_while_keys_are_fetched_counts(
    publisher: Publisher, change: str
) -> None:
    before = remote(publisher.url)
    keeper = Keeper(holding(before))
    after = {
        "none": holding(before),
        "policy": replace(holding(before), grants={}),
        "credential": holding(reports(public(NEXT_KEY))),
        "gone": holding(),
        "issuers": replace(
            holding(before), issuers={"https://x": TrustedIssuer("https://x", 60, reusable=True)}
        ),
    }[change]
    publisher.gate.clear()
    async with (
        talking(keeper, jwks_uri_hosts=(LOOPBACK,)) as client,
        anyio.create_task_group() as tasks,
    ):

        async def change_meanwhile() -> None:
            await anyio.to_thread.run_sync(publisher.arrived.wait, 10)
            keeper.current = after
            publisher.gate.set()

        tasks.start_soon(change_meanwhile)
        answer = await client.post("/oauth2/token", data=token_form(assertion()))
    error = {"none": None, "policy": "invalid_target"}.get(change, "invalid_client")
    assert answer.json().get("error") == error


async def test_a_key_that_was_rolled_is_found_by_its_new_kid(publisher: Publisher) -> None:
    finding = Finding(remote(publisher.url))
    assert await finding.find() is not None
    publish(publisher, public(KEY), public(NEXT_KEY, kid="second"))
    assert await finding.find("second") is not None
    publish(publisher, public(NEXT_KEY, kid="second"))
    finding.move(600)
    assert await finding.find() is None
    assert await finding.find("second") is not None


async def test_a_key_of_another_algorithm_or_without_a_name_is_none(publisher: Publisher) -> None:
    finding = Finding(remote(publisher.url))
    assert await finding.find(alg="RS256") is None
    assert await finding.find(None) is None


async def test_a_flood_of_unknown_kids_is_bounded_and_is_its_own_clients_business(
    publisher: Publisher,
) -> None:
    finding = Finding(remote(publisher.url), remote(publisher.url, "other"))
    assert await finding.find() is not None
    for number in range(20):
        assert await finding.find(f"made-up-{number}") is None
    assert len(publisher.loads) == 2
    assert await finding.find() is not None
    publish(publisher, public(NEXT_KEY, kid="second"))
    assert await finding.find("second", client="other") is not None
    assert len(publisher.loads) == 3


@pytest.mark.parametrize(
    ("uri", "hosts", "reason"),
    [
        ("https://keys.internal/jwks", (), "EPHEMERA_JWKS_URI_HOSTS does not name its host"),
        (
            "https://keys.internal.evil.test/jwks",
            ("keys.internal",),
            "EPHEMERA_JWKS_URI_HOSTS does not name its host",
        ),
        ("http://keys.internal/jwks", ("keys.internal",), "jwks_url must be https"),
        ("https://169.254.169.254/jwks", ("169.254.169.254",), "could not be loaded: link_local"),
        ("https://[fe80::1]/jwks", ("fe80::1",), "could not be loaded: link_local"),
        ("https://[::ffff:a9fe:a9fe]/jwks", ("::ffff:a9fe:a9fe",), "loaded: link_local"),
        ("https://[64:ff9b::a9fe:a9fe]/jwks", ("64:ff9b::a9fe:a9fe",), "loaded: link_local"),
        ("https://[fd00:ec2::254]/jwks", ("fd00:ec2::254",), "loaded: link_local"),
    ],
)
async def test_where_keys_must_not_be_fetched_nothing_is_and_the_operator_is_told_once(
    uri: str, hosts: tuple[str, ...], reason: str
) -> None:
    finding = Finding(remote(uri), hosts=hosts)
    with capture_logs() as logs:
        for _ in range(3):
            assert await finding.find() is None
            finding.move(100)
    (log,) = logs
    assert (log["event"], log["client"]) == ("client_keys_unavailable", "reports")
    assert reason in log["reason"]


async def test_a_loopback_host_that_is_not_listed_is_not_asked(publisher: Publisher) -> None:
    with capture_logs():
        assert await Finding(remote(publisher.url), hosts=()).find() is None
    assert publisher.loads == []


async def test_localhost_may_be_asked_over_http_where_it_is_listed(publisher: Publisher) -> None:
    uri = publisher.url.replace(LOOPBACK, "localhost")
    assert await Finding(remote(uri), hosts=("localhost",)).find() is not None


async def test_a_host_that_fails_is_told_of_each_time_that_it_begins_to(
    publisher: Publisher,
) -> None:
    finding = Finding(remote(publisher.url))
    good, bad = publisher.reply, Reply(500)
    with capture_logs() as logs:
        for reply in (bad, bad, good, bad):
            publisher.reply = reply
            finding.move(10_000)
            assert (await finding.find() is None) is (reply is bad)
    assert [log["reason"] for log in logs] == [
        "the issuer's keys could not be loaded: status_unexpected"
    ] * 2


async def test_what_was_fetched_for_a_client_that_is_gone_is_let_go_of(
    publisher: Publisher,
) -> None:
    finding = Finding(*(remote(publisher.url, f"client-{number}") for number in range(3)))
    for client in finding.clients:
        assert await finding.find(client=client) is not None
    assert len(finding.keys._published) == 3
    finding.clients = {"new": remote(publisher.url, "new")}
    assert await finding.find(client="new") is not None
    assert set(finding.keys._published) == {("new", publisher.url)}


async def test_another_jwks_uri_of_the_same_client_is_another_source(publisher: Publisher) -> None:
    finding = Finding(remote(publisher.url))
    assert await finding.find() is not None
    with publishing() as elsewhere:
        publish(elsewhere, public(NEXT_KEY, kid="second"))
        finding.clients = {"reports": remote(elsewhere.url)}
        assert await finding.find() is None
        assert await finding.find("second") is not None


async def test_what_a_client_publishes_is_told_to_nobody(
    publisher: Publisher, capfd: pytest.CaptureFixture[str]
) -> None:
    publisher.reply = Reply(200, b'{"keys": "unmistakable"}')
    form: dict[str, Any] = token_form(assertion(exp=SECONDS + 30))
    async with talking(
        Keeper(holding(remote(publisher.url))), jwks_uri_hosts=(LOOPBACK,)
    ) as client:
        answer = await client.post("/oauth2/token", data=form)
    assert answer.status_code == 401
    assert "unmistakable" not in answer.text + "".join(capfd.readouterr())
