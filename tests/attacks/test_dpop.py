"""What a thief of a bound token, or of a proof, may try: at the API and at the token endpoint."""

import hmac
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from client.fixtures_dpop import (
    URL,
    bound,
    checking,
    hash_of,
    key_of_caller,
    proof_of,
    public,
    shown,
    thumbprint,
)
from client.fixtures_verifying import (
    NOW,
    ManualClock,
    encode,
    mint,
    mint_bytes,
    signing_key,
    verifier_of,
)
from issuer import fixtures_minting as minting
from issuer.fixtures_asserting import HELD, assertion, token_form

from ephemera_client import (
    DPoPNonces,
    NoReplayCache,
    ProofInvalid,
    ProofKeyMismatch,
    ProofMismatch,
    ProofNonceRequired,
    ProofRefused,
    ProofReplayed,
    ProofStale,
    SenderConstraintMissing,
    SenderConstraintUnverified,
    SingleProcessReplayCache,
    TokenReplayed,
)
from ephemera_client.jwk import thumbprint as thumbprint_of
from ephemera_issuer.app import create_app

KEY, THIEF = key_of_caller(), key_of_caller(which=8)
NONCES = DPoPNonces(b"n" * 32)
SECOND = int(minting.NOW.wall)
ENDPOINT = f"{minting.ISSUER}/oauth2/token"


def refused(token: str, proof: str, error: type[ProofRefused], **request: Any) -> None:
    """The proof is refused for this reason, says nothing of itself, and cost no token."""
    verifier = checking()
    with pytest.raises(error) as caught:
        verifier.verify(token, presented=shown(token, proof, **request))
    told = f"{caught.value} {caught.value!r}"
    assert not any(part in told for part in proof.split(".") if len(part) > 8)
    assert verifier.verify(token, presented=shown(token)).key_thumbprint == thumbprint(KEY)


def test_the_proof_that_all_these_are_variations_of_is_good() -> None:
    token = bound()
    accepted = checking().verify(token, presented=shown(token))
    assert accepted.key_thumbprint == thumbprint(KEY)
    verifier = checking()
    verifier.verify(token, presented=shown(token))
    with pytest.raises(TokenReplayed):
        verifier.verify(token, presented=shown(token))


# At the API.


def test_a_bound_token_shown_as_bearer_is_refused_by_every_verifier() -> None:
    token = bound()
    for verifier in (checking(), checking(required=False), verifier_of()):
        with pytest.raises(SenderConstraintUnverified):
            verifier.verify(token)


def test_a_plain_token_is_refused_where_a_bound_one_is_required_and_by_the_scheme_dpop() -> None:
    with pytest.raises(SenderConstraintMissing):
        checking().verify(mint())
    token = mint()
    for required in (True, False):
        with pytest.raises(SenderConstraintMissing):
            checking(required=required).verify(token, presented=shown(token))
    assert checking(required=False).verify(token).key_thumbprint is None


def test_a_verifier_that_knows_no_proofs_takes_no_token_with_one() -> None:
    for token in (mint(), bound()):
        with pytest.raises(SenderConstraintUnverified):
            verifier_of().verify(token, presented=shown(token))


@pytest.mark.parametrize(
    "confirmation",
    [
        None,
        {},
        [],
        "jkt",
        {"jkt": None},
        {"jkt": 7},
        {"jkt": ["x"]},
        {"x5t#S256": "x"},
        {"jkt": thumbprint(KEY), "x5t#S256": "x"},
    ],
)
def test_a_confirmation_that_is_not_understood_whole_is_refused(confirmation: Any) -> None:
    token = bound(cnf=confirmation)
    with pytest.raises((SenderConstraintUnverified, SenderConstraintMissing)):
        checking().verify(token, presented=shown(token))
    with pytest.raises(SenderConstraintUnverified):
        checking(required=False).verify(token)


