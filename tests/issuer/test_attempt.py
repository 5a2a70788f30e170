from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from issuer.fixtures_minting import BILLING, basic, talking

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ephemera_issuer.attempt import Attempt
    from ephemera_issuer.errors import RequestRefused
    from ephemera_issuer.policy import Decision

pytestmark = pytest.mark.anyio

ASKED = {"grant_type": "client_credentials", "resource": BILLING}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Told:
    def __init__(self) -> None:
        self.ends: list[tuple[Any, ...]] = []

    def minted(self, attempt: Attempt, decision: Decision, tokens: Sequence[str]) -> None:
        self.ends.append((attempt.client_id, attempt.audience, decision.audience, list(tokens)))

    def refused(self, attempt: Attempt, error: RequestRefused) -> None:
        self.ends.append((attempt.client_id, attempt.audience, error.error))


async def test_an_observer_is_told_of_the_tokens_that_are_sent() -> None:
    told = Told()
    async with talking(observers=[told]) as http:
        answer = await http.post(
            "/oauth2/token", data=ASKED | {"count": "2"}, headers={"Authorization": basic()}
        )
    sent = [answer.json()["access_token"], *answer.json()["additional_tokens"]]
    assert told.ends == [("orders", BILLING, BILLING, sent)]


@pytest.mark.parametrize(
    ("form", "secret", "end"),
    [
        (ASKED, "wrong", (None, None, "invalid_client")),
        ({"grant_type": "password"}, None, (None, None, "unsupported_grant_type")),
        (ASKED | {"scope": "admin"}, None, ("orders", BILLING, "invalid_scope")),
        (ASKED | {"resource": "https://other.internal"}, None, ("orders", None, "invalid_target")),
    ],
)
async def test_an_observer_is_told_of_a_refusal_and_of_nothing_merely_claimed(
    form: dict[str, str], secret: str | None, end: tuple[Any, ...]
) -> None:
    told = Told()
    authorization = basic() if secret is None else basic(secret=secret)
    async with talking(observers=[told]) as http:
        await http.post("/oauth2/token", data=form, headers={"Authorization": authorization})
    assert told.ends == [end]


async def test_an_observer_is_told_of_what_is_no_form() -> None:
    told = Told()
    async with talking(observers=[told]) as http:
        answer = await http.post("/oauth2/token", json={})
    assert answer.status_code == 415
    assert told.ends == [(None, None, "invalid_request")]
