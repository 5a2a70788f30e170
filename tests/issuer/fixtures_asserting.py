"""Clients that prove themselves with keys, and assertions with anything wrong with them."""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from issuer.fixtures_minting import BILLING, ISSUER, NOW, SECRET, digest, snapshot

from ephemera_client.jwk import ENGINES, VerificationKey
from ephemera_issuer.registry.entries import Client, ClientKey, Grant
from ephemera_keys import Algorithm, generate, public_jwk

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ephemera_issuer.snapshot import Snapshot

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
SECONDS = int(NOW.wall)
KEY = generate("ES256")
NEXT_KEY = generate("ES256")
OTHER_KEY = generate("ES256")
KEYS: dict[Algorithm, Any] = {
    "ES256": KEY,
    "EdDSA": generate("EdDSA"),
    "RS256": generate("RS256"),
}


def public(key: Any, *, alg: Algorithm = "ES256", kid: str = "first") -> ClientKey:
    return ClientKey.parse(public_jwk(key, alg=alg) | {"kid": kid})


def holding(*clients: Client, **parts: Any) -> Snapshot:
    """These clients and those of `snapshot`, each granted billing."""
    held = snapshot(**parts)
    grants = [Grant(client.id, BILLING, frozenset({"invoices:read"}), 300) for client in clients]
    return replace(
        held,
        clients=dict(held.clients) | {client.id: client for client in clients},
        grants=dict(held.grants) | {(grant.client, grant.audience): grant for grant in grants},
    )


def reports(*keys: ClientKey, **parts: Any) -> Client:
    """The client `reports`, with one key unless told otherwise."""
    return replace(Client("reports", (), disabled=False, keys=keys or (public(KEY),)), **parts)


OTHER = Client("other", (digest(SECRET),), disabled=False, keys=(public(OTHER_KEY, kid="other"),))
HELD = holding(reports(), OTHER)


def assertion(
    key: Any = KEY,
    *,
    alg: str = "ES256",
    header: dict[str, Any] | None = None,
    **claims: Any,
) -> str:
    """A good assertion of `reports`, but for what is told; what is told as None is left out."""
    return sign(
        {"alg": alg, "kid": "first"} | (header or {}),
        {
            "iss": "reports",
            "sub": "reports",
            "aud": ISSUER,
            "iat": SECONDS,
            "exp": SECONDS + 60,
            "jti": uuid4().hex,
        }
        | claims,
        key,
        alg,
    )


def sign(header: dict[str, Any], claims: dict[str, Any], key: Any, alg: str) -> str:
    """What no JOSE library would sign is signed as well."""
    parts = [
        json.dumps({name: value for name, value in part.items() if value is not None}).encode()
        for part in (header, claims)
    ]
    signing_input = b".".join(urlsafe_b64encode(part).rstrip(b"=") for part in parts)
    signature = ENGINES[alg].sign(signing_input, key)
    return (signing_input + b"." + urlsafe_b64encode(signature).rstrip(b"=")).decode()


def proof(raw: str, **more: str) -> dict[str, Any]:
    """The parameters of a form that carry an assertion."""
    return {"client_assertion_type": ASSERTION_TYPE, "client_assertion": raw} | more


def token_form(raw: str, **more: str) -> dict[str, str]:
    return {"grant_type": "client_credentials", "resource": BILLING} | proof(raw) | more


class Tally:
    """Counts verifications."""

    def __init__(self) -> None:
        self.verified = 0

    def counting(self, key: VerificationKey) -> VerificationKey:
        """The same key, counted."""
        return _CountedKey(key, self)

    def counted(self, *keys: ClientKey) -> Iterator[ClientKey]:
        for key in keys:
            yield ClientKey(key.text, self.counting(key.key))


class _CountedKey(VerificationKey):
    __slots__ = ("_key", "_tally")

    def __init__(self, key: VerificationKey, tally: Tally) -> None:
        super().__init__(key.kid, key.alg, key._public)
        self._tally = tally

    def verify(self, signing_input: bytes, signature: bytes) -> bool:
        self._tally.verified += 1
        return super().verify(signing_input, signature)
