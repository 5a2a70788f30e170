"""JavaScript's OAuth and JOSE libraries with private_key_jwt, and another issuer's tokens."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import requests
from joserfc.jwk import ECKey, KeySet, OKPKey, RSAKey
from system.oidc_provider import SECRET, running_oidc_provider
from system.running import run_issuer

from ephemera_client import ForeignVerifier, SingleProcessReplayCache, TokenReplayed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from system.running import Issuer

INTEROP = Path(__file__).parent.parent / "interop"
AUDIENCE = "https://billing.internal"
REGISTRY = """
[[audiences]]
id = "https://billing.internal"
scopes = ["invoices:read"]

[[clients]]
id = "orders"
jwks_file = "orders.jwks.json"

[[grants]]
client = "orders"
audience = "https://billing.internal"
scopes = ["invoices:read"]
"""

ALGORITHMS = ["ES256", "EdDSA", "RS256"]


def node(script: str, *arguments: str, given: str) -> Any:
    done = subprocess.run(
        ["node", INTEROP / script, *arguments],
        input=given,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module", params=ALGORITHMS)
def algorithm(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def private_jwk(algorithm: str) -> dict[str, Any]:
    named: Any = {"kid": algorithm.lower(), "alg": algorithm}
    match algorithm:
        case "ES256":
            return dict(ECKey.generate_key("P-256", named).as_dict(private=True))
        case "EdDSA":
            return dict(OKPKey.generate_key("Ed25519", named).as_dict(private=True))
        case _:
            return dict(RSAKey.generate_key(2048, named).as_dict(private=True))


@pytest.fixture(scope="module")
def issuer(
    tmp_path_factory: pytest.TempPathFactory, private_jwk: dict[str, Any]
) -> Iterator[Issuer]:
    folder = tmp_path_factory.mktemp("issuer")
    public = KeySet.import_key_set({"keys": [private_jwk]}).as_dict(private=False)
    (folder / "orders.jwks.json").write_text(json.dumps(public))
    with run_issuer(folder, registry=REGISTRY) as running:
        yield running


@pytest.mark.parametrize("script", ["oauth4webapi.mjs", "openid-client.mjs"])
def test_an_oauth_client_gets_a_token_with_private_key_jwt_through_discovery(
    issuer: Issuer, private_jwk: dict[str, Any], algorithm: str, script: str
) -> None:
    answer = node(
        script,
        *(issuer.url, "orders", AUDIENCE, "invoices:read", algorithm),
        given=json.dumps(private_jwk),
    )
    assert answer["scope"] == "invoices:read"
    claims = node(
        "aws-jwt-verify.mjs",
        *(f"{issuer.url}/.well-known/jwks.json", issuer.url, AUDIENCE),
        given=answer["access_token"],
    )
    assert claims["client_id"] == "orders"


@pytest.fixture
def oidc_provider() -> Iterator[str]:
    with running_oidc_provider(audience=AUDIENCE, scope="invoices:read", client="orders") as url:
        yield url


def test_a_token_of_oidc_provider_is_verified_by_a_foreign_verifier_once(
    oidc_provider: str,
) -> None:
    verifier = ForeignVerifier(
        issuer=oidc_provider,
        jwks_url=f"{oidc_provider}/jwks",
        audience=AUDIENCE,
        algorithm="ES256",
        types={"at+jwt"},
        replay_cache=SingleProcessReplayCache(),
    )
    answer = requests.post(
        f"{oidc_provider}/token",
        data={
            "grant_type": "client_credentials",
            "resource": AUDIENCE,
            "scope": "invoices:read",
        },
        auth=("orders", SECRET),
        timeout=10,
    )
    raw = answer.json()["access_token"]
    token = verifier.verify(raw, scopes={"invoices:read"})
    assert (token.client_id, token.audience) == ("orders", AUDIENCE)
    with pytest.raises(TokenReplayed):
        verifier.verify(raw)