def test_a_replayed_proof_is_refused_where_its_token_may_come_again() -> None:
    clock = ManualClock()
    proofs = SingleProcessReplayCache(clock=clock)
    verifier = checking(clock=clock, replay_cache=NoReplayCache(), dpop={"replay_cache": proofs})
    token = bound()
    proof = proof_of(token)
    verifier.verify(token, presented=shown(token, proof))
    for _ in range(2):
        with pytest.raises(ProofReplayed):
            verifier.verify(token, presented=shown(token, proof))
    verifier.verify(token, presented=shown(token))


def test_a_proof_with_another_signature_over_the_same_is_the_same_proof() -> None:
    clock = ManualClock()
    proofs = SingleProcessReplayCache(clock=clock)
    verifier = checking(clock=clock, replay_cache=NoReplayCache(), dpop={"replay_cache": proofs})
    token = bound()
    verifier.verify(token, presented=shown(token, proof_of(token, jti="the same")))
    with pytest.raises(ProofReplayed):
        verifier.verify(token, presented=shown(token, proof_of(token, jti="the same")))


def test_nobody_can_use_up_the_proof_of_another_key() -> None:
    verifier = checking()
    theirs, ours = bound(THIEF), bound()
    verifier.verify(theirs, presented=shown(theirs, proof_of(theirs, THIEF, jti="guessed")))
    verifier.verify(ours, presented=shown(ours, proof_of(ours, jti="guessed")))


def test_a_replayed_proof_costs_no_token_and_a_proof_is_no_token() -> None:
    verifier = checking()
    first, second = bound(), bound(jti="second")
    verifier.verify(first, presented=shown(first, proof_of(first, jti="second")))
    with pytest.raises(ProofReplayed):
        verifier.verify(second, presented=shown(second, proof_of(second, jti="second")))
    verifier.verify(second, presented=shown(second))


def test_another_key_than_the_tokens_is_refused() -> None:
    token = bound()
    refused(token, proof_of(token, THIEF), ProofKeyMismatch)
    refused(token, proof_of(token, key_of_caller("EdDSA")), ProofKeyMismatch)


def test_the_thiefs_signature_under_the_right_key_is_refused() -> None:
    token = bound()
    refused(token, proof_of(token, signer=THIEF), ProofInvalid)


def test_the_right_key_beside_the_thiefs_is_not_looked_at() -> None:
    token = bound()
    header = {"jwk": public(KEY), "kid": thumbprint(KEY)}
    refused(token, proof_of(token, THIEF, header=header), ProofInvalid)
    forged = mint_bytes(
        THIEF,
        b'{"typ":"dpop+jwt","alg":"ES256","jwk":%b,"jwk":%b}'
        % (json.dumps(public(KEY)).encode(), json.dumps(public(THIEF)).encode()),
        json.dumps({"htm": "GET", "htu": URL, "iat": NOW, "jti": "x"}).encode(),
    )
    refused(token, forged, ProofInvalid)


@pytest.mark.parametrize(
    "claims",
    [
        {"htm": "POST"},
        {"htm": "get"},
        {"htm": ...},
        {"htm": ["GET"]},
        {"htu": URL + "/1"},
        {"htu": "https://billing.internal"},
        {"htu": "https://billing.internal.evil.test/invoices"},
        {"htu": "https://evil.test/invoices"},
        {"htu": "http://billing.internal/invoices"},
        {"htu": "https://billing.internal:8443/invoices"},
        {"htu": "https://user@billing.internal/invoices"},
        {"htu": "https://billing.internal/Invoices"},
        {"htu": "https://billing.internal//invoices"},
        {"htu": "https://billing.internal/invoices%2F"},
        {"htu": "https://billing.internal/invoices/"},
        {"htu": "https://billing.internal/x\\..\\invoices"},
        {"htu": " https://billing.internal/invoices"},
        {"htu": "https://billing.internal/invoices\n"},
        {"htu": "/invoices"},
        {"htu": ""},
        {"ath": ...},
        {"ath": None},
        {"ath": hash_of("another token")},
        {"ath": ""},
    ],
)
def test_a_proof_for_another_request_or_token_is_refused(claims: dict[str, Any]) -> None:
    token = bound()
    refused(token, proof_of(token, **claims), ProofMismatch)


