"""Services without a secret: a cluster, a CI and a SPIFFE agent vouch for them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
from client.fixtures_publishing import Publisher, publishing
from client.fixtures_requesting import Reply, serving
from client.fixtures_spire import Agent, workload_api
from client.fixtures_verifying import signing_key
from system.running import Issuer, run_issuer

from ephemera_client import (
    ClientRefused,
    NoReplayCache,
    SingleProcessReplayCache,
    TokenClient,
    TypeRefused,
    Verifier,
    WorkloadIdentity,
    compact,
)
from ephemera_client.workload import GitHubActions, SpireAgent, TokenFile
from ephemera_client.workload.ambient import FILE
from ephemera_client.workload.github import TOKEN, URL

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from client.fixtures_requesting import Asked
    from client.fixtures_verifying import SigningKey

pytestmark = pytest.mark.anyio

AUDIENCE, SCOPE = "https://billing.internal", "invoices:read"
CLUSTER, NODE, NEXT = signing_key("RS256"), signing_key("ES256"), signing_key("ES256", 1)
ACCOUNT = "system:serviceaccount:shop:orders"
SPIFFE_ID = "spiffe://cluster.internal/ns/shop/sa/orders"
REGISTRY = """
[[audiences]]
id = "https://billing.internal"
scopes = ["invoices:read"]

[[issuers]]
id = "https://kubernetes.default.svc.cluster.local"
jwks_file = "cluster.jwks.json"
reusable = true

[[issuers]]
id = "spiffe://cluster.internal"
jwks_file = "spire.jwks.json"
reusable = true
max_lifetime = "1h"

[[issuers]]
id = "{actions}"
jwks_uri = "{actions}/jwks.json"

[[clients]]
id = "orders"

[[clients.identities]]
issuer = "https://kubernetes.default.svc.cluster.local"
subject = "system:serviceaccount:shop:orders"

[[clients.identities]]
issuer = "spiffe://cluster.internal"
subject = "spiffe://cluster.internal/ns/shop/sa/orders"

[[clients.identities]]
issuer = "{actions}"
subject_prefix = "repo:acme/orders:"
claims = {{ environment = "production" }}

