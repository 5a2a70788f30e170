from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from issuer.fixtures_minting import (
    BILLING,
    ISSUER,
    LEDGER,
    NOW,
    SECRET,
    Keeper,
    basic,
    claims,
    digest,
    snapshot,
    talking,
)

from ephemera_client import SingleProcessReplayCache
from ephemera_client.assertion import build
from ephemera_client.instant import Instant
from ephemera_client.private_key import PrivateKey
from ephemera_issuer.app import create_app
from ephemera_issuer.mint import mint
from ephemera_issuer.policy import Decision, Rule
from ephemera_issuer.registry.entries import Client, ClientKey
from ephemera_issuer.revocation.entries import CutOff, Revocation, RevokedToken

if TYPE_CHECKING:
    import httpx
    from starlette.types import Message

    from ephemera_issuer.snapshot import Snapshot

pytestmark = pytest.mark.anyio

PATH = "/oauth2/introspect"
INACTIVE = b'{"active":false}'


@pytest.fixture
def anyio_backend() -> str:
    # On trio, httpx leaves a body that is not wanted to the end for the collector to close.
    return "asyncio"


def held(*revocations: Revocation) -> Snapshot:
    """`auditor` may introspect what is for billing, and nothing else."""
    whole = snapshot()
    auditors = (
        Client("auditor", (digest(SECRET),), disabled=False),
        Client("gone auditor", (digest(SECRET),), disabled=True),
    )
    billing = replace(
        whole.audiences[BILLING], introspected_by=frozenset({"auditor", "gone auditor"})
    )
    return replace(
        whole,
        clients=dict(whole.clients) | {auditor.id: auditor for auditor in auditors},
        audiences=dict(whole.audiences) | {BILLING: billing},
        revocations=whole.revocations.followed_by(
            revocations, sequence=len(revocations), now=NOW.wall
        ),
    )


HELD = held()


def token(*, audience: str = BILLING, issuer: str = ISSUER) -> str:
    decision = Decision(
        "orders", audience, "invoices:read", 120, single_use=True, rule=Rule.ASKED_LIFETIME
    )
    return mint(decision, issuer=issuer, signer=HELD.signer, now=NOW.wall)


async def introspect(
    form: dict[str, Any],
    *,
    authorization: str | None = None,
    held: Snapshot | None = HELD,
    now: Instant = NOW,
) -> httpx.Response:
    headers = {"Authorization": authorization or basic("auditor")}
    async with talking(Keeper(held), now=now) as client:
        return await client.post(PATH, data=form, headers=headers)


async def test_a_good_token_is_described_to_whom_its_audience_names() -> None:
    raw = token()
    answer = await introspect({"token": raw})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["pragma"] == "no-cache"
    assert answer.json() == claims(raw) | {"active": True, "token_type": "Bearer"}
    assert list(answer.json()) == [
        *("active", "iss", "sub", "client_id", "aud", "scope", "iat", "exp", "jti", "token_type")
    ]


async def test_to_ask_does_not_consume() -> None:
    raw = token()
    answers = [(await introspect({"token": raw})).json()["active"] for _ in range(3)]
    assert answers == [True, True, True]


@pytest.mark.parametrize("hint", ["access_token", "refresh_token", "unheard-of", ""])
async def test_a_hint_changes_nothing(hint: str) -> None:
    answer = await introspect({"token": token(), "token_type_hint": hint})
    assert answer.json()["active"] is True


@pytest.mark.parametrize(
    "raw",
    [
        "x",
        "a.b.c",
        "caf\u00e9",
        "x" * 20_000,
        token(audience=LEDGER),
        token(audience="https://nowhere.internal"),
        token(issuer="https://other.internal"),
        token()[:-4] + "AAAA",
    ],
    ids=[
        *("text", "dots", "no ASCII", "large", "another audience", "an audience that is gone"),
        *("another issuer", "forged"),
    ],
)
async def test_anything_else_is_inactive_and_no_more_is_said(raw: str) -> None:
    answer = await introspect({"token": raw})
    assert (answer.status_code, answer.content) == (200, INACTIVE)
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("client", ["orders", "caf\u00e9: %1+"])
async def test_whom_the_audience_does_not_name_learns_nothing(client: str) -> None:
    # Not even the client that the token was issued to.
    answer = await introspect({"token": token()}, authorization=basic(client))
    assert (answer.status_code, answer.content) == (200, INACTIVE)


