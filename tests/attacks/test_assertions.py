"""Assertions that must not authenticate anybody, and what each refusal says."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from issuer.fixtures_asserting import (
    HELD,
    KEY,
    KEYS,
    NEXT_KEY,
    OTHER_KEY,
    SECONDS,
    assertion,
    holding,
    proof,
    public,
    reports,
    token_form,
)
from issuer.fixtures_minting import BILLING, ISSUER, NOW, Keeper, basic, talking

from ephemera_client import PrivateKeyJWT, SingleProcessReplayCache
from ephemera_client.instant import Instant
from ephemera_keys import public_jwk
from ephemera_keys.pem import dump

if TYPE_CHECKING:
    import httpx

    from ephemera_issuer.snapshot import Snapshot

pytestmark = pytest.mark.anyio

UNIFORM = "client authentication failed"
TOKEN_ENDPOINT = f"{ISSUER}/oauth2/token"


@pytest.fixture
def anyio_backend() -> str:
    # On trio, httpx leaves a body that is not wanted to the end for the collector to close.
    return "asyncio"


async def ask(
    form: dict[str, Any], *, held: Snapshot = HELD, headers: dict[str, str] | None = None
) -> httpx.Response:
    async with talking(Keeper(held)) as client:
        return await client.post("/oauth2/token", data=form, headers=headers)


async def assert_refused(raw: str, description: str, *, held: Snapshot = HELD) -> None:
    answer = await ask(token_form(raw), held=held)
    assert answer.json() == {"error": "invalid_client", "error_description": description}
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == 'Basic realm="ephemera", charset="UTF-8"'
    assert answer.headers["cache-control"] == "no-store"


async def test_the_assertion_that_all_these_are_variations_of_is_good() -> None:
    assert (await ask(token_form(assertion()))).status_code == 200


@pytest.mark.parametrize(
    ("audience", "description"),
    [
        (None, f"assertion aud is missing: it must be {ISSUER}"),
        ("https://other.internal", f"assertion aud must be {ISSUER}"),
        (["https://other.internal"], f"assertion aud must be {ISSUER}"),
        (ISSUER.upper(), f"assertion aud must be {ISSUER}"),
        (ISSUER + ".evil.test", f"assertion aud must be {ISSUER}"),
        ("", f"assertion aud must be {ISSUER}"),
        (TOKEN_ENDPOINT, f"assertion aud must be {ISSUER}, not the token endpoint"),
        ([TOKEN_ENDPOINT], f"assertion aud must be {ISSUER}, not the token endpoint"),
        (f"{ISSUER}/", f"assertion aud must be {ISSUER}, without the slash at its end"),
        ([ISSUER, "https://other.internal"], f"assertion aud must be {ISSUER} alone"),
        ([ISSUER, TOKEN_ENDPOINT], f"assertion aud must be {ISSUER} alone"),
        ([ISSUER, ISSUER], f"assertion aud must be {ISSUER} alone"),
        ([], f"assertion aud must be {ISSUER} alone"),
        ([[ISSUER]], f"assertion aud must be {ISSUER} alone"),
        ({"aud": ISSUER}, f"assertion aud must be {ISSUER} alone"),
        (7, f"assertion aud must be {ISSUER} alone"),
    ],
)
async def test_an_assertion_must_be_for_this_issuer_alone(audience: Any, description: str) -> None:
    await assert_refused(assertion(aud=audience), description)


async def test_an_audience_in_a_list_of_one_is_good() -> None:
    assert (await ask(token_form(assertion(aud=[ISSUER])))).status_code == 200


NUMBER = "must be a whole number of Unix seconds"


@pytest.mark.parametrize(
    ("claims", "description"),
    [
        ({"exp": None}, "exp is missing"),
        ({"exp": SECONDS + 61}, "exp must lie 60 seconds ahead at most"),
        ({"exp": SECONDS + 3600}, "exp must lie 60 seconds ahead at most"),
        ({"exp": 2**53}, "exp must lie 60 seconds ahead at most"),
        ({"iat": SECONDS + 5, "exp": SECONDS + 66}, "exp must lie 60 seconds ahead at most"),
        (
            {"iat": SECONDS - 90, "exp": SECONDS - 5},
            "has expired: make a new one for each request",
        ),
        ({"exp": SECONDS}, "exp must lie after iat"),
        ({"exp": str(SECONDS + 30)}, f"exp {NUMBER}"),
        ({"exp": SECONDS + 30.5}, f"exp {NUMBER}"),
        ({"exp": True}, f"exp {NUMBER}"),
        ({"exp": -1}, f"exp {NUMBER}"),
        ({"exp": 10**40}, f"exp {NUMBER}"),
        ({"iat": None}, "iat is missing"),
        ({"iat": str(SECONDS)}, f"iat {NUMBER}"),
        ({"iat": False}, f"iat {NUMBER}"),
        ({"iat": SECONDS + 6}, "iat lies ahead: compare the clocks"),
        ({"nbf": SECONDS + 6}, "nbf lies ahead: compare the clocks"),
        ({"nbf": "now"}, f"nbf {NUMBER}"),
        ({"jti": None}, "jti is missing"),
        ({"jti": ""}, "jti must be a string of 1 to 256 characters"),
        ({"jti": "x" * 257}, "jti must be a string of 1 to 256 characters"),
        ({"sub": None}, "sub is missing: it must be the client_id"),
        ({"iss": None}, "iss is missing: it must be the client_id"),
        ({"iss": "other"}, "iss and sub must both be the client_id"),
        ({"iss": ISSUER}, "iss and sub must both be the client_id"),
        ({"iss": ["reports"]}, "iss and sub must both be the client_id"),
    ],
)
async def test_what_is_wrong_with_the_claims_is_told_to_who_signed_them(
    claims: dict[str, Any], description: str
) -> None:
    await assert_refused(assertion(**claims), f"assertion {description}")


@pytest.mark.parametrize(
    ("header", "description"),
    [
        ({"typ": "at+jwt"}, "typ must be client-authentication+jwt, JWT or absent"),
        ({"typ": "application/at+jwt"}, "typ must be client-authentication+jwt, JWT or absent"),
        ({"typ": "dpop+jwt"}, "typ must be client-authentication+jwt, JWT or absent"),
        ({"typ": ""}, "typ must be client-authentication+jwt, JWT or absent"),
        ({"typ": ["JWT"]}, "typ must be client-authentication+jwt, JWT or absent"),
        ({"jwk": public_jwk(KEY, alg="ES256")}, "the header must not carry jwk"),
        ({"jku": "https://evil.test/jwks.json"}, "the header must not carry jku"),
        ({"x5u": "https://evil.test/chain.pem"}, "the header must not carry x5u"),
        ({"x5c": ["MIIB"]}, "the header must not carry x5c"),
        ({"crit": ["exp"]}, "the header must not carry crit"),
        ({"b64": False}, "the header must not carry b64"),
        ({"zip": "DEF"}, "the header must not carry zip"),
    ],
)
async def test_what_is_wrong_with_the_header_is_told_to_who_signed_it(
    header: dict[str, Any], description: str
) -> None:
    await assert_refused(assertion(header=header), f"assertion {description}")


@pytest.mark.parametrize(
    "typ", [None, "JWT", "jwt", "client-authentication+jwt", "Client-Authentication+JWT"]
)
async def test_the_types_of_an_assertion_are_good(typ: str | None) -> None:
    assert (await ask(token_form(assertion(header={"typ": typ})))).status_code == 200


OTHERS: dict[str, Any] = {"iss": "other", "sub": "other"}


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(assertion(KEYS["RS256"], alg="RS256"), id="RS256 with an EC key"),
        pytest.param(assertion(KEYS["EdDSA"], alg="EdDSA"), id="EdDSA with an EC key"),
        pytest.param(assertion(header={"alg": "RS256"}), id="RS256 said over an ES256 signature"),
        pytest.param(assertion(header={"alg": "none"}), id="none"),
        pytest.param(assertion(header={"alg": "HS256"}), id="HS256"),
        pytest.param(assertion(header={"alg": "ES384"}), id="ES384"),
        pytest.param(assertion(header={"alg": None}), id="no alg"),
        pytest.param(assertion(OTHER_KEY), id="another client's key under this one's kid"),
        pytest.param(assertion(OTHER_KEY, header={"kid": "other"}), id="another client's key"),
        pytest.param(assertion(KEY, **OTHERS), id="this client's key, and another client's name"),
        pytest.param(assertion(NEXT_KEY), id="a key of nobody's"),
        pytest.param(
            assertion(NEXT_KEY, header={"jwk": public_jwk(NEXT_KEY, alg="ES256")}),
            id="the key that it brings itself",
        ),
        pytest.param(assertion(header={"kid": "second"}), id="unknown kid"),
        pytest.param(assertion(header={"kid": ["first"]}), id="kid is no text"),
        pytest.param(assertion(iss="nobody", sub="nobody"), id="unknown client"),
        pytest.param(assertion(iss=None, sub=None), id="nobody's"),
        pytest.param(assertion(sub="orders"), id="a client without keys"),
        pytest.param(assertion().rpartition(".")[0] + ".", id="no signature"),
        pytest.param(assertion()[:-8] + "AAAAAAAA", id="signature altered"),
        pytest.param(assertion() + "=", id="padding"),
        pytest.param(assertion() + ".x", id="four parts"),
        pytest.param("x.y.z", id="no JSON"),
        pytest.param("x" * 9000, id="too large"),
        pytest.param("caf\u00e9", id="no ASCII"),
    ],
)
async def test_what_no_key_of_the_client_signed_is_refused_without_a_reason(raw: str) -> None:
    await assert_refused(raw, UNIFORM)


async def test_before_the_signature_nothing_that_is_wrong_is_told() -> None:
    wrong: dict[str, Any] = {"aud": TOKEN_ENDPOINT, "exp": None, "jti": None, "iss": ISSUER}
    await assert_refused(assertion(NEXT_KEY, header={"typ": "at+jwt"}, **wrong), UNIFORM)


@pytest.mark.parametrize(
    "kind",
    ["", "urn:ietf:params:oauth:client-assertion-type:saml2-bearer", "jwt-bearer", "JWT"],
)
async def test_another_type_of_assertion_is_refused(kind: str) -> None:
    answer = await ask(token_form(assertion(), client_assertion_type=kind))
    assert (answer.status_code, answer.json()["error_description"]) == (401, UNIFORM)


async def test_a_type_without_an_assertion_is_refused() -> None:
    answer = await ask(token_form(""))
    assert (answer.status_code, answer.json()["error_description"]) == (401, UNIFORM)


async def test_a_second_use_is_refused_and_so_is_one_with_another_signature() -> None:
    raw, again = assertion(jti="once"), assertion(jti="once")
    assert raw != again
    ledger = SingleProcessReplayCache(clock=lambda: NOW)
    async with talking(Keeper(HELD), ledger=ledger) as client:
        answers = [
            await client.post("/oauth2/token", data=token_form(shown))
            for shown in (raw, raw, again)
        ]
    assert [answer.status_code for answer in answers] == [200, 401, 401]
    assert (
        answers[1].json()
        == answers[2].json()
        == {
            "error": "invalid_client",
            "error_description": "assertion has been used before: make a new one for each request",
        }
    )


async def test_the_same_jti_of_another_client_is_another_assertion() -> None:
    ours = assertion(jti="1")
    theirs = assertion(OTHER_KEY, header={"kid": "other"}, jti="1", **OTHERS)
    ledger = SingleProcessReplayCache(clock=lambda: NOW)
    async with talking(Keeper(HELD), ledger=ledger) as client:
        for raw in (ours, theirs):
            assert (await client.post("/oauth2/token", data=token_form(raw))).status_code == 200


async def test_an_assertion_from_before_the_ledger_is_refused() -> None:
    born = Instant(NOW.wall + 1, NOW.monotonic + 1)
    ledger = SingleProcessReplayCache(clock=lambda: born)
    async with talking(Keeper(HELD), ledger=ledger, now=born) as client:
        answer = await client.post("/oauth2/token", data=token_form(assertion()))
    assert answer.status_code == 401
    assert answer.json() == {
        "error": "invalid_client",
        "error_description": "assertion was issued before this ledger began; make a new one",
    }


async def test_an_assertion_made_for_another_issuer_of_the_same_clients_is_refused() -> None:
    credential = PrivateKeyJWT(dump(KEY), kid="first", clock=lambda: NOW)
    for issuer, status in ((ISSUER, 200), ("https://staging.internal", 401)):
        answer = await ask(token_form("") | dict(credential.prove("reports", issuer=issuer).form))
        assert answer.status_code == status


async def test_an_access_token_of_this_issuer_is_no_assertion() -> None:
    token = (await ask(token_form(assertion()))).json()["access_token"]
    await assert_refused(token, UNIFORM)


@pytest.mark.parametrize(
    ("form", "headers"),
    [
        ({}, {"Authorization": basic("reports")}),
        ({"client_secret": "x"}, {}),
        ({"client_secret": "x", "client_assertion": ""}, {}),
        ({"client_assertion": ""}, {"Authorization": basic()}),
    ],
)
async def test_an_assertion_beside_another_credential_is_refused(
    form: dict[str, str], headers: dict[str, str]
) -> None:
    answer = await ask(token_form(assertion()) | form, headers=headers)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")


async def test_a_client_id_that_is_another_one_is_refused() -> None:
    answer = await ask(token_form(assertion(), client_id="other"))
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")
    answer = await ask(token_form(assertion(), client_id="reports"))
    assert answer.status_code == 200


async def test_a_key_that_was_taken_from_the_registry_proves_nothing_any_more() -> None:
    held = holding(reports(public(NEXT_KEY, kid="second")))
    await assert_refused(assertion(), UNIFORM, held=held)


async def test_a_disabled_client_learns_that_it_is_disabled_by_proving_itself() -> None:
    held = holding(replace(reports(), disabled=True))
    answer = await ask(token_form(assertion()), held=held)
    assert (answer.status_code, answer.json()["error"]) == (400, "unauthorized_client")
    await assert_refused(assertion(NEXT_KEY), UNIFORM, held=held)


async def test_an_assertion_in_an_authorization_header_is_refused() -> None:
    form = {"grant_type": "client_credentials", "resource": BILLING}
    answer = await ask(form, headers={"Authorization": f"Bearer {assertion()}"})
    assert (answer.status_code, answer.json()["error_description"]) == (401, UNIFORM)


async def test_policy_refuses_before_the_assertion_is_spent() -> None:
    raw = assertion()
    ledger = SingleProcessReplayCache(clock=lambda: NOW)
    async with talking(Keeper(HELD), ledger=ledger) as client:
        refused = await client.post("/oauth2/token", data=token_form(raw, scope="admin"))
        granted = await client.post("/oauth2/token", data=token_form(raw))
    assert (refused.status_code, granted.status_code) == (400, 200)


async def test_nothing_of_an_assertion_is_shown(capfd: pytest.CaptureFixture[str]) -> None:
    for raw in (assertion(), assertion(NEXT_KEY), assertion(aud="https://unmistakable.test")):
        answer = await ask(proof(raw) | token_form(raw))
        output = answer.text + "".join(capfd.readouterr())
        assert raw not in output
        assert "unmistakable" not in output
