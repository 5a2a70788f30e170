from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
from examples.fixtures_examples import AUDIENCE, assert_guarded, run_example

if TYPE_CHECKING:
    from system.running import Issuer

    from ephemera_client import TokenClient


def test_the_fastapi_api_accepts_a_token_once_and_documents_its_scopes(
    issuer: Issuer, tokens: TokenClient
) -> None:
    with run_example("fastapi_api", issuer) as api:
        assert_guarded(api.url, tokens)
        document = httpx.get(f"{api.url}/openapi.json", trust_env=False).json()
    scheme = document["components"]["securitySchemes"]["AccessToken"]
    assert (scheme["scheme"], scheme["bearerFormat"]) == ("bearer", "JWT")
    assert AUDIENCE in scheme["description"]
    (security,) = document["paths"]["/invoices"]["post"]["security"]
    assert sorted(security["AccessToken"]) == ["invoices:read", "invoices:write"]
