from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from issuer.fixtures_auditing import Stuck, writer
from issuer.fixtures_minting import BILLING, ISSUER, NOW, Keeper, basic, claims, snapshot, talking
from issuer.fixtures_registry import apply_text
from issuer.fixtures_revoking import issued

from ephemera_client.instant import Instant
from ephemera_issuer.audit.record import jti_digest
from ephemera_issuer.audit.trail import Trail
from ephemera_issuer.database import Database
from ephemera_issuer.errors import DatabaseUnusable
from ephemera_issuer.mint import mint
from ephemera_issuer.policy import Decision, Rule
from ephemera_issuer.revocation.entries import MOST_TOKENS, CutOff
from ephemera_issuer.settings import Settings
from ephemera_issuer.snapshot import Snapshot, SnapshotKeeper, open_keeper

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import httpx

    from ephemera_issuer.revocation.entries import Revocations

pytestmark = pytest.mark.anyio

PATH = "/oauth2/revoke"
REGISTRY = """
[[audiences]]
id = "https://billing.internal"
scopes = ["invoices:read"]
introspected_by = ["auditor"]

[[clients]]
id = "orders"
secret = "generate"

[[clients]]
id = "auditor"
secret = "generate"

[[grants]]
client = "orders"
audience = "https://billing.internal"
scopes = ["invoices:read"]
"""


@pytest.fixture
def anyio_backend() -> str:
    # On trio, httpx leaves a body that is not wanted to the end for the collector to close.
    return "asyncio"


class Issuer:
    """A whole issuer on a database in memory, whose clock a test moves."""

    def __init__(self, directory: Path) -> None:
        self.now = NOW
        settings = Settings(database_url="sqlite://")
        self.keeper: SnapshotKeeper = open_keeper(settings, issuer=ISSUER, clock=lambda: self.now)
        apply_text(self.keeper.database, directory, REGISTRY)
        self.keeper.refresh()
        self._secrets = directory / "secrets"

    @property
    def revocations(self) -> Revocations:
        return self.keeper.refresh().revocations

    def move(self, seconds: float) -> None:
        self.now = Instant(self.now.wall + seconds, self.now.monotonic + seconds)
        self.keeper.refresh()

    def token(self, client: str = "orders", *, lifetime: int = 120) -> str:
        decision = Decision(
            client, BILLING, "invoices:read", lifetime, single_use=True, rule=Rule.ASKED_LIFETIME
        )
        signer = self.keeper.refresh().signer
        return mint(decision, issuer=ISSUER, signer=signer, now=self.now.wall)

    async def post(self, path: str, form: dict[str, Any], *, client: str) -> httpx.Response:
        secret = (self._secrets / f"{client}.secret").read_text().strip()
        headers = {"Authorization": basic(client, secret)}
        async with talking(self.keeper, now=self.now) as http:
            return await http.post(path, data=form, headers=headers)

    async def revoke(self, token: str, *, client: str = "orders") -> httpx.Response:
        return await self.post(PATH, {"token": token}, client=client)

    async def active(self, token: str) -> bool:
        answer = await self.post("/oauth2/introspect", {"token": token}, client="auditor")
        return bool(answer.json()["active"])

    async def ask(self) -> httpx.Response:
        form = {"grant_type": "client_credentials", "resource": BILLING}
        return await self.post("/oauth2/token", form, client="orders")


@pytest.fixture
def issuer(tmp_path: Path) -> Iterator[Issuer]:
    made = Issuer(tmp_path)
    with closing(made.keeper):
        yield made


async def test_a_client_revokes_its_own_token_and_no_other(issuer: Issuer) -> None:
    revoked, other = issuer.token(), issuer.token()
    assert await issuer.active(revoked)
    answer = await issuer.revoke(revoked)
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["cache-control"] == "no-store"
    assert "content-type" not in answer.headers
    assert not await issuer.active(revoked)
    assert await issuer.active(other)
    assert set(issuer.revocations.tokens) == {claims(revoked)["jti"]}


async def test_revoking_again_is_answered_alike_and_enters_nothing(issuer: Issuer) -> None:
    token = issuer.token()
    answers = [await issuer.revoke(token) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200] * 3
    assert issuer.revocations.sequence == 1


async def test_another_clients_token_is_refused_and_stays_good(issuer: Issuer) -> None:
    token = issuer.token()
    answer = await issuer.revoke(token, client="auditor")
    assert (answer.status_code, answer.json()) == (
        400,
        {
            "error": "unauthorized_client",
            "error_description": "the token was issued to another client",
        },
    )
    assert await issuer.active(token)
    assert issuer.revocations.sequence == 0


@pytest.mark.parametrize("raw", ["x", "a.b.c", "x" * 20_000, "caf\u00e9"])
async def test_what_is_no_token_is_as_good_as_revoked(issuer: Issuer, raw: str) -> None:
    answer = await issuer.revoke(raw)
    assert (answer.status_code, answer.content) == (200, b"")
    assert issuer.revocations.sequence == 0


async def test_a_forged_token_is_as_good_as_revoked(issuer: Issuer) -> None:
    answer = await issuer.revoke(issuer.token()[:-4] + "AAAA")
    assert (answer.status_code, issuer.revocations.sequence) == (200, 0)


async def test_a_token_is_entered_for_as_long_as_a_verifier_might_accept_it(
    issuer: Issuer,
) -> None:
    first, second = issuer.token(), issuer.token()
    issuer.move(claims(first)["exp"] + 60 - issuer.now.wall)
    assert (await issuer.revoke(first)).status_code == 200
    assert issuer.revocations.sequence == 1
    issuer.move(0.001)
    assert (await issuer.revoke(second)).status_code == 200
    assert issuer.revocations.sequence == 1


