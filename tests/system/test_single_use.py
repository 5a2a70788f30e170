"""A calling service and an API as real processes beside the issuer, at some volume."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import httpx
import pytest
from system.running import threads_client

from ephemera_client import ClientSecret, TokenClient
from ephemera_issuer.demo.process import Service

if TYPE_CHECKING:
    from collections.abc import Iterator

    from system.running import Issuer

    from ephemera_client import IssuedToken

AUDIENCE = "https://billing.internal"
SEQUENTIAL = 1000
CONCURRENT = 200


@pytest.fixture(scope="module")
def billing(issuer: Issuer) -> Iterator[str]:
    with Service(
        "billing",
        ["ephemera_issuer.demo.billing", "--issuer", issuer.url, "--audience", AUDIENCE],
        environment=issuer.environment,
    ) as service:
        yield service.url


@pytest.fixture(scope="module")
def tokens(issuer: Issuer) -> Iterator[TokenClient]:
    with TokenClient(
        issuer.url, client_id="orders", credential=ClientSecret(issuer.client_secret)
    ) as client:
        yield client


def call(api: httpx.Client, token: str) -> httpx.Response:
    return api.get("/invoices", headers={"Authorization": f"Bearer {token}"})


def test_a_thousand_calls_in_turn_are_accepted_and_each_token_shown_again_is_refused(
    billing: str, tokens: TokenClient
) -> None:
    used: list[IssuedToken] = []
    with httpx.Client(base_url=billing, timeout=30) as api:
        for _ in range(SEQUENTIAL):
            token = tokens.get(AUDIENCE, scopes={"invoices:read"})
            assert call(api, token).status_code == 200
            used.append(token)
        again = [call(api, token) for token in used]
    assert len(set(used)) == SEQUENTIAL
    assert {answer.status_code for answer in again} == {401}
    assert all('reason="token_replayed"' in answer.headers["www-authenticate"] for answer in again)


def test_two_hundred_calls_at_once_are_accepted_and_each_token_shown_again_is_refused(
    billing: str, tokens: TokenClient
) -> None:
    with (
        threads_client(CONCURRENT, base_url=billing) as api,
        ThreadPoolExecutor(CONCURRENT) as threads,
    ):

        def ask_and_call(_: int) -> tuple[IssuedToken, int]:
            token = tokens.get(AUDIENCE, scopes={"invoices:read"})
            return token, call(api, token).status_code

        first = list(threads.map(ask_and_call, range(CONCURRENT)))
        again = list(threads.map(lambda seen: call(api, seen[0]).status_code, first))
    assert [status for _, status in first] == [200] * CONCURRENT
    assert len({token for token, _ in first}) == CONCURRENT
    assert again == [401] * CONCURRENT


def test_one_token_shown_by_many_at_once_is_accepted_once(
    billing: str, tokens: TokenClient
) -> None:
    with (
        threads_client(20, base_url=billing) as api,
        ThreadPoolExecutor(20) as threads,
    ):
        for _ in range(10):
            token = tokens.get(AUDIENCE, scopes={"invoices:read"})
            statuses = list(
                threads.map(lambda _, token=token: call(api, token).status_code, range(20))
            )
            assert sorted(statuses) == [200] + [401] * 19
