from typing import Any

import httpx
import pytest
from client.fixtures_verifying import AUDIENCE, ISSUER, mint, signing_key, verifier_of

from ephemera_client import (
    AnyIssuer,
    AsyncForeignVerifier,
    AsyncVerifier,
    ConfigurationError,
    ForeignVerifier,
    IssuerMismatch,
    KeyUnknown,
    NoReplayCache,
    RequireToken,
    SignatureInvalid,
    StaticKeys,
    TokenMalformed,
    TokenReplayed,
    Verifier,
    access_token,
)
from ephemera_client.instant import Instant

OLD, NEW = signing_key("RS256"), signing_key("ES256")
OLD_ISSUER = "https://login.example/realms/services"


def parts(**changes: Any) -> dict[str, Any]:
    return {
        "issuer": OLD_ISSUER,
        "audience": "billing",
        "algorithm": "RS256",
        "types": {"JWT"},
        "client_claim": "azp",
        "replay_cache": NoReplayCache(),
        "keys": StaticKeys({"keys": [OLD.jwk]}),
        "clock": lambda: Instant(1_800_000_000, 5000.0),
    } | changes


def old_token(**claims: Any) -> str:
    said = {"iss": OLD_ISSUER, "aud": "billing", "azp": "orders", "client_id": ...} | claims
    return mint(OLD, header={"typ": "JWT"}, **said)


def both() -> AnyIssuer[Verifier]:
    return AnyIssuer([ForeignVerifier(**parts()), verifier_of(NEW)])


def test_each_token_meets_the_rules_of_its_own_issuer() -> None:
    verifier = both()
    raw, old = mint(NEW), old_token()
    token = verifier.verify(raw, scopes={"invoices:read"})
    assert (token.issuer, token.client_id) == (ISSUER, "orders")
    with pytest.raises(TokenReplayed):
        verifier.verify(raw)
    for _ in range(2):
        token = verifier.verify(old)
        assert (token.issuer, token.client_id, token.audience) == (OLD_ISSUER, "orders", "billing")
    assert verifier.still_valid(token)


def test_a_token_that_names_another_issuer_than_signed_it_is_refused() -> None:
    with pytest.raises(KeyUnknown):
        both().verify(mint(OLD, header={"alg": "ES256"}))
    with pytest.raises(SignatureInvalid):
        both().verify(mint(signing_key("ES256", 1), header={"kid": NEW.kid}))


@pytest.mark.parametrize("iss", ["https://elsewhere.example", "", 7, None, [ISSUER], ...])
def test_a_token_that_names_none_of_the_issuers_is_refused(iss: Any) -> None:
    with pytest.raises(IssuerMismatch, match=f"none of {OLD_ISSUER}, {ISSUER}"):
        both().verify(mint(NEW, iss=iss))
    with pytest.raises(TokenMalformed):
        both().verify("no token")


def test_a_token_of_neither_is_no_longer_valid() -> None:
    token = verifier_of(NEW).verify(mint(NEW))
    assert not AnyIssuer([ForeignVerifier(**parts())]).still_valid(token)


def test_status_and_warming_are_those_of_all() -> None:
    verifier = both()
    verifier.warm()
    status = verifier.status()
    assert {issuer: one.accepted_once for issuer, one in status.items()} == {
        OLD_ISSUER: "off",
        ISSUER: "process",
    }
    assert verifier.audience == AUDIENCE
    assert repr(verifier).startswith("AnyIssuer([ForeignVerifier(")


@pytest.mark.anyio
async def test_the_awaited_kind_stands_in_front_of_an_application() -> None:
    new = AsyncVerifier(
        issuer=ISSUER,
        audience=AUDIENCE,
        algorithm="ES256",
        keys=StaticKeys({"keys": [NEW.jwk]}),
        replay_cache=NoReplayCache(),
        clock=lambda: Instant(1_800_000_000, 5000.0),
    )
    verifier = AnyIssuer([AsyncForeignVerifier(**parts()), new])
    await verifier.warm()

    async def app(scope: Any, _receive: Any, send: Any) -> None:
        body = access_token(scope).issuer.encode()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})

    transport = httpx.ASGITransport(RequireToken(app, verifier))
    async with httpx.AsyncClient(transport=transport, base_url="https://billing") as client:
        for raw, issuer in ((old_token(), OLD_ISSUER), (mint(NEW), ISSUER)):
            answer = await client.get("/", headers={"authorization": f"Bearer {raw}"})
            assert (answer.status_code, answer.text) == (200, issuer)
        answer = await client.get("/", headers={"authorization": f"Bearer {mint(NEW, iss='x')}"})
        assert answer.status_code == 401
        assert f'realm="{AUDIENCE}"' in answer.headers["www-authenticate"]
        assert 'reason="issuer_mismatch"' in answer.headers["www-authenticate"]


def test_verifiers_that_cannot_be_told_apart_are_refused() -> None:
    mixed: list[Any] = [verifier_of(NEW), AsyncForeignVerifier(**parts())]
    none: list[Verifier] = []
    for verifiers in (none, [verifier_of(NEW), verifier_of(NEW)], mixed):
        with pytest.raises(ConfigurationError):
            AnyIssuer(verifiers)
