"""Minting: a decision becomes a signed token (RFC 9068 in JWS compact form)."""

from __future__ import annotations

import os
from base64 import urlsafe_b64encode
from functools import lru_cache
from json.encoder import encode_basestring_ascii as quote
from typing import TYPE_CHECKING

from ephemera_issuer.errors import RequestRefused

if TYPE_CHECKING:
    from ephemera_issuer.policy import Decision
    from ephemera_keys import Signer

MAXIMUM_BYTES = 4096
"""Headers larger than this are dropped by proxies on the way."""


def mint(decision: Decision, *, issuer: str, signer: Signer, now: float) -> str:
    """Sign one token, with an id of its own.

    Args:
        decision: What policy allows.
        issuer: The issuer identifier.
        signer: The active key.
        now: Unix seconds; `iat` is the second that has begun.

    Raises:
        RequestRefused: `invalid_scope` if the scopes make the token larger than 4096 bytes.
    """
    issued_at = int(now)
    client = quote(decision.client_id)
    # A closed set of strings and integers: written out, it costs a seventh of `json.dumps`.
    claims = (
        f'{{"iss":{quote(issuer)},"sub":{client},"client_id":{client},'
        f'"aud":{quote(decision.audience)},"scope":{quote(decision.scope)},'
        f'"iat":{issued_at},"exp":{issued_at + decision.lifetime},'
        f'"jti":"{_segment(os.urandom(16)).decode()}"}}'
    )
    signing_input = _header(signer.alg, signer.kid) + _segment(claims.encode())
    token = signing_input + b"." + _segment(signer.sign(signing_input))
    if len(token) > MAXIMUM_BYTES:
        raise RequestRefused(
            "invalid_scope",
            f"the token would be larger than {MAXIMUM_BYTES} bytes: ask for fewer scopes",
        )
    return token.decode()


@lru_cache(maxsize=8)
def _header(alg: str, kid: str) -> bytes:
    header = f'{{"alg":{quote(alg)},"typ":"at+jwt","kid":{quote(kid)}}}'
    return _segment(header.encode()) + b"."


def _segment(part: bytes) -> bytes:
    return urlsafe_b64encode(part).rstrip(b"=")
