"""Bound tokens with libraries that nobody here wrote, against a running issuer and an API."""

from __future__ import annotations

import json
import socket
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import requests
from docs.running import serving
from requests_oauth2client import ClientSecretBasic, DPoPToken, OAuth2Client
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import JSONResponse
from starlette.routing import Route
from system.oidc_provider import SECRET, running_oidc_provider
from system.running import run_issuer

from ephemera_client import (
    AsyncVerifier,
    ClientSecret,
    DPoP,
    DPoPKey,
    DPoPNonces,
    ForeignVerifier,
    Presented,
    RequireToken,
    SenderConstraintUnverified,
    SingleProcessReplayCache,
    Target,
    TokenClient,
    access_token,
)
from ephemera_issuer.demo.story import REGISTRY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.requests import Request
    from system.running import Issuer

INTEROP = Path(__file__).parent.parent / "interop"
AUDIENCE = "https://billing.internal"
SCOPE = "invoices:read"


@pytest.fixture(scope="module", params=["off", "required"])
def nonce(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def issuer(tmp_path_factory: pytest.TempPathFactory, nonce: str) -> Iterator[Issuer]:
    registry = REGISTRY.replace("[[audiences]]", '[[audiences]]\ndpop = "required"', 1)
    settings = {"EPHEMERA_DPOP_NONCE": nonce}
    with run_issuer(
        tmp_path_factory.mktemp("issuer"), registry=registry, settings=settings
    ) as running:
        yield running


@pytest.fixture(scope="module")
def api(issuer: Issuer, nonce: str) -> Iterator[str]:
    """An API that takes bound tokens alone, with nonces where the issuer has them too."""

    async def invoices(request: Request) -> JSONResponse:
        token = access_token(request)
        return JSONResponse({"for": token.client_id, "key": token.key_thumbprint})

    with ExitStack() as stack:
        door = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        origin = f"http://127.0.0.1:{door.getsockname()[1]}"
        verifier = AsyncVerifier(
            issuer=issuer.url,
            audience=AUDIENCE,
            algorithm="ES256",
            replay_cache=SingleProcessReplayCache(),
            dpop=DPoP(
                origin=origin,
                required=True,
                nonces=DPoPNonces.of_this_process() if nonce == "required" else None,
            ),
        )
        guard = Middleware(RequireToken, verifier=verifier, scopes={SCOPE})
        app = Starlette(routes=[Route("/invoices", invoices)], middleware=[guard])
        stack.enter_context(serving(app, door))
        yield f"{origin}/invoices"


@pytest.mark.parametrize("algorithm", ["ES256", "Ed25519", "RS256"])
def test_oauth4webapi_gets_bound_tokens_and_calls_an_api_with_them(
    issuer: Issuer, api: str, nonce: str, algorithm: str
) -> None:
    done = subprocess.run(
        ["node", str(INTEROP / "oauth4webapi-dpop.mjs"), issuer.url, "orders", AUDIENCE, SCOPE]
        + [algorithm, f"{api}?page=2", "3"],
        input=issuer.client_secret,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert (seen["token_type"].lower(), seen["scope"]) == ("dpop", SCOPE)
    assert [answer["status"] for answer in seen["answers"]] == [200, 200, 200]
    keys = {answer["body"]["key"] for answer in seen["answers"]}
    assert len(keys) == 1
    challenged = 1 if nonce == "required" else 0
    assert seen["nonces"] == {"issuer": challenged, "api": challenged}


def test_requests_oauth2client_gets_a_bound_token_and_calls_an_api_with_it(
    issuer: Issuer, api: str
) -> None:
    client = OAuth2Client.from_discovery_endpoint(
        f"{issuer.url}/.well-known/oauth-authorization-server",
        issuer=issuer.url,
        auth=ClientSecretBasic("orders", issuer.client_secret),
        dpop_bound_access_tokens=True,
        testing=True,
    )
    token = client.client_credentials(scope=SCOPE, resource=AUDIENCE)
    assert isinstance(token, DPoPToken)
    # Where the API asks for a nonce, this shows the same token again: the challenge cost nothing.
    answer = requests.get(f"{api}?page=2", auth=token, timeout=10)
    assert answer.status_code == 200, answer.text
    assert answer.json() == {"for": "orders", "key": token.dpop_key.dpop_jkt}
    again = requests.get(api, headers={"Authorization": f"Bearer {token}"}, timeout=10)
    assert again.json()["reason"] == "sender_constraint_unverified"


def test_our_own_caller_does_the_same(issuer: Issuer, api: str) -> None:
    key = DPoPKey.generate()
    secret = ClientSecret(issuer.client_secret)
    origin = api.removesuffix("/invoices")
    with (
        TokenClient(issuer.url, client_id="orders", credential=secret, dpop=key) as tokens,
        httpx.Client(transport=tokens.transport({origin: Target(AUDIENCE, {SCOPE})})) as http,
    ):
        for _ in range(3):
            answer = http.get(api, params={"page": "2"})
            assert answer.json() == {"for": "orders", "key": key.thumbprint}


@pytest.fixture
def oidc_provider() -> Iterator[str]:
    with running_oidc_provider(audience=AUDIENCE, scope=SCOPE, client="orders") as url:
        yield url


def test_a_bound_token_of_oidc_provider_is_refused_without_its_proof(oidc_provider: str) -> None:
    key = DPoPKey.generate()
    url = f"{oidc_provider}/token"
    answer = requests.post(
        url,
        data={"grant_type": "client_credentials", "resource": AUDIENCE, "scope": SCOPE},
        headers={"DPoP": key.proof("POST", url, token=None, nonce=None, now=time.time())},
        auth=("orders", SECRET),
        timeout=10,
    )
    assert answer.json()["token_type"] == "DPoP"
    raw = answer.json()["access_token"]
    parts: dict[str, Any] = {
        "issuer": oidc_provider,
        "jwks_url": f"{oidc_provider}/jwks",
        "audience": AUDIENCE,
        "algorithm": "ES256",
        "types": {"at+jwt"},
        "replay_cache": SingleProcessReplayCache(),
    }
    checking = ForeignVerifier(dpop=DPoP(origin=AUDIENCE, required=False), **parts)
    for verifier in (ForeignVerifier(**parts), checking):
        with pytest.raises(SenderConstraintUnverified):
            verifier.verify(raw)
    shown = key.proof("GET", f"{AUDIENCE}/invoices", token=raw, nonce=None, now=time.time())
    token = checking.verify(raw, presented=Presented("GET", f"{AUDIENCE}/invoices", shown))
    assert (token.client_id, token.key_thumbprint) == ("orders", key.thumbprint)
