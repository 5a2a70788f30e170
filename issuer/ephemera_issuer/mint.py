"""Minting: a decision becomes a signed token (RFC 9068 in JWS compact form)."""

from __future__ import annotations

import os
from binascii import b2a_base64
from functools import lru_cache
from json.encoder import encode_basestring_ascii as quote
from typing import TYPE_CHECKING, NamedTuple

from ephemera_issuer.errors import RequestRefused

if TYPE_CHECKING:
    from ephemera_issuer.policy import Decision
    from ephemera_keys import Signer

MAXIMUM_BYTES = 4096
"""Headers larger than this are dropped by proxies on the way."""

_TO_URL_SAFE = bytes.maketrans(b"+/", b"-_")


class Minted(NamedTuple):
    """Tokens of one request, and their ids; all were signed by the key named `kid`."""

    kid: str
    tokens: list[str]
    ids: list[bytes]

    def __repr__(self) -> str:
        return f"Minted({len(self.tokens)} by {self.kid})"


def mint(decision: Decision, *, issuer: str, signer: Signer, now: float) -> str:
    """Sign one token; see `mint_several`."""
    return mint_several(decision, issuer=issuer, signer=signer, now=now, number=1).tokens[0]


def mint_several(  # noqa: PLR0913 - what a token says, each by its name
    decision: Decision,
    *,
    issuer: str,
    signer: Signer,
    now: float,
    number: int,
    thumbprint: str | None = None,
) -> Minted:
    """Sign tokens that say the same, each with an id of its own.

    Args:
        decision: What policy allows.
        issuer: The issuer identifier.
        signer: The active key.
        now: Unix seconds; `iat` is the second that has begun.
        number: How many.
        thumbprint: Of the key that all are bound to (RFC 9449 section 6.1); None for no key.

    Raises:
        RequestRefused: `invalid_scope` if the scopes make a token larger than 4096 bytes.
    """
    issued_at = int(now)
    confirmation = "" if thumbprint is None else f'"cnf":{{"jkt":{quote(thumbprint)}}},'
    claims = (
        _granted(issuer, decision.client_id, decision.audience, decision.scope)
        + f'"iat":{issued_at},"exp":{issued_at + decision.lifetime},{confirmation}"jti":"'.encode()
    )
    header = _header(signer.alg, signer.kid)
    tokens = []
    ids = [_segment(os.urandom(16)) for _ in range(number)]
    for jti in ids:
        signing_input = header + _segment(b'%b%b"}' % (claims, jti))
        token = signing_input + b"." + _segment(signer.sign(signing_input))
        if len(token) > MAXIMUM_BYTES:
            raise RequestRefused(
                "invalid_scope",
                f"the token would be larger than {MAXIMUM_BYTES} bytes: ask for fewer scopes",
            )
        tokens.append(token.decode())
    return Minted(signer.kid, tokens, ids)


@lru_cache(maxsize=1024)
def _granted(issuer: str, client_id: str, audience: str, scope: str) -> bytes:
    # A closed set of strings: written out, it costs a seventh of `json.dumps`.
    client = quote(client_id)
    return (
        f'{{"iss":{quote(issuer)},"sub":{client},"client_id":{client},'
        f'"aud":{quote(audience)},"scope":{quote(scope)},'
    ).encode()


@lru_cache(maxsize=8)
def _header(alg: str, kid: str) -> bytes:
    header = f'{{"alg":{quote(alg)},"typ":"at+jwt","kid":{quote(kid)}}}'
    return _segment(header.encode()) + b"."


def _segment(part: bytes) -> bytes:
    # Base64url without padding (RFC 7515 §2); `urlsafe_b64encode` costs twice as much.
    return b2a_base64(part, newline=False).rstrip(b"=").translate(_TO_URL_SAFE)
