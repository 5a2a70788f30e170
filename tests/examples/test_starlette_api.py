from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
from examples.fixtures_examples import AUDIENCE, assert_guarded, run_example

if TYPE_CHECKING:
    from system.running import Issuer

    from ephemera_client import TokenClient


def test_the_starlette_api_accepts_a_token_once_and_demands_scopes(
    issuer: Issuer, tokens: TokenClient
) -> None:
    with run_example("starlette_api", issuer) as api:
        assert_guarded(api.url, tokens)
        headers = {"Authorization": f"Bearer {tokens.get(AUDIENCE)}"}
        with (
            httpx.Client(base_url=api.url, trust_env=False) as http,
            http.stream("GET", "/invoices/events", headers=headers) as events,
        ):
            assert next(events.iter_lines()) == "event: invoice"
            assert http.get("/invoices/events", headers=headers).status_code == 401