async def test_the_token_of_a_revoked_key_needs_no_entry(issuer: Issuer) -> None:
    token = issuer.token()
    issuer.keeper.keys.revoke(issuer.keeper.refresh().signer.kid, "ES256", now=issuer.now.wall)
    issuer.keeper.refresh()
    assert not await issuer.active(token)
    assert (await issuer.revoke(token)).status_code == 200
    assert issuer.revocations.sequence == 1


async def test_more_than_a_thousand_cut_the_client_off_until_that_has_settled(
    issuer: Issuer,
) -> None:
    for number in range(MOST_TOKENS):
        issuer.keeper.revoke(issued(f"token-{number}"))
    last, unsaid = issuer.token(), issuer.token()
    assert (await issuer.ask()).status_code == 200
    assert await issuer.active(unsaid)

    assert (await issuer.revoke(last)).status_code == 200
    assert (len(issuer.revocations.tokens), len(issuer.revocations.cut_offs)) == (0, 1)
    assert not await issuer.active(last)
    assert not await issuer.active(unsaid)
    answer = await issuer.ask()
    assert (answer.status_code, answer.json()["error"]) == (503, "temporarily_unavailable")
    wait = int(answer.headers["retry-after"])
    assert 3 <= wait <= 4
    issuer.move(wait - 1)
    assert (await issuer.ask()).headers["retry-after"] == "1"
    issuer.move(1)
    answer = await issuer.ask()
    assert answer.status_code == 200
    assert await issuer.active(answer.json()["access_token"])


@pytest.mark.parametrize(
    ("client", "audience", "status"),
    [
        ("orders", None, 503),
        (None, BILLING, 503),
        ("orders", BILLING, 503),
        ("auditor", None, 200),
        (None, "https://ledger.internal", 200),
        ("orders", "https://ledger.internal", 200),
    ],
)
async def test_the_pair_of_a_cut_off_mints_nothing_until_it_has_passed(
    client: str | None, audience: str | None, status: int
) -> None:
    held: Snapshot = snapshot()
    entry = CutOff(client, audience, int(NOW.wall))
    held = replace(
        held, revocations=held.revocations.followed_by([entry], sequence=1, now=NOW.wall)
    )
    form = {"grant_type": "client_credentials", "resource": BILLING}
    headers = {"Authorization": basic()}
    async with talking(Keeper(held)) as http:
        answer = await http.post("/oauth2/token", data=form, headers=headers)
    assert answer.status_code == status
    later = Instant(NOW.wall + 1, NOW.monotonic + 1)
    async with talking(Keeper(held), now=later) as http:
        answer = await http.post("/oauth2/token", data=form, headers=headers)
    assert answer.status_code == 200


async def test_a_parameter_that_is_missing_or_repeated_is_told(issuer: Issuer) -> None:
    for form in (
        {"other": "x"},
        {"token": ""},
        {"token": ["x", "y"]},
        {"token_type_hint": "access_token"},
    ):
        answer = await issuer.post(PATH, form, client="orders")
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")


@pytest.mark.parametrize("hint", ["access_token", "refresh_token", "unheard-of"])
async def test_a_hint_changes_nothing(issuer: Issuer, hint: str) -> None:
    form = {"token": issuer.token(), "token_type_hint": hint}
    assert (await issuer.post(PATH, form, client="orders")).status_code == 200
    assert issuer.revocations.sequence == 1


async def test_callers_authenticate_as_at_the_token_endpoint(issuer: Issuer) -> None:
    token = issuer.token()
    async with talking(issuer.keeper) as http:
        for headers in ({}, {"Authorization": basic("orders", "wrong")}):
            answer = await http.post(PATH, data={"token": token}, headers=headers)
            assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")
    assert issuer.revocations.sequence == 0


async def test_only_forms_are_read_and_only_by_post(issuer: Issuer) -> None:
    async with talking(issuer.keeper) as http:
        answer = await http.get(PATH)
        assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
        assert (await http.post(PATH, json={})).status_code == 415


async def test_a_revocation_that_cannot_be_written_is_not_acknowledged(
    issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(_: Database) -> object:
        raise DatabaseUnusable("/var/lib/ephemera.db: disk full")

    token = issuer.token()
    with monkeypatch.context() as patch:
        patch.setattr(Database, "write", write)
        answer = await issuer.revoke(token)
    assert (answer.status_code, answer.json()["error"]) == (503, "temporarily_unavailable")
    assert int(answer.headers["retry-after"]) > 0
    assert "disk" not in answer.text
    assert await issuer.active(token)


async def test_without_a_fresh_view_nothing_is_revoked(issuer: Issuer) -> None:
    token = issuer.token()
    issuer.now = Instant(issuer.now.wall + 31, issuer.now.monotonic + 31)
    answer = await issuer.revoke(token)
    assert (answer.status_code, answer.json()["error"]) == (503, "temporarily_unavailable")


async def test_a_revocation_is_on_record_as_its_clients_or_is_not_made(issuer: Issuer) -> None:
    stuck = Stuck(failing=True)
    writing = writer(stuck, patience=0.1)
    issuer.keeper.database.recorder = Trail(writing, by="issuer", clock=lambda: issuer.now)
    token = issuer.token()
    answer = await issuer.revoke(token)
    assert answer.status_code == 503
    assert await issuer.active(token)
    stuck.failing = False
    stuck.free.set()
    writing.patience = 60
    assert (await issuer.revoke(token)).status_code == 200
    assert not await issuer.active(token)
    writing.close()
    told = [(record["kind"], record["by"]) for record in stuck.records[1:-1]]
    client = "client:orders"
    assert told == [("revoked", client), ("undone", client), ("revoked", client)]
    assert stuck.records[-2]["jti"] == [jti_digest(claims(token)["jti"])]