async def test_a_token_is_inactive_from_the_second_of_its_exp() -> None:
    raw = token()
    end = claims(raw)["exp"]
    for seconds, active in ((-0.001, True), (0, False)):
        now = Instant(end + seconds, NOW.monotonic + end + seconds - NOW.wall)
        fresh = replace(HELD, confirmed_at=now)
        assert (await introspect({"token": raw}, now=now, held=fresh)).json()["active"] is active


async def test_a_revoked_token_is_inactive_and_others_are_not() -> None:
    raw, other = token(), token()
    said = claims(raw)
    revoked = held(RevokedToken(said["jti"], "orders", said["iat"], said["exp"]))
    assert (await introspect({"token": raw}, held=revoked)).content == INACTIVE
    assert (await introspect({"token": other}, held=revoked)).json()["active"] is True


async def test_what_was_cut_off_is_inactive() -> None:
    cut = held(CutOff("orders", None, int(NOW.wall)))
    assert (await introspect({"token": token()}, held=cut)).content == INACTIVE


async def test_a_parameter_that_is_missing_or_repeated_is_told() -> None:
    for form, word in (
        ({"other": "x"}, "token is missing"),
        ({"token": ""}, "token is missing"),
        ({"token": ["x", "y"]}, "token must be sent once"),
        ({"token": "x", "token_type_hint": ["a", "b"]}, "token_type_hint must be sent once"),
    ):
        answer = await introspect(form)
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")
        assert word in answer.json()["error_description"]


async def test_callers_authenticate_as_at_the_token_endpoint() -> None:
    for authorization in ("Bearer x", basic("auditor", "wrong"), basic("nobody")):
        answer = await introspect({"token": token()}, authorization=authorization)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"].startswith("Basic")
        assert answer.json() == {
            "error": "invalid_client",
            "error_description": "client authentication failed",
        }
    answer = await introspect({"token": token()}, authorization=basic("gone auditor"))
    assert (answer.status_code, answer.json()["error"]) == (400, "unauthorized_client")


async def test_an_assertion_is_good_for_one_request_to_any_of_the_endpoints() -> None:
    key = PrivateKey.generate("ES256")
    auditor = Client("auditor", (), disabled=False, keys=(ClientKey.parse(key.public_jwk()),))
    keeper = Keeper(replace(HELD, clients=dict(HELD.clients) | {"auditor": auditor}))
    ledger = SingleProcessReplayCache(clock=lambda: Instant(NOW.wall - 9, NOW.monotonic - 9))
    statuses = []
    async with talking(keeper, ledger=ledger) as client:
        for number, path in enumerate([PATH, "/oauth2/revoke", PATH]):
            assertion = build(
                key, client_id="auditor", issuer=ISSUER, jti=f"jti-{number}", now=NOW.wall
            )
            form = {
                "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
                "client_assertion": assertion,
                "token": "x",
            }
            answers = [await client.post(path, data=form), await client.post(path, data=form)]
            statuses += [answer.status_code for answer in answers]
            assert "used before" in answers[1].json()["error_description"]
    assert statuses == [200, 401] * 3


async def test_only_forms_of_a_fair_size_are_read_and_only_by_post() -> None:
    async with talking(Keeper(HELD)) as client:
        headers = {"Authorization": basic("auditor")}
        answer = await client.get(PATH, params={"token": token()}, headers=headers)
        assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
        answer = await client.post(PATH, json={"token": token()}, headers=headers)
        assert answer.status_code == 415
        answer = await client.post(PATH, data={"token": "x" * 70_000}, headers=headers)
        assert answer.status_code == 413


async def test_without_a_fresh_view_nothing_is_called_active() -> None:
    late = Instant(NOW.wall + 31, NOW.monotonic + 31)
    for answer in (
        await introspect({"token": token()}, now=late),
        await introspect({"token": token()}, held=None),
    ):
        assert (answer.status_code, answer.json()["error"]) == (503, "temporarily_unavailable")
        assert int(answer.headers["retry-after"]) > 0


async def test_a_caller_that_goes_away_is_sent_nothing() -> None:
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    headers = [(b"content-type", b"application/x-www-form-urlencoded")]
    scope = {"type": "http", "method": "POST", "path": PATH, "headers": headers}
    app = create_app(Keeper(), issuer=ISSUER, ledger=SingleProcessReplayCache(), clock=lambda: NOW)
    await app(scope, receive, send)
    assert sent == []
