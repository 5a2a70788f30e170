from __future__ import annotations

import pytest
from issuer.fixtures_minting import ISSUER, Keeper, talking

pytestmark = pytest.mark.anyio

METHODS = ["private_key_jwt", "client_secret_basic"]
ALGORITHMS = ["ES256", "EdDSA", "RS256"]
PATHS = ["/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"]


async def test_the_metadata_says_what_is_offered_and_where() -> None:
    async with talking() as client:
        answer = await client.get(PATHS[0])
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == {
        "issuer": ISSUER,
        "token_endpoint": f"{ISSUER}/oauth2/token",
        "jwks_uri": f"{ISSUER}/.well-known/jwks.json",
        "grant_types_supported": ["client_credentials"],
        "token_endpoint_auth_methods_supported": METHODS,
        "token_endpoint_auth_signing_alg_values_supported": ALGORITHMS,
        "introspection_endpoint": f"{ISSUER}/oauth2/introspect",
        "introspection_endpoint_auth_methods_supported": METHODS,
        "introspection_endpoint_auth_signing_alg_values_supported": ALGORITHMS,
        "revocation_endpoint": f"{ISSUER}/oauth2/revoke",
        "revocation_endpoint_auth_methods_supported": METHODS,
        "revocation_endpoint_auth_signing_alg_values_supported": ALGORITHMS,
        "dpop_signing_alg_values_supported": ["ES256", "Ed25519", "EdDSA", "RS256"],
        "ephemera_revocations_endpoint": f"{ISSUER}/v1/revocations",
        "ephemera_max_count": 100,
        "response_types_supported": [],
    }


async def test_both_paths_serve_the_same_bytes_whatever_the_host_header_says() -> None:
    async with talking() as client:
        answers = [
            await client.get(path, headers={"Host": host, "X-Forwarded-Host": host})
            for path in PATHS
            for host in ("tokens.internal", "evil.test")
        ]
    assert len({answer.content for answer in answers}) == 1


async def test_the_metadata_is_there_before_the_first_snapshot() -> None:
    async with talking(Keeper(None)) as client:
        assert (await client.get(PATHS[0])).status_code == 200


@pytest.mark.parametrize("path", PATHS)
async def test_what_is_announced_is_served(path: str) -> None:
    async with talking() as client:
        metadata = (await client.get(path)).json()
        keys = await client.get(metadata["jwks_uri"])
        feed = await client.get(metadata.pop("ephemera_revocations_endpoint"))
        statuses = {
            (await client.post(address)).status_code
            for name, address in metadata.items()
            if name.endswith("_endpoint")
        }
    assert (keys.status_code, feed.status_code) == (200, 200)
    assert statuses == {415}
