from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from dataclasses import replace
from typing import Any

import pytest
from issuer.fixtures_minting import BILLING, ISSUER, NOW, claims, snapshot

from ephemera_issuer.issued import IssuedToken, recognise
from ephemera_issuer.mint import mint
from ephemera_issuer.policy import Decision, Rule
from ephemera_keys import LocalSigner, generate, public_jwk
from ephemera_keys.ring import RETENTION

SNAPSHOT = snapshot()
DECISION = Decision(
    "orders", BILLING, "invoices:read", 120, single_use=True, rule=Rule.ASKED_LIFETIME
)


def token(*, issuer: str = ISSUER, signer: Any = SNAPSHOT.signer) -> str:
    return mint(DECISION, issuer=issuer, signer=signer, now=NOW.wall)


def signed(header: dict[str, Any], payload: dict[str, Any]) -> str:
    """Sign whatever a test likes with the active key."""
    parts = b".".join(
        urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in (header, payload)
    )
    signature = urlsafe_b64encode(SNAPSHOT.signer.sign(parts)).rstrip(b"=")
    return (parts + b"." + signature).decode()


def read(raw: str) -> IssuedToken | None:
    return recognise(raw, issuer=ISSUER, ring=SNAPSHOT.ring)


@pytest.mark.parametrize("algorithm", ["ES256", "EdDSA"])
def test_an_own_token_is_recognised_and_read(algorithm: Any) -> None:
    held = snapshot(algorithm=algorithm)
    raw = token(signer=held.signer)
    assert recognise(raw, issuer=ISSUER, ring=held.ring) == IssuedToken(
        kid=held.signer.kid,
        issuer=ISSUER,
        client_id="orders",
        audience=BILLING,
        scope="invoices:read",
        issued_at=int(NOW.wall),
        expires_at=int(NOW.wall) + 120,
        jti=claims(raw)["jti"],
    )


@pytest.mark.parametrize("raw", ["", "x", "a.b.c", "....", "x" * 9000, "caf\u00e9"])
def test_what_is_no_token_is_nothing(raw: str) -> None:
    assert read(raw) is None


def test_a_changed_token_is_nothing() -> None:
    raw = token()
    head, body, signature = raw.split(".")
    other = token().split(".")[1]
    assert read(f"{head}.{other}.{signature}") is None
    assert read(f"{head}.{body}.{'A' * len(signature)}") is None
    assert read(f"{head}.{body}") is None


def test_a_key_that_is_not_published_signs_nothing() -> None:
    other = generate("ES256")
    assert read(token(signer=LocalSigner(other, "ES256"))) is None


def test_a_token_of_another_issuer_with_the_same_key_is_nothing() -> None:
    assert read(token(issuer="https://other.internal")) is None


def header(**changed: Any) -> dict[str, Any]:
    own = {"alg": "ES256", "typ": "at+jwt", "kid": SNAPSHOT.signer.kid}
    return {name: value for name, value in (own | changed).items() if value is not None}


def test_a_header_that_the_mint_writes_is_recognised() -> None:
    assert read(signed(header(), claims(token()))) is not None


@pytest.mark.parametrize(
    "changed",
    [
        {"typ": "JWT"},
        {"typ": None},
        {"alg": "none"},
        {"alg": "HS256"},
        {"kid": None},
        {"kid": ["x"]},
        {"crit": ["exp"]},
        {"jwk": public_jwk(generate("ES256"), alg="ES256")},
    ],
)
def test_a_header_that_the_mint_does_not_write_is_nothing(changed: dict[str, Any]) -> None:
    assert read(signed(header(**changed), claims(token()))) is None


def test_a_retired_key_is_good_until_it_leaves_the_published_ones() -> None:
    new = public_jwk(generate("ES256"), alg="ES256")
    rotated = SNAPSHOT.ring.rotate(new_pending=new, now=NOW.wall, emergency=True)
    raw = token()
    assert recognise(raw, issuer=ISSUER, ring=rotated) is not None
    removed = rotated.remove_overdue(NOW.wall + RETENTION)
    assert recognise(raw, issuer=ISSUER, ring=removed) is None


def test_a_revoked_key_signs_nothing() -> None:
    new = public_jwk(generate("ES256"), alg="ES256")
    held = replace(
        SNAPSHOT, ring=SNAPSHOT.ring.revoke(SNAPSHOT.signer.kid, new_pending=new, now=NOW.wall)
    )
    assert recognise(token(), issuer=ISSUER, ring=held.ring) is None
