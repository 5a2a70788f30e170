"""A caller whose tokens are bound to its key: at its issuer, and at the APIs that it calls."""

import json
from collections.abc import Iterator
from typing import Any

import anyio.to_thread
import httpx
import jwt
import pytest
import requests
from client.fixtures_requesting import Asked, Issuer, Reply, Server, issuing, serving

from ephemera_client import (
    AsyncTokenClient,
    ClientSecret,
    ConfigurationError,
    DPoP,
    DPoPKey,
    DPoPNonces,
    NoRevocations,
    Presented,
    ResponseInvalid,
    SingleProcessReplayCache,
    Target,
    TokenClient,
    TokenRequestRefused,
    Verifier,
    bearer,
)
from ephemera_client.errors import TokenRefused
from ephemera_client.grpc import token_credentials

pytestmark = pytest.mark.anyio

AUDIENCE = "https://billing.internal"
TARGET = Target(AUDIENCE, {"invoices:read"})
SECRET = ClientSecret("orders-secret")


@pytest.fixture(scope="module")
def key() -> DPoPKey:
    return DPoPKey.generate()


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with issuing(ephemera_max_count=5) as running:
        yield running


def client_of(issuer: Issuer, key: DPoPKey | None, **more: Any) -> TokenClient:
    return TokenClient(issuer.origin, client_id="orders", credential=SECRET, dpop=key, **more)


def said(proof: str) -> dict[str, Any]:
    claims: dict[str, Any] = jwt.decode(proof, options={"verify_signature": False})
    return claims


class Api:
    """A billing API: verifies tokens with their proofs, for any HTTP request."""

    def __init__(self, issuer: Issuer, nonces: DPoPNonces | None = None) -> None:
        self.origin = ""
        self.nonces = nonces
        self.issuer = issuer
        self._verifier: Verifier | None = None

    def answer(self, asked: Asked) -> Reply:
        verifier = self._verifier = self._verifier or Verifier(
            issuer=self.issuer.origin,
            audience=AUDIENCE,
            algorithm="ES256",
            jwks_url=f"{self.issuer.origin}/jwks",
            revocations=NoRevocations(),
            replay_cache=SingleProcessReplayCache(),
            dpop=DPoP(origin=self.origin, required=True, nonces=self.nonces),
        )
        try:
            _, raw = bearer.extract_either([asked.headers["authorization"]])
            presented = Presented(asked.method, self.origin + asked.path, asked.headers["dpop"])
            token = verifier.verify(raw, presented=presented)
        except TokenRefused as error:
            status, headers, body = bearer.refuse(error, realm=AUDIENCE, dpop=verifier.dpop)
            headers = tuple(it for it in headers if it[0] != "content-length")
            return Reply(status, body, headers)
        return Reply(200, json.dumps({"key": token.key_thumbprint}).encode())


@pytest.fixture(params=[False, True], ids=["no nonce", "nonce"])
def api(request: pytest.FixtureRequest, issuer: Issuer) -> Iterator[Server]:
    nonces = DPoPNonces.of_this_process() if request.param else None
    answering = Api(issuer, nonces)
    with serving(answering.answer) as server:
        answering.origin = server.origin
        yield server


def test_a_token_request_carries_a_proof_for_the_endpoint_and_all_tokens_have_one_key(
    issuer: Issuer, key: DPoPKey
) -> None:
    with client_of(issuer, key) as tokens:
        assert tokens.bound
        found = [tokens.get(AUDIENCE, scopes={"invoices:read"}) for _ in range(12)]
    assert {token.token_type for token in found} == {"DPoP"}
    confirmed = {said(token)["cnf"]["jkt"] for token in found}
    assert confirmed == {key.thumbprint}


async def test_each_call_carries_a_proof_of_its_own(
    issuer: Issuer, key: DPoPKey, api: Server
) -> None:
    def call() -> None:
        with (
            client_of(issuer, key) as tokens,
            httpx.Client(transport=tokens.transport({api.origin: TARGET})) as http,
        ):
            for method in ("GET", "POST", "DELETE"):
                answer = http.request(method, f"{api.origin}/invoices", params={"page": "2"})
                assert answer.json() == {"key": key.thumbprint}

    await anyio.to_thread.run_sync(call)
    ids = [said(asked.headers["dpop"])["jti"] for asked in api.asked]
    assert len(set(ids)) == len(ids)
    nonces = [said(asked.headers["dpop"]).get("nonce") for asked in api.asked]
    if nonces[-1] is None:
        assert len(api.asked) == 3
    else:
        # One challenge, and with it a token that was not spent.
        assert len(api.asked) == 4
        assert nonces == [None, *[nonces[1]] * 3]
        shown = [asked.headers["authorization"] for asked in api.asked]
        assert len(set(shown)) == 4


async def test_tasks_do_the_same(issuer: Issuer, key: DPoPKey, api: Server) -> None:
    async with AsyncTokenClient(
        issuer.origin, client_id="orders", credential=SECRET, dpop=key
    ) as tokens:
        transport = tokens.transport({api.origin: TARGET})
        async with httpx.AsyncClient(transport=transport) as http:
            for _ in range(3):
                answer = await http.post(f"{api.origin}/invoices", content=b"x")
                assert answer.json() == {"key": key.thumbprint}


