import math
from dataclasses import FrozenInstanceError
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from ephemera_keys import KeyRecord, RingInvalid, State, public_jwk

JWK = public_jwk(ec.derive_private_key(7, ec.SECP256R1()), alg="ES256")
OTHER = public_jwk(ec.derive_private_key(8, ec.SECP256R1()), alg="ES256")
P, A, T, R = "published_at", "activated_at", "retired_at", "revoked_at"


def record(state: State = State.PENDING, **parts: Any) -> KeyRecord:
    whole: dict[str, Any] = {"kid": JWK["kid"], "alg": "ES256", "jwk": JWK, P: 100.0} | parts
    return KeyRecord(state=state, **whole)


@pytest.mark.parametrize(
    ("state", "moments"),
    [
        (State.PENDING, {}),
        (State.ACTIVE, {A: 200}),
        (State.RETIRED, {A: 200, T: 300}),
        (State.REVOKED, {R: 400}),
        (State.REVOKED, {A: 200, R: 400}),
        (State.REVOKED, {A: 200, T: 300, R: 400}),
        (State.REVOKED, {A: 100, T: 100, R: 100}),
    ],
)
def test_each_state_has_its_moments(state: State, moments: dict[str, float]) -> None:
    assert record(state, **moments).moments == (100, *moments.values())


@pytest.mark.parametrize(
    ("state", "moments"),
    [
        (State.PENDING, {A: 200}),
        (State.PENDING, {R: 200}),
        (State.ACTIVE, {}),
        (State.ACTIVE, {A: 200, T: 300}),
        (State.ACTIVE, {A: 200, R: 300}),
        (State.RETIRED, {A: 200}),
        (State.RETIRED, {T: 300}),
        (State.RETIRED, {A: 200, T: 300, R: 400}),
        (State.REVOKED, {}),
        (State.REVOKED, {A: 200, T: 300}),
        (State.REVOKED, {T: 300, R: 400}),
        ("signing", {}),
    ],
)
def test_a_state_without_its_moments_or_with_others_is_refused(
    state: State, moments: dict[str, float]
) -> None:
    with pytest.raises(RingInvalid, match="a moment of its state"):
        record(state, **moments)


@pytest.mark.parametrize("moment", [-1, math.nan, math.inf, -math.inf, 1_700_000_000_000])
@pytest.mark.parametrize("name", [P, A])
def test_what_is_no_moment_in_unix_seconds_is_refused(name: str, moment: float) -> None:
    with pytest.raises(RingInvalid, match="not in Unix seconds"):
        record(State.ACTIVE, **{A: 200, name: moment})


@pytest.mark.parametrize("moments", [{A: 99, T: 300}, {A: 300, T: 200}])
def test_moments_out_of_order_are_refused(moments: dict[str, float]) -> None:
    with pytest.raises(RingInvalid, match="out of order"):
        record(State.RETIRED, **moments)


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ({"kid": OTHER["kid"]}, "another kid or alg"),
        ({"alg": "EdDSA"}, "another kid or alg"),
        ({"jwk": OTHER}, "another kid or alg"),
        ({"jwk": JWK | {"d": "c2VjcmV0"}}, "members that a published key must not have"),
        ({"jwk": JWK | {"kid": OTHER["kid"]}}, "must be its thumbprint"),
        ({"jwk": {}}, "kty"),
    ],
)
def test_a_jwk_that_is_not_the_public_key_named_is_refused(
    parts: dict[str, Any], reason: str
) -> None:
    with pytest.raises(RingInvalid, match=reason) as refusal:
        record(**parts)
    assert "c2VjcmV0" not in f"{refusal.value} {refusal.value.__cause__}"


def test_a_record_is_immutable_and_keeps_a_jwk_of_its_own() -> None:
    given = dict(JWK)
    kept = record(jwk=given)
    given["kid"] = "changed"
    assert kept.jwk == JWK
    with pytest.raises(TypeError):
        kept.jwk["kid"] = "changed"  # type: ignore[index]
    with pytest.raises(FrozenInstanceError):
        kept.state = State.ACTIVE  # type: ignore[misc]
    assert hash(kept) == hash(record())
