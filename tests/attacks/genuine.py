"""Tokens that must pass: without them, a verifier that refuses everything would look safe."""

from attacks.forgeries.signatures import negated
from attacks.forgeries.sizes_and_depth import nested
from attacks.forging import (
    Recipe,
    member,
    with_claims,
    with_claims_bytes,
    with_header,
    with_header_bytes,
    with_text,
    with_times,
)

GENUINE: dict[str, Recipe] = {
    "as minted": with_claims(),
    "no scope": with_claims(scope=...),
    "empty scope": with_claims(scope=""),
    "several scopes": with_claims(scope="invoices:read invoices:write a"),
    "unknown claims": with_claims(more=[1, 1.5, None, {"a": "b"}], roles=["admin"]),
    "claims named like python's own": with_claims(__class__="x", __proto__={"admin": True}),
    "unknown header": with_header(cty="JWT", more={"a": 1}),
    "typ as media type": with_header(typ="application/at+jwt"),
    "typ in capitals": with_header(typ="AT+JWT"),
    "media type in capitals": with_header(typ="Application/At+Jwt"),
    "nbf now": with_times(nbf=0),
    "issued as late as the leeway": with_times(iat=5, exp=60),
    "expired within the leeway": with_times(iat=-60, exp=-4),
    "longest life": with_times(exp=900),
    "unicode": with_claims(sub="Stra\u00dfe \u4e16 \U0001f642"),
    "raw unicode": with_claims_bytes(member('"more": "Stra\u00dfe \U0001f642"')),
    "surrogate pair, escaped": with_claims_bytes(member('"more": "\\ud83d\\ude42"')),
    "name escaped": with_claims_bytes(lambda claims: claims.replace(b'"aud"', b'"\\u0061ud"')),
    "slash escaped": with_claims_bytes(lambda claims: claims.replace(b"/", b"\\/")),
    "whitespace": with_claims_bytes(lambda claims: b" \t\r\n" + claims + b"\n "),
    "whitespace in the header": with_header_bytes(lambda header: b" " + header + b"\r\n"),
    "large number": with_claims_bytes(member('"more": 123456789012345678901234567890')),
    "eight deep": with_claims_bytes(member(nested(8, "array"))),
    "brackets side by side": with_claims(more=[[], {}] * 20),
    "brackets in strings": with_claims(more='[[[[[[[[[["\\"[[['),
    "nearly 8 KiB": with_claims(more="x" * 5400),
}
TWIN: dict[str, Recipe] = {"other signature that fits": with_text(negated)}
"""For ES256 alone: whoever holds a token can make of it another with the same claims."""
