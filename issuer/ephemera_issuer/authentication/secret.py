"""`client_secret_basic`: a generated secret in an HTTP Basic header (RFC 6749 §2.3.1)."""

from __future__ import annotations

import os
from binascii import a2b_base64
from hashlib import sha256
from hmac import compare_digest
from typing import TYPE_CHECKING, NamedTuple

from ephemera_issuer.form import decode

if TYPE_CHECKING:
    from ephemera_issuer.registry.entries import Client

_NO_SECRET = os.urandom(32)
"""In place of a digest that a client does not have: no secret has it."""


class Credential(NamedTuple):
    """A client id and the SHA-256 digest of the secret that was sent with it."""

    client_id: str
    digest: bytes

    def __repr__(self) -> str:
        return "Credential()"


def parse(authorization: bytes) -> Credential:
    """Read a Basic credential, whose two halves are form-encoded.

    Raises:
        ValueError: It is not one. The text may quote what was sent.
    """
    scheme, _, encoded = authorization.partition(b" ")
    if scheme.lower() != b"basic":
        raise ValueError("not the Basic scheme")
    client_id, colon, client_secret = a2b_base64(encoded.strip(), strict_mode=True).partition(b":")
    if not colon:
        raise ValueError("no colon between id and secret")
    return Credential(decode(client_id), sha256(decode(client_secret).encode()).digest())


def proves(credential: Credential, client: Client | None) -> bool:
    """Whether the secret is one of the client's; false, after the same work, for no client."""
    hashes = () if client is None else client.secret_hashes
    first, second = (*hashes, _NO_SECRET, _NO_SECRET)[:2]
    # Both are always compared: time tells neither which secret matched nor how many there are.
    return compare_digest(credential.digest, first) | compare_digest(credential.digest, second)