def test_any_other_http_library_asks_for_the_headers(
    issuer: Issuer, key: DPoPKey, api: Server
) -> None:
    url = f"{api.origin}/invoices"
    with client_of(issuer, key) as tokens, requests.Session() as session:
        for _ in range(2):
            for _ in range(2):
                token = tokens.get(AUDIENCE, scopes={"invoices:read"})
                headers = tokens.headers(token, "GET", url)
                answer = session.get(url, headers=headers, timeout=10)
                if not tokens.learn_nonce(url, answer.headers.get("DPoP-Nonce")):
                    break
            assert answer.json() == {"key": key.thumbprint}


def test_without_a_key_the_headers_are_those_of_a_bearer_token(issuer: Issuer) -> None:
    with client_of(issuer, None) as tokens:
        assert not tokens.bound
        token = tokens.get(AUDIENCE)
        assert token.token_type == "Bearer"
        assert tokens.headers(token, "GET", AUDIENCE) == {"Authorization": f"Bearer {token}"}
        assert not tokens.learn_nonce(AUDIENCE, "nonce")


def challenged(nonce: str | None) -> Reply:
    headers = [("Content-Type", "application/json")]
    if nonce is not None:
        headers.append(("DPoP-Nonce", nonce))
    return Reply(400, b'{"error":"use_dpop_nonce"}', tuple(headers))


def recording(issuer: Issuer) -> list[str | None]:
    """The nonces in the proofs of token requests, as they come."""
    nonces: list[str | None] = []
    answer = issuer.answer

    def noted(asked: Asked) -> Reply:
        if asked.method == "POST":
            nonces.append(said(asked.headers["dpop"]).get("nonce"))
            assert said(asked.headers["dpop"])["htu"] == f"{issuer.origin}/oauth2/token"
        return answer(asked)

    issuer.answer = noted  # type: ignore[method-assign] # what it is about to be asked
    return nonces


@pytest.fixture
def noting() -> Iterator[tuple[Issuer, list[str | None]]]:
    made = Issuer()
    nonces = recording(made)
    with serving(lambda asked: made.answer(asked)) as server:  # noqa: PLW0108 - the one of then
        made.origin = server.origin
        yield made, nonces


def test_the_issuers_nonce_is_put_into_the_next_proof_at_once_and_from_then_on(
    noting: tuple[Issuer, list[str | None]], key: DPoPKey
) -> None:
    issuer, nonces = noting
    issuer.planned = [challenged("one")]
    with client_of(issuer, key, pool_size=0) as tokens:
        tokens.get(AUDIENCE)
        assert nonces == [None, "one"]
        tokens.get(AUDIENCE)
        issuer.planned = [challenged("two")]
        tokens.get(AUDIENCE)
    assert nonces == [None, "one", "one", "one", "two"]


@pytest.mark.parametrize("nonce", [None, "", "not a nonce"])
def test_a_challenge_without_a_usable_nonce_is_a_refusal(
    noting: tuple[Issuer, list[str | None]], key: DPoPKey, nonce: str | None
) -> None:
    issuer, nonces = noting
    issuer.planned = [challenged(nonce)] * 2
    with client_of(issuer, key, pool_size=0) as tokens:
        with pytest.raises(TokenRequestRefused) as caught:
            tokens.get(AUDIENCE)
        assert caught.value.error == "use_dpop_nonce"
    assert nonces == [None]


def test_an_issuer_that_challenges_each_nonce_is_asked_twice_only(
    noting: tuple[Issuer, list[str | None]], key: DPoPKey
) -> None:
    issuer, nonces = noting
    issuer.planned = [challenged("one"), challenged("two")]
    with client_of(issuer, key, pool_size=0) as tokens, pytest.raises(TokenRequestRefused):
        tokens.get(AUDIENCE)
    assert nonces == [None, "one"]


def test_an_issuer_that_ignores_the_proof_gives_no_token(issuer: Issuer, key: DPoPKey) -> None:
    body = {"access_token": issuer.mint(AUDIENCE), "token_type": "Bearer", "expires_in": 120}
    issuer.planned = [Reply(200, json.dumps(body).encode())]
    with (
        client_of(issuer, key, pool_size=0) as tokens,
        pytest.raises(ResponseInvalid, match="token_type other than DPoP"),
    ):
        tokens.get(AUDIENCE)


def test_a_stream_that_cannot_be_sent_again_is_challenged_once_and_then_goes_through(
    issuer: Issuer, key: DPoPKey
) -> None:
    answering = Api(issuer, DPoPNonces.of_this_process())
    with serving(answering.answer) as server:
        answering.origin = server.origin
        with (
            client_of(issuer, key) as tokens,
            httpx.Client(transport=tokens.transport({server.origin: TARGET})) as http,
        ):
            statuses = [
                http.post(f"{server.origin}/x", content=iter([b"a"])).status_code for _ in range(2)
            ]
    assert statuses == [401, 200]


def test_grpc_takes_no_bound_tokens(issuer: Issuer, key: DPoPKey) -> None:
    with (
        client_of(issuer, key) as tokens,
        pytest.raises(ConfigurationError, match="gRPC has no way"),
    ):
        token_credentials(tokens, TARGET)


def test_what_is_no_key_is_a_mistake(issuer: Issuer) -> None:
    wrong: Any = "dpop.pem"
    with pytest.raises(ConfigurationError, match="DPoPKey"):
        client_of(issuer, wrong)