def test_a_proof_for_this_request_is_refused_at_another() -> None:
    token = bound()
    proof = proof_of(token)
    refused(token, proof, ProofMismatch, method="POST")
    refused(token, proof, ProofMismatch, url=URL + "/1")
    refused(token, proof, ProofMismatch, url="https://ledger.internal/invoices")


@pytest.mark.parametrize(
    "claims",
    [
        {"htu": ...},
        {"htu": None},
        {"htu": [URL]},
        {"jti": ...},
        {"jti": ""},
        {"jti": 7},
        {"jti": "x" * 257},
        {"iat": ...},
        {"iat": None},
        {"iat": True},
        {"iat": str(NOW)},
        {"iat": NOW + 0.5},
        {"iat": -1},
        {"iat": 10**400},
    ],
)
def test_a_claim_that_is_missing_or_of_the_wrong_kind_is_refused(claims: dict[str, Any]) -> None:
    token = bound()
    refused(token, proof_of(token, **claims), ProofInvalid)


@pytest.mark.parametrize("age", [60, 61, 3600, -6, -3600])
def test_an_old_proof_or_one_made_ahead_is_refused(age: int) -> None:
    token = bound()
    refused(token, proof_of(token, iat=NOW - age), ProofStale)


@pytest.mark.parametrize(
    "header",
    [
        {"typ": ...},
        {"typ": "JWT"},
        {"typ": "at+jwt"},
        {"typ": None},
        {"typ": ["dpop+jwt"]},
        {"alg": ...},
        {"alg": "none"},
        {"alg": "HS256"},
        {"alg": "ES384"},
        {"alg": "PS256"},
        {"alg": "RS256"},
        {"alg": "EdDSA"},
        {"alg": ["ES256"]},
        {"jwk": ...},
        {"jwk": None},
        {"jwk": "key"},
        {"jwk": [public(KEY)]},
        {"jwk": public(KEY) | {"d": "AAAA"}},
        {"jwk": public(KEY) | {"k": "AAAA"}},
        {"jwk": {"kty": "oct", "k": "AAAA"}},
        {"jwk": public(KEY) | {"crv": "P-384"}},
        {"jwk": public(KEY) | {"x": "AAAA"}},
        {"jwk": public(KEY) | {"y": public(KEY)["x"]}},
        {"jwk": public(KEY) | {"use": "enc"}},
        {"jwk": public(KEY) | {"key_ops": ["sign"]}},
        {"jwk": public(KEY) | {"alg": "RS256"}},
        {"jwk": {name: value for name, value in public(KEY).items() if name != "y"}},
        {"crit": ["b64"], "b64": False},
        {"b64": False},
        {"zip": "DEF"},
        {"jku": "https://evil.test/jwks"},
        {"x5u": "https://evil.test/x5u"},
        {"x5c": ["AAAA"]},
    ],
)
def test_a_header_that_is_not_one_of_a_proof_is_refused(header: dict[str, Any]) -> None:
    token = bound()
    proof = proof_of(token, header=header)
    verifier = checking()
    with pytest.raises((ProofInvalid, ProofKeyMismatch)):
        verifier.verify(token, presented=shown(token, proof))
    verifier.verify(token, presented=shown(token))


