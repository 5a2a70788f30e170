"""Signing keys, tokens made by hand, and a clock that stands still, for tests of verifiers."""

import base64
import functools
import itertools
import json
from typing import Any, NamedTuple

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from ephemera_client import (
    EphemeraError,
    SingleProcessReplayCache,
    StaticKeys,
    TokenRefused,
    Verifier,
)
from ephemera_client.instant import Instant
from ephemera_client.jwk import thumbprint
from ephemera_client.testing import StillClock

ISSUER = "https://tokens.internal"
AUDIENCE = "https://billing.internal"
NOW = 1_800_000_000

_numbers = itertools.count()


class ManualClock(StillClock):
    """Two clocks that move when told to, together or one alone."""

    def __init__(self, wall: float = NOW, monotonic: float = 5000.0) -> None:
        super().__init__(Instant(wall, monotonic))

    def set_back(self, seconds: float) -> Instant:
        return self.at(self.now.wall - seconds)


class SigningKey(NamedTuple):
    alg: str
    engine: Any
    private: Any
    jwk: dict[str, Any]

    @property
    def kid(self) -> str:
        return str(self.jwk["kid"])

    def sign(self, message: bytes) -> bytes:
        return bytes(self.engine.sign(message, self.private))


@functools.cache
def signing_key(alg: str, which: int = 0) -> SigningKey:
    """Make a key once per run; `which` tells several of one algorithm apart."""
    del which
    engine: Any
    private: Any
    match alg:
        case "ES256":
            engine = ECAlgorithm(ECAlgorithm.SHA256)
            private = ec.generate_private_key(ec.SECP256R1())
        case "EdDSA":
            engine, private = OKPAlgorithm(), ed25519.Ed25519PrivateKey.generate()
        case _:
            engine = RSAAlgorithm(RSAAlgorithm.SHA256)
            private = rsa.generate_private_key(65537, 2048)
    jwk = engine.to_jwk(private.public_key(), as_dict=True)
    jwk.pop("key_ops", None)
    return SigningKey(
        alg, engine, private, jwk | {"kid": thumbprint(jwk), "alg": alg, "use": "sig"}
    )


def encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def claims_of(**changes: Any) -> dict[str, Any]:
    """Return the claims of a good token; a change to `...` takes a claim out."""
    claims = {
        "iss": ISSUER,
        "sub": "orders",
        "client_id": "orders",
        "aud": AUDIENCE,
        "scope": "invoices:read",
        "iat": NOW,
        "exp": NOW + 120,
        "jti": f"jti-{next(_numbers)}",
    } | changes
    return {name: value for name, value in claims.items() if value is not ...}


def header_of(key: SigningKey, **changes: Any) -> dict[str, Any]:
    header = {"alg": key.alg, "typ": "at+jwt", "kid": key.kid} | changes
    return {name: value for name, value in header.items() if value is not ...}


def mint_bytes(key: SigningKey, header: bytes, claims: bytes) -> str:
    """Sign whatever these bytes are: what a broken or hostile issuer could write."""
    signing_input = f"{encode(header)}.{encode(claims)}"
    return f"{signing_input}.{encode(key.sign(signing_input.encode()))}"


def mint(key: Any = None, *, header: Any = None, **claims: Any) -> str:
    """Make a token, signed by `key`, with changes to its header and claims."""
    signing = key or signing_key("ES256")
    return mint_bytes(
        signing,
        json.dumps(header_of(signing, **(header or {}))).encode(),
        json.dumps(claims_of(**claims)).encode(),
    )


def verifier_of(*keys: SigningKey, clock: ManualClock | None = None, **changes: Any) -> Verifier:
    """Make a verifier that knows these keys, and accepts everything that a test does not break."""
    clock = clock or ManualClock()
    trusted = keys or (signing_key("ES256"),)
    parts: dict[str, Any] = {
        "issuer": ISSUER,
        "audience": AUDIENCE,
        "algorithm": trusted[0].alg,
        "keys": StaticKeys({"keys": [key.jwk for key in trusted]}),
        "replay_cache": SingleProcessReplayCache(clock=clock),
        "clock": clock,
    } | changes
    return Verifier(**parts)


def assert_refused(
    raw: Any, error: type[EphemeraError] = TokenRefused, *, by: Verifier | None = None
) -> None:
    """Check that a token is refused for this reason, and that the refusal gives nothing away."""
    with pytest.raises(error) as caught:
        (by or verifier_of()).verify(raw)
    told = f"{caught.value} {caught.value!r}"
    if isinstance(raw, str):
        parts = [part for part in raw.split(".") if len(part) > 8]
        assert not any(part in told for part in parts)
