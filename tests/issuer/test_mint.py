from __future__ import annotations

import base64
import json
from typing import get_args

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from issuer.fixtures_minting import BILLING, ISSUER, NOW, claims, part, snapshot

from ephemera_issuer.errors import RequestRefused
from ephemera_issuer.mint import MAXIMUM_BYTES, mint, mint_several
from ephemera_issuer.policy import Decision, Rule
from ephemera_keys import Algorithm, LocalSigner, generate

SIGNER = snapshot().signer
DECISION = Decision("orders", BILLING, "invoices:read", 120, True, Rule.DEFAULT_LIFETIME)


def minted(decision: Decision = DECISION) -> str:
    return mint(decision, issuer=ISSUER, signer=SIGNER, now=NOW.wall)


def test_the_header_says_algorithm_type_and_key_and_nothing_else() -> None:
    assert part(minted(), 0) == {"alg": "ES256", "typ": "at+jwt", "kid": SIGNER.kid}


def test_the_claims_are_a_closed_set() -> None:
    token = claims(minted())
    assert len(base64.urlsafe_b64decode(token.pop("jti") + "==")) == 16
    assert token == {
        "iss": ISSUER,
        "sub": "orders",
        "client_id": "orders",
        "aud": BILLING,
        "scope": "invoices:read",
        "iat": 1_800_000_000,
        "exp": 1_800_000_120,
    }


def test_every_token_has_an_id_of_its_own() -> None:
    assert len({claims(minted())["jti"] for _ in range(100)}) == 100


@pytest.mark.parametrize("algorithm", get_args(Algorithm))
def test_the_signature_holds(algorithm: Algorithm) -> None:
    key = generate(algorithm)
    token = mint(DECISION, issuer=ISSUER, signer=LocalSigner(key, algorithm), now=NOW.wall)
    decoded = jwt.decode(
        token,
        key.public_key(),
        [algorithm],
        audience=BILLING,
        options={"verify_iat": False, "verify_exp": False},
    )
    assert decoded["sub"] == "orders"


def test_two_signers_do_not_share_a_header() -> None:
    other = snapshot(algorithm="EdDSA").signer
    minted()
    token = mint(DECISION, issuer=ISSUER, signer=other, now=NOW.wall)
    assert part(token, 0) == {"alg": "EdDSA", "typ": "at+jwt", "kid": other.kid}


def test_a_usual_token_is_under_500_bytes() -> None:
    usual = DECISION._replace(audience="https://invoices.example.local")
    issuer = "https://tokens.example.local:1"
    assert len(usual.audience) == len(issuer) == 30
    assert len(mint(usual, issuer=issuer, signer=SIGNER, now=NOW.wall)) < 500


def test_a_token_over_4096_bytes_is_refused_with_advice() -> None:
    def with_scopes(count: int) -> Decision:
        scope = " ".join(f"scope-{number:04}" for number in range(count))
        return DECISION._replace(scope=scope)

    assert len(minted(with_scopes(230))) <= MAXIMUM_BYTES
    with pytest.raises(RequestRefused, match="ask for fewer scopes") as caught:
        minted(with_scopes(260))
    assert caught.value.error == "invalid_scope"


@given(client=st.text(max_size=40), scope=st.text(max_size=40))
def test_any_text_survives_the_claims(client: str, scope: str) -> None:
    token = claims(minted(DECISION._replace(client_id=client, scope=scope)))
    assert (token["client_id"], token["sub"], token["scope"]) == (client, client, scope)


def test_the_claims_are_what_a_json_library_would_write() -> None:
    segment = minted().split(".")[1]
    text = base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4)).decode()
    assert text == json.dumps(json.loads(text), separators=(",", ":"))


@given(st.text(max_size=40), st.sampled_from([None, "x" * 43]))
def test_tokens_come_with_their_ids_and_their_key(client: str, thumbprint: str | None) -> None:
    decision = DECISION._replace(client_id=client)
    minted = mint_several(
        decision, issuer=ISSUER, signer=SIGNER, now=NOW.wall, number=3, thumbprint=thumbprint
    )
    assert [jti.decode() for jti in minted.ids] == [claims(it)["jti"] for it in minted.tokens]
    assert minted.kid == SIGNER.kid
    assert repr(minted) == f"Minted(3 by {SIGNER.kid})"