def symmetric(secret: bytes) -> Callable[[str], tuple[str, str]]:
    """A token bound to a key that anybody can sign with, and an HMAC that fits it."""
    jwk = {"kty": "oct", "k": encode(secret)}

    def made(alg: str) -> tuple[str, str]:
        token = bound(cnf={"jkt": thumbprint_of(jwk)})
        head = {"typ": "dpop+jwt", "alg": alg, "jwk": jwk}
        said = {"htm": "GET", "htu": URL, "iat": NOW, "jti": "j", "ath": hash_of(token)}
        text = ".".join(encode(json.dumps(part).encode()) for part in (head, said))
        return token, f"{text}.{encode(hmac.digest(secret, text.encode(), 'sha256'))}"

    return made


@pytest.mark.parametrize("alg", ["HS256", "ES256", "none"])
def test_a_symmetric_key_is_refused_even_where_the_token_is_bound_to_it(alg: str) -> None:
    token, proof = symmetric(b"s" * 32)(alg)
    with pytest.raises(ProofInvalid):
        checking().verify(token, presented=shown(token, proof))


def test_a_key_of_low_order_is_refused_even_where_the_token_is_bound_to_it() -> None:
    jwk = {"kty": "OKP", "crv": "Ed25519", "x": encode(b"\x01" + bytes(31))}
    token = bound(cnf={"jkt": thumbprint_of(jwk)})
    forged = proof_of(token, header={"alg": "EdDSA", "jwk": jwk}).rpartition(".")[0]
    nothing = encode(b"\x01" + bytes(63))
    with pytest.raises(ProofInvalid):
        checking().verify(token, presented=shown(token, f"{forged}.{nothing}"))


def test_a_short_rsa_key_is_refused_even_where_the_token_is_bound_to_it() -> None:
    jwk = {"kty": "RSA", "n": encode(b"\xff" * 128), "e": "AQAB"}
    token = bound(cnf={"jkt": thumbprint_of(jwk)})
    proof = proof_of(token, header={"alg": "RS256", "jwk": jwk})
    with pytest.raises(ProofInvalid):
        checking().verify(token, presented=shown(token, proof))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda _: "",
        lambda proof: proof + ".",
        lambda proof: proof.rpartition(".")[0],
        lambda proof: proof.rpartition(".")[0] + ".",
        lambda proof: proof + "=",
        lambda proof: f"{proof}, {proof}",
        lambda proof: " " + proof,
        lambda proof: proof.replace(".", ".\u00e9", 1),
        lambda _: "x" * 5000,
        lambda proof: proof + "A" * 5000,
        lambda proof: proof.partition(".")[0] + ".W10." + proof.rpartition(".")[2],
    ],
)
def test_what_is_not_one_proof_is_refused(spoil: Callable[[str], str]) -> None:
    token = bound()
    refused(token, spoil(proof_of(token)), ProofInvalid)


def test_an_access_token_is_no_proof_and_a_proof_is_no_access_token() -> None:
    token = bound()
    refused(token, token, ProofInvalid)
    with pytest.raises(Exception, match=r"typ is not at\+jwt"):
        checking().verify(proof_of(token), presented=shown(token))


def test_a_key_that_was_good_once_is_not_believed_for_another_token() -> None:
    verifier = checking()
    theirs = bound(THIEF)
    verifier.verify(theirs, presented=shown(theirs, proof_of(theirs, THIEF)))
    token = bound()
    with pytest.raises(ProofKeyMismatch):
        verifier.verify(token, presented=shown(token, proof_of(token, THIEF)))
    good = proof_of(theirs, THIEF)
    head, _, _ = good.partition(".")
    _, claims, signature = proof_of(theirs, KEY).split(".")
    with pytest.raises(ProofInvalid):
        verifier.verify(theirs, presented=shown(theirs, f"{head}.{claims}.{signature}"))


# Nonces.


