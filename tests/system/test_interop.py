"""Libraries that nobody here wrote, against a running issuer, through its public documents."""

from __future__ import annotations

import json
import subprocess
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import requests
from authlib.deprecate import AuthlibDeprecationWarning
from authlib.integrations.requests_client import OAuth2Session
from authlib.oauth2.rfc8414 import AuthorizationServerMetadata, get_well_known_url
from joserfc import jwk, jwt
from requests_oauth2client import ClientSecretBasic, OAuth2Client

from ephemera_client import ClientSecret, TokenClient

if TYPE_CHECKING:
    from system.running import Issuer

INTEROP = Path(__file__).parent.parent / "interop"
AUDIENCE = "https://billing.internal"


@pytest.fixture
def token(issuer: Issuer) -> str:
    with TokenClient(
        issuer.url, client_id="orders", credential=ClientSecret(issuer.client_secret)
    ) as tokens:
        return str(tokens.get(AUDIENCE, scopes={"invoices:read"}))


def published_keys(issuer: Issuer) -> Any:
    answer = requests.get(f"{issuer.url}/.well-known/jwks.json", timeout=10)
    assert answer.headers["content-type"] == "application/jwk-set+json"
    return answer.json()


def test_jose_for_javascript_verifies_a_live_token_against_the_live_jwks(
    issuer: Issuer, token: str
) -> None:
    jwks_url = f"{issuer.url}/.well-known/jwks.json"
    seen = subprocess.run(
        ["node", INTEROP / "jose.mjs", jwks_url, issuer.url, AUDIENCE, "ES256"],
        input=token,
        capture_output=True,
        text=True,
        check=True,
    )
    claims = json.loads(seen.stdout)["payload"]
    assert (claims["client_id"], claims["scope"]) == ("orders", "invoices:read")


def test_joserfc_verifies_a_live_token_against_the_live_jwks(issuer: Issuer, token: str) -> None:
    keys = jwk.KeySet.import_key_set(published_keys(issuer))
    verified = jwt.decode(token, keys, algorithms=["ES256"])
    jwt.JWTClaimsRegistry(
        iss={"essential": True, "value": issuer.url}, aud={"essential": True, "value": AUDIENCE}
    ).validate(verified.claims)
    assert verified.header["typ"] == "at+jwt"


def test_authlib_verifies_a_live_token_against_the_live_jwks(issuer: Issuer, token: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AuthlibDeprecationWarning)
        from authlib.jose import JsonWebKey, JsonWebToken  # noqa: PLC0415 - its import warns

    claims = JsonWebToken(["ES256"]).decode(
        token,
        JsonWebKey.import_key_set(published_keys(issuer)),
        claims_options={
            "iss": {"essential": True, "value": issuer.url},
            "aud": {"essential": True, "value": AUDIENCE},
        },
    )
    claims.validate()
    assert claims["client_id"] == "orders"


def test_authlib_gets_a_token_with_a_client_secret_through_discovery(issuer: Issuer) -> None:
    document = requests.get(get_well_known_url(issuer.url, external=True), timeout=10).json()
    metadata = AuthorizationServerMetadata(document)
    metadata.validate_token_endpoint_auth_methods_supported()
    with OAuth2Session("orders", issuer.client_secret) as session:
        answer = session.fetch_token(
            metadata["token_endpoint"],
            grant_type="client_credentials",
            resource=AUDIENCE,
            scope="invoices:read",
        )
    assert answer["single_use"] is True
    assert answer["expires_in"] == 120


def test_requests_oauth2client_gets_a_token_with_a_client_secret_through_discovery(
    issuer: Issuer,
) -> None:
    client = OAuth2Client.from_discovery_endpoint(
        f"{issuer.url}/.well-known/oauth-authorization-server",
        issuer=issuer.url,
        auth=ClientSecretBasic("orders", issuer.client_secret),
        testing=True,
    )
    answer = client.client_credentials(scope="invoices:read", resource=AUDIENCE)
    assert answer.token_type == "Bearer"
    assert answer.scope == "invoices:read"
