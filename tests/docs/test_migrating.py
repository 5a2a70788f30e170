"""docs/migrating.md: its samples accept the old way and the new one, and confuse them never."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from docs.pages import blocks
from docs.running import run, serving
from starlette.applications import Starlette
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Route
from system.running import run_issuer

import ephemera_client
from ephemera_client import ClientSecret, TokenClient, TokenReplayed
from ephemera_client.testing import FakeIssuer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from system.running import Issuer

PAGE = "docs/migrating.md"
AUDIENCE = "https://billing.internal"
REALM = "/realms/services"

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def issuer(tmp_path: Path) -> Iterator[Issuer]:
    with run_issuer(tmp_path) as running:
        yield running


def ephemera_token(issuer: Issuer) -> str:
    credential = ClientSecret(issuer.client_secret)
    with TokenClient(issuer.url, client_id="orders", credential=credential) as tokens:
        return str(tokens.get(AUDIENCE, scopes={"invoices:read"}))


def names(**more: Any) -> dict[str, Any]:
    """What a module that has imported the library has to work with."""
    return {name: getattr(ephemera_client, name) for name in ephemera_client.__all__} | more


async def test_a_token_and_an_api_key_are_both_accepted_and_a_bad_token_never_falls_back(
    issuer: Issuer,
) -> None:
    sample, _ = blocks(PAGE, "python")
    verifier = ephemera_client.AsyncVerifier(
        issuer=issuer.url,
        audience=AUDIENCE,
        algorithm="ES256",
        replay_cache=ephemera_client.SingleProcessReplayCache(),
    )
    api, with_api_key = PlainTextResponse("by token"), PlainTextResponse("by key")
    app = run(sample, names(api=api, with_api_key=with_api_key, verifier=verifier), {})["either"]
    token = ephemera_token(issuer)
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://billing"
    ) as http:
        assert (await http.get("/")).text == "by key"
        authorization = {"Authorization": f"Bearer {token}"}
        assert (await http.get("/", headers=authorization)).text == "by token"
        assert (await http.get("/", headers=authorization)).status_code == 401


async def test_keycloaks_tokens_and_ephemeras_are_both_accepted_each_by_its_own_rules(
    issuer: Issuer,
) -> None:
    _, sample = blocks(PAGE, "python")
    with socket.create_server(("127.0.0.1", 0)) as door:
        realm = f"http://127.0.0.1:{door.getsockname()[1]}"
        places = {"https://sso.internal": realm, "https://tokens.internal": issuer.url}
        keycloak = FakeIssuer(realm + REALM, algorithm="RS256")
        jwks = keycloak.keys.jwks()
        certs = Route(f"{REALM}/protocol/openid-connect/certs", lambda _: JSONResponse(jwks))
        with serving(Starlette(routes=[certs]), door):
            verifier = run(sample, names(), places)["verifier"]
            claims = {"azp": "orders", "aud": ["billing", "account"], "jti": "trrtcc:1"}
            old = keycloak.mint(
                "billing",
                scopes={"invoices:read"},
                lifetime=300,
                header={"typ": "JWT"},
                claims=claims | {"sub": "f:1:service-account-orders"},
                without={"client_id"},
            )
            for _ in range(2):
                token = await verifier.verify(old, scopes={"invoices:read"})
                assert (token.client_id, token.issuer) == ("orders", realm + REALM)
            new = ephemera_token(issuer)
            assert (await verifier.verify(new)).issuer == issuer.url
            with pytest.raises(TokenReplayed):
                await verifier.verify(new)
