"""Keys of callers, tokens bound to them, and proofs with anything wrong with them."""

import hashlib
import itertools
import json
from typing import Any

from client.fixtures_verifying import (
    AUDIENCE,
    NOW,
    ManualClock,
    SigningKey,
    encode,
    mint,
    mint_bytes,
    signing_key,
    verifier_of,
)

from ephemera_client import DPoP, Presented, Verifier

URL = f"{AUDIENCE}/invoices"
_PUBLIC = ("kty", "crv", "x", "y", "n", "e")
_numbers = itertools.count()


def key_of_caller(alg: str = "ES256", which: int = 7) -> SigningKey:
    return signing_key(alg, which)


def public(key: SigningKey) -> dict[str, Any]:
    return {name: key.jwk[name] for name in _PUBLIC if name in key.jwk}


def thumbprint(key: SigningKey) -> str:
    return key.kid


def bound(key: SigningKey | None = None, **claims: Any) -> str:
    """A token bound to the key of a caller."""
    return mint(**({"cnf": {"jkt": thumbprint(key or key_of_caller())}} | claims))


def hash_of(token: str) -> str:
    return encode(hashlib.sha256(token.encode()).digest())


def proof_of(
    token: str | None,
    key: SigningKey | None = None,
    *,
    header: dict[str, Any] | None = None,
    signer: SigningKey | None = None,
    **claims: Any,
) -> str:
    """A good proof for a GET of URL, but for what is told; what is told as `...` is left out."""
    key = key or key_of_caller()
    said = {
        "htm": "GET",
        "htu": URL,
        "iat": NOW,
        "jti": f"proof-{next(_numbers)}",
        "ath": ... if token is None else hash_of(token),
    }
    head = {"typ": "dpop+jwt", "alg": key.alg, "jwk": public(key)}
    parts = [
        json.dumps({name: value for name, value in part.items() if value is not ...}).encode()
        for part in (head | (header or {}), said | claims)
    ]
    return mint_bytes(signer or key, *parts)


def shown(
    token: str, proof: str | None = None, *, method: str = "GET", url: str = URL
) -> Presented:
    return Presented(method, url, proof_of(token) if proof is None else proof)


def checking(
    *, required: bool = True, clock: ManualClock | None = None, dpop: Any = None, **changes: Any
) -> Verifier:
    """A verifier that takes bound tokens of `mint`."""
    demand = DPoP(**({"origin": AUDIENCE, "required": required} | (dpop or {})))
    return verifier_of(clock=clock, dpop=demand, **changes)