@pytest.mark.parametrize(
    "nonce",
    [
        ...,
        None,
        7,
        "",
        "guessed",
        "A" * 30,
        DPoPNonces(b"m" * 32).make(NOW),
        NONCES.make(NOW - 300),
        NONCES.make(NOW)[:-1] + "A",
        "\u00e9" * 30,
    ],
)
def test_a_nonce_that_is_not_ours_or_too_old_is_challenged_and_costs_no_token(nonce: Any) -> None:
    verifier = checking(dpop={"nonces": NONCES})
    token = bound()
    with pytest.raises(ProofNonceRequired) as caught:
        verifier.verify(token, presented=shown(token, proof_of(token, nonce=nonce)))
    good = proof_of(token, nonce=caught.value.nonce)
    verifier.verify(token, presented=shown(token, good))


def test_a_nonce_serves_many_proofs_and_each_of_them_once() -> None:
    clock = ManualClock()
    proofs = SingleProcessReplayCache(clock=clock)
    verifier = checking(
        clock=clock,
        replay_cache=NoReplayCache(),
        dpop={"nonces": NONCES, "replay_cache": proofs},
    )
    token, nonce = bound(exp=NOW + 900), NONCES.make(NOW)
    first, second = (proof_of(token, nonce=nonce) for _ in range(2))
    for proof in (first, second):
        verifier.verify(token, presented=shown(token, proof))
    for passed in (0, 200, 99):
        clock.advance(passed)
        for proof in (first, second):
            with pytest.raises(ProofReplayed):
                verifier.verify(token, presented=shown(token, proof))
    clock.advance(1)
    with pytest.raises(ProofNonceRequired):
        verifier.verify(token, presented=shown(token, first))


def test_with_nonces_a_proof_made_ahead_is_worth_no_more_than_its_nonce() -> None:
    clock = ManualClock()
    verifier = checking(clock=clock, dpop={"nonces": NONCES})
    token = bound(exp=NOW + 900)
    hoarded = proof_of(token, nonce=NONCES.make(NOW), iat=NOW + 600)
    clock.advance(600)
    with pytest.raises(ProofNonceRequired):
        verifier.verify(token, presented=shown(token, hoarded))


def test_a_nonce_older_than_the_memory_of_proofs_is_challenged() -> None:
    clock = ManualClock()
    before = NONCES.make(NOW)
    clock.advance(10)
    verifier = checking(clock=clock, dpop={"nonces": NONCES})
    token = bound(iat=NOW + 10)
    with pytest.raises(ProofNonceRequired) as caught:
        verifier.verify(token, presented=shown(token, proof_of(token, nonce=before)))
    verifier.verify(token, presented=shown(token, proof_of(token, nonce=caught.value.nonce)))


