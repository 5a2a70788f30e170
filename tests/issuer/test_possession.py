"""Bound tokens from the token endpoint, beside what tests/attacks/test_dpop.py has it refuse."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from client.fixtures_dpop import key_of_caller, proof_of, thumbprint
from issuer.fixtures_minting import (
    BILLING,
    ISSUER,
    LEDGER,
    NOW,
    Keeper,
    basic,
    claims,
    snapshot,
    talking,
)

from ephemera_client import DPoPNonces, SingleProcessReplayCache, compact
from ephemera_client.errors import ReplayCacheUnavailable
from ephemera_client.instant import Instant
from ephemera_issuer.form import TokenRequest
from ephemera_issuer.issued import recognise
from ephemera_issuer.policy import decide
from ephemera_issuer.possession import nonces_of
from ephemera_issuer.settings import Settings
from ephemera_issuer.snapshot import open_keeper

if TYPE_CHECKING:
    from pathlib import Path

    import httpx

    from ephemera_issuer.snapshot import Snapshot

pytestmark = pytest.mark.anyio

SECOND = int(NOW.wall)
FORM = {"grant_type": "client_credentials", "resource": BILLING}
NONCES = DPoPNonces(b"n" * 32)
IN_MEMORY = Settings(issuer=ISSUER, database_url="sqlite://")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def requiring(**parts: Any) -> Snapshot:
    """Billing takes bound tokens alone; ledger takes either."""
    whole = snapshot(**parts)
    billing = replace(whole.audiences[BILLING], dpop_required=True)
    return replace(whole, audiences=dict(whole.audiences) | {BILLING: billing})


def proof(**changes: Any) -> str:
    said: dict[str, Any] = {"htm": "POST", "htu": f"{ISSUER}/oauth2/token", "iat": SECOND}
    return proof_of(None, **(said | changes))


async def ask(
    http: httpx.AsyncClient, *proofs: str, audience: str = BILLING, **form: str
) -> httpx.Response:
    headers = [("Authorization", basic()), *(("DPoP", raw) for raw in proofs)]
    return await http.post(
        "/oauth2/token", data=FORM | {"resource": audience} | form, headers=headers
    )


async def test_a_token_is_bound_to_the_key_of_the_proof() -> None:
    async with talking(Keeper(snapshot())) as http:
        answer = await ask(http, proof())
    assert answer.json()["token_type"] == "DPoP"
    assert "dpop-nonce" not in answer.headers
    said = claims(answer.json()["access_token"])
    assert said["cnf"] == {"jkt": thumbprint(key_of_caller())}
    assert list(said) == ["iss", "sub", "client_id", "aud", "scope", "iat", "exp", "cnf", "jti"]
    assert len(answer.json()["access_token"]) < 600


async def test_all_tokens_of_one_request_are_bound_to_the_one_key() -> None:
    async with talking(Keeper(requiring())) as http:
        document = (await ask(http, proof(), count="5")).json()
    tokens = [document["access_token"], *document["additional_tokens"]]
    assert len({claims(token)["jti"] for token in tokens}) == 5
    assert {claims(token)["cnf"]["jkt"] for token in tokens} == {thumbprint(key_of_caller())}


async def test_an_audience_that_requires_a_key_gets_no_plain_token() -> None:
    async with talking(Keeper(requiring())) as http:
        answer = await ask(http)
        assert (answer.status_code, answer.json()) == (
            400,
            {
                "error": "invalid_dpop_proof",
                "error_description": "this audience takes only tokens bound to a key: "
                "send a DPoP proof",
            },
        )
        assert (await ask(http, audience=LEDGER)).json()["token_type"] == "Bearer"
        assert (await ask(http, proof(), audience=LEDGER)).json()["token_type"] == "DPoP"


def test_the_decision_says_whether_a_key_is_required() -> None:
    held = requiring()
    client = held.clients["orders"]
    assert decide(held, client, TokenRequest(BILLING)).dpop_required
    assert not decide(held, client, TokenRequest(LEDGER)).dpop_required


async def test_policy_is_asked_before_the_proof_is_looked_at() -> None:
    async with talking(Keeper(requiring())) as http:
        answer = await ask(http, "junk", audience="https://private.internal")
        assert answer.json()["error"] == "invalid_target"
        good = proof()
        answer = await ask(http, good, scope="nothing")
        assert answer.json()["error"] == "invalid_scope"
        assert (await ask(http, good)).status_code == 200


async def test_every_answer_to_a_proof_brings_the_nonce_of_now() -> None:
    later = Instant(NOW.wall + 250, NOW.monotonic + 250)
    held = snapshot(confirmed_at=later)
    ledger = SingleProcessReplayCache(clock=lambda: NOW)
    async with talking(Keeper(held), now=later, ledger=ledger, dpop_nonces=NONCES) as http:
        answer = await ask(http, proof(nonce=NONCES.make(NOW.wall)))
        assert answer.status_code == 200
        assert NONCES.made_at(answer.headers["dpop-nonce"], now=later.wall) == SECOND + 250
        assert "dpop-nonce" not in (await ask(http)).headers


async def test_a_nonce_older_than_the_ledger_is_challenged() -> None:
    ledger = SingleProcessReplayCache(clock=lambda: Instant(NOW.wall + 1, NOW.monotonic))
    async with talking(Keeper(snapshot()), ledger=ledger, dpop_nonces=NONCES) as http:
        answer = await ask(http, proof(nonce=NONCES.make(NOW.wall)))
        assert (answer.status_code, answer.json()["error"]) == (400, "use_dpop_nonce")
        assert answer.headers["dpop-nonce"]
    async with talking(Keeper(snapshot()), ledger=ledger) as http:
        answer = await ask(http, proof())
        assert answer.json()["error_description"].startswith(
            "the proof was made before this ledger"
        )


class Down(SingleProcessReplayCache):
    async def claim_async(self, *_: object) -> None:
        raise ReplayCacheUnavailable("down", cause_code="timeout")


async def test_without_its_ledger_the_issuer_binds_nothing_and_mints_what_needs_no_proof() -> None:
    ledger = Down(clock=lambda: NOW)
    async with talking(Keeper(snapshot()), ledger=ledger) as http:
        answer = await ask(http, proof())
        assert (answer.status_code, answer.json()["error"]) == (503, "temporarily_unavailable")
        assert (await ask(http)).status_code == 200


async def test_introspection_tells_the_key_and_the_type() -> None:
    whole = snapshot()
    billing = replace(whole.audiences[BILLING], introspected_by=frozenset({"orders"}))
    keeper = Keeper(replace(whole, audiences=dict(whole.audiences) | {BILLING: billing}))
    async with talking(keeper) as http:
        for proofs, expected in (
            ([proof()], {"token_type": "DPoP", "cnf": {"jkt": thumbprint(key_of_caller())}}),
            ([], {"token_type": "Bearer", "cnf": None}),
        ):
            token = (await ask(http, *proofs)).json()["access_token"]
            answer = await http.post(
                "/oauth2/introspect", data={"token": token}, headers={"Authorization": basic()}
            )
            document = answer.json()
            assert document["active"] is True
            assert {"token_type": document["token_type"], "cnf": document.get("cnf")} == expected
    recognised = recognise(token, issuer=ISSUER, ring=whole.ring)
    assert recognised is not None
    assert recognised.thumbprint is None
    assert "cnf" not in compact.parse(token).claims


def test_replicas_and_the_next_start_know_each_others_nonces(tmp_path: Path) -> None:
    settings = Settings(
        issuer=ISSUER, database_url=f"sqlite:///{tmp_path / 'ephemera.db'}", dpop_nonce="required"
    )
    made = []
    for _ in range(2):
        with closing(open_keeper(settings, issuer=ISSUER, clock=lambda: NOW)) as keeper:
            made.append(nonces_of(settings, keeper.keys.sealing_keys))
    assert made[0] is not None
    assert made[1] is not None
    assert made[1].made_at(made[0].make(NOW.wall), now=NOW.wall) == SECOND
    with closing(open_keeper(IN_MEMORY, issuer=ISSUER, clock=lambda: NOW)) as keeper:
        assert nonces_of(IN_MEMORY, keeper.keys.sealing_keys) is None