[[grants]]
client = "orders"
audience = "https://billing.internal"
scopes = ["invoices:read"]
"""


def signed(key: SigningKey, **claims: Any) -> str:
    now = int(time.time())
    header = {"alg": key.alg, "kid": key.kid, "typ": "JWT"}
    return compact.write(header, {"iat": now, "exp": now + 600} | claims, sign=key.sign)


@pytest.fixture(scope="module")
def actions() -> Iterator[Publisher]:
    with publishing(NODE) as publisher:
        yield publisher


@pytest.fixture(scope="module")
def issuer(tmp_path_factory: pytest.TempPathFactory, actions: Publisher) -> Iterator[Issuer]:
    folder = tmp_path_factory.mktemp("issuer")
    for name, key in (("cluster", CLUSTER), ("spire", NODE)):
        (folder / f"{name}.jwks.json").write_text(json.dumps({"keys": [key.jwk]}))
    with run_issuer(
        folder,
        registry=REGISTRY.format(actions=actions.issuer),
        settings={"EPHEMERA_JWKS_URI_HOSTS": "127.0.0.1"},
    ) as running:
        yield running


def tokens_of(issuer: Issuer, credential: WorkloadIdentity) -> TokenClient:
    return TokenClient(issuer.url, client_id="orders", credential=credential)


def assert_accepted(issuer: Issuer, raw: str) -> None:
    verifier = Verifier(
        issuer=issuer.url,
        audience=AUDIENCE,
        algorithm="ES256",
        # Made after the token, a ledger of its own would not know what came before.
        replay_cache=NoReplayCache(),
    )
    assert verifier.verify(raw, scopes={SCOPE}).client_id == "orders"


def account_token(issuer: Issuer) -> str:
    """A projected token of a service account, as Kubernetes writes it."""
    return signed(
        CLUSTER,
        iss="https://kubernetes.default.svc.cluster.local",
        sub=ACCOUNT,
        aud=[issuer.url],
        **{"kubernetes.io": {"namespace": "shop", "serviceaccount": {"name": "orders"}}},
    )


def test_a_service_account_of_kubernetes_asks_again_and_again(
    issuer: Issuer, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    file.write_text(account_token(issuer))
    with tokens_of(issuer, WorkloadIdentity(TokenFile(file))) as tokens:
        for raw in [tokens.get(AUDIENCE, scopes={SCOPE}, lifetime=60 + n) for n in range(3)]:
            assert_accepted(issuer, raw)


def test_the_command_finds_the_token_of_its_platform(issuer: Issuer, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(account_token(issuer))
    done = subprocess.run(
        [sys.executable, "-m", "ephemera_client", "token", AUDIENCE]
        + ["--issuer", issuer.url, "--client-id", "orders"],
        env=os.environ | {FILE: str(file)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert_accepted(issuer, done.stdout.strip())
    assert file.read_text() not in done.stdout + done.stderr


def test_a_workload_of_spiffe_has_a_svid_of_its_agent(
    issuer: Issuer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    # A JWT-SVID needs no iss and no jti.
    agent = Agent(SPIFFE_ID, lambda audience: signed(NODE, sub=SPIFFE_ID, aud=[audience]))
    with (
        workload_api(tmp_path_factory.mktemp("s"), agent) as socket,
        tokens_of(issuer, WorkloadIdentity(SpireAgent(socket))) as tokens,
    ):
        assert_accepted(issuer, tokens.get(AUDIENCE))


def job_tokens(actions: Publisher, key: SigningKey, **claims: Any) -> Any:
    """The token service of a CI whose keys are at `actions`."""

    def answer(asked: Asked) -> Reply:
        audience = asked.path.rpartition("audience=")[2].replace("%3A", ":").replace("%2F", "/")
        job = {"sub": "repo:acme/orders:ref:main", "environment": "production"} | claims
        value = signed(key, iss=actions.issuer, aud=audience, jti=str(time.time_ns()), **job)
        return Reply(200, json.dumps({"value": value}).encode())

    return serving(answer)


def test_a_job_of_a_ci_has_a_token_for_each_request_and_its_keys_are_fetched(
    issuer: Issuer, actions: Publisher
) -> None:
    with job_tokens(actions, NODE) as server:
        environ = {URL: f"{server.origin}/?v=2", TOKEN: "of the job"}
        with tokens_of(issuer, WorkloadIdentity(GitHubActions(environ))) as tokens:
            for lifetime in (60, 61):
                assert_accepted(issuer, tokens.get(AUDIENCE, lifetime=lifetime))
    # Its next key is fetched when it is first seen.
    actions.publish(NODE, NEXT)
    with job_tokens(actions, NEXT) as server:
        environ = {URL: f"{server.origin}/?v=2", TOKEN: "of the job"}
        with tokens_of(issuer, WorkloadIdentity(GitHubActions(environ))) as tokens:
            assert_accepted(issuer, tokens.get(AUDIENCE))


@pytest.mark.parametrize(
    "claims",
    [
        {"environment": "staging"},
        {"sub": "repo:acme/orders-of-somebody-else:ref:main"},
        {"sub": "repo:acme/other:ref:main"},
    ],
)
def test_another_job_of_the_same_ci_is_nobody(
    issuer: Issuer, actions: Publisher, claims: dict[str, str]
) -> None:
    with job_tokens(actions, NODE, **claims) as server:
        environ = {URL: f"{server.origin}/?v=2", TOKEN: "of the job"}
        with (
            tokens_of(issuer, WorkloadIdentity(GitHubActions(environ))) as tokens,
            pytest.raises(ClientRefused) as caught,
        ):
            tokens.get(AUDIENCE)
    assert caught.value.description == "client authentication failed"
    assert "tried workload identity" in str(caught.value)


def test_the_token_of_a_platform_is_no_access_token(issuer: Issuer) -> None:
    verifier = Verifier(
        issuer=issuer.url,
        audience=issuer.url,
        algorithm="RS256",
        replay_cache=SingleProcessReplayCache(),
    )
    with pytest.raises(TypeRefused):
        verifier.verify(account_token(issuer))


def test_the_command_shows_who_speaks_for_a_client(issuer: Issuer) -> None:
    shown = issuer.command("clients", "show", "orders", "--json").stdout
    assert json.loads(shown)["client"]["identities"][0] == {
        "issuer": "https://kubernetes.default.svc.cluster.local",
        "subject": ACCOUNT,
        "prefix": False,
        "claims": {},
    }
    assert f"{ACCOUNT} of https://kubernetes" in issuer.command("clients", "show", "orders").stdout