# At the token endpoint.


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@asynccontextmanager
async def issuing(nonces: DPoPNonces | None = None) -> AsyncIterator[httpx.AsyncClient]:
    application = create_app(
        minting.Keeper(HELD),
        issuer=minting.ISSUER,
        ledger=SingleProcessReplayCache(clock=lambda: minting.NOW),
        dpop_nonces=nonces,
        clock=lambda: minting.NOW,
    )
    transport = httpx.ASGITransport(application, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://elsewhere.test") as http:
        yield http


def request_proof(key: Any = None, **changes: Any) -> str:
    said: dict[str, Any] = {"htm": "POST", "htu": ENDPOINT, "iat": SECOND} | changes
    return proof_of(None, key, **said)


async def ask(http: httpx.AsyncClient, raw: str, *proofs: str) -> httpx.Response:
    headers = [("DPoP", proof) for proof in proofs]
    return await http.post("/oauth2/token", data=token_form(raw), headers=headers)


@pytest.mark.anyio
@pytest.mark.parametrize(
    "proof",
    [
        request_proof(htm="GET"),
        request_proof(htm=...),
        request_proof(htu="http://elsewhere.test/oauth2/token"),
        request_proof(htu=minting.ISSUER),
        request_proof(htu=f"{minting.ISSUER}/oauth2/introspect"),
        request_proof(iat=SECOND - 60),
        request_proof(iat=SECOND + 7),
        request_proof(iat=...),
        request_proof(jti=...),
        request_proof(jti=""),
        request_proof(signer=THIEF),
        request_proof(header={"alg": "none"}),
        request_proof(header={"alg": "HS256", "jwk": {"kty": "oct", "k": "AAAA"}}),
        request_proof(header={"jwk": public(KEY) | {"d": "AAAA"}}),
        request_proof(header={"jwk": public(KEY) | {"use": "enc"}}),
        request_proof(header={"typ": "JWT"}),
        request_proof(header={"crit": ["x"]}),
        "",
        "a.b.c",
        "caf\u00e9",
    ],
)
async def test_a_bad_proof_gets_no_token_and_spends_no_assertion(proof: str) -> None:
    raw = assertion()
    async with issuing() as http:
        headers = [(b"DPoP", proof.encode("latin-1"))]
        answer = await http.post("/oauth2/token", data=token_form(raw), headers=headers)
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_dpop_proof")
        assert '"' not in answer.json()["error_description"]
        answer = await ask(http, raw, request_proof())
        assert (answer.status_code, answer.json()["token_type"]) == (200, "DPoP")


@pytest.mark.anyio
async def test_two_proofs_get_no_token() -> None:
    async with issuing() as http:
        answer = await ask(http, assertion(), request_proof(), request_proof())
    assert answer.json() == {
        "error": "invalid_dpop_proof",
        "error_description": "send one DPoP header",
    }


@pytest.mark.anyio
async def test_a_proof_seen_on_the_way_to_the_issuer_binds_no_second_token() -> None:
    proof, raw = request_proof(), assertion()
    async with issuing() as http:
        assert (await ask(http, assertion(), proof)).status_code == 200
        answer = await ask(http, raw, proof)
        assert answer.json() == {
            "error": "invalid_dpop_proof",
            "error_description": "the proof has been used before: make a new one for each request",
        }
        assert (await ask(http, raw, request_proof())).status_code == 200


@pytest.mark.anyio
async def test_a_proof_for_the_issuer_is_none_at_an_api_and_the_reverse() -> None:
    token = bound()
    refused(token, request_proof(iat=NOW), ProofMismatch)
    async with issuing() as http:
        answer = await ask(http, assertion(), proof_of(token, iat=SECOND))
    assert answer.json()["error"] == "invalid_dpop_proof"


@pytest.mark.anyio
async def test_a_nonce_challenge_spends_neither_assertion_nor_proof() -> None:
    raw = assertion()
    async with issuing(NONCES) as http:
        for nonce in (..., "guessed", NONCES.make(SECOND - 300)):
            answer = await ask(http, raw, request_proof(nonce=nonce))
            assert (answer.status_code, answer.json()["error"]) == (400, "use_dpop_nonce")
            assert answer.headers["cache-control"] == "no-store"
        good = request_proof(nonce=answer.headers["dpop-nonce"])
        answer = await ask(http, raw, good)
        assert (answer.status_code, answer.json()["token_type"]) == (200, "DPoP")
        assert NONCES.made_at(answer.headers["dpop-nonce"], now=SECOND) == SECOND
        assert (await ask(http, assertion(), good)).json()["error"] == "invalid_dpop_proof"


@pytest.mark.anyio
async def test_who_has_not_proved_who_it_is_learns_nothing_of_proofs() -> None:
    thief = assertion(signing_key("ES256", 9).private)
    async with issuing(NONCES) as http:
        answers = [
            await ask(http, thief, *proofs) for proofs in ((), ("junk",), (request_proof(),))
        ]
    assert {answer.content for answer in answers} == {answers[0].content}
    assert answers[0].json()["error"] == "invalid_client"
    assert not any("dpop-nonce" in answer.headers for answer in answers)


def test_base64_of_a_proof_is_canonical() -> None:
    token = bound()
    head, claims, signature = proof_of(token).split(".")
    last = chr(ord(signature[-1]) + 1)
    refused(token, f"{head}.{claims}.{signature[:-1]}{last}", ProofInvalid)
