"""Text that is not strict UTF-8, or that changes on its way through a decoder."""

import json

import pytest
from client.fixtures_verifying import (
    assert_refused,
    claims_of,
    header_of,
    mint,
    mint_bytes,
    signing_key,
)

from ephemera_client import (
    AudienceMismatch,
    ClaimInvalid,
    EphemeraError,
    IssuerMismatch,
    TokenMalformed,
)

KEY = signing_key("ES256")
HEADER = json.dumps(header_of(KEY))
CLAIMS = json.dumps(claims_of())


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_another_encoding_of_the_same_text_is_refused(encoding: str) -> None:
    assert_refused(mint_bytes(KEY, HEADER.encode(), CLAIMS.encode(encoding)), TokenMalformed)
    assert_refused(mint_bytes(KEY, HEADER.encode(encoding), CLAIMS.encode()), TokenMalformed)


def test_a_percent_or_utf_7_spelling_is_not_decoded() -> None:
    assert_refused(mint(aud="https%3A%2F%2Fbilling.internal"), AudienceMismatch)
    assert_refused(mint(aud="https+ADoALwAv-billing.internal"), AudienceMismatch)


@pytest.mark.parametrize(
    "octets",
    [
        b"\xff",
        b"\xfe\xff",
        b"\xc0\xaf",
        b"\xe0\x80\xaf",
        b"\xed\xa0\x80",
        b"\xed\xa0\xbd\xed\xb8\x80",
        b"\xf4\x90\x80\x80",
        b"\xf5\x80\x80\x80",
        b"\x80",
        b"\xc3",
        b"\xe2\x82",
    ],
    ids=lambda octets: octets.hex(),
)
def test_what_is_not_utf_8_is_refused(octets: bytes) -> None:
    payload = CLAIMS.encode().replace(b"orders", b"ord" + octets + b"ers", 1)
    assert_refused(mint_bytes(KEY, HEADER.encode(), payload), TokenMalformed)
    header = HEADER.encode().replace(b"at+jwt", b"at+jwt" + octets)
    assert_refused(mint_bytes(KEY, header, CLAIMS.encode()), TokenMalformed)


@pytest.mark.parametrize("half", ["\\ud83d", "\\ude00", "\\uD800x", "\\ude00\\ud83d"])
@pytest.mark.parametrize("name", ["jti", "sub", "more", "nested"])
def test_half_of_a_surrogate_pair_is_refused_wherever_it_stands(half: str, name: str) -> None:
    value = f'{{"{half}": ["{half}"]}}' if name == "nested" else f'"{half}"'
    claims = claims_of(**{name: ...})
    payload = f'{{"{name}": {value}, {json.dumps(claims)[1:]}'
    assert_refused(mint_bytes(KEY, HEADER.encode(), payload.encode()), TokenMalformed)


@pytest.mark.parametrize(
    "raw", ["\ud800", "é.é.é", "\u0130.a.b", "🙂.🙂.🙂", "\x00.\x00.\x00"], ids=ascii
)
def test_a_token_of_other_characters_is_refused(raw: str) -> None:
    assert_refused(raw, TokenMalformed)


@pytest.mark.parametrize(
    ("claim", "value", "error"),
    [
        ("aud", "https://billing.internal\u0000", AudienceMismatch),
        ("aud", "https://billing.internal/", AudienceMismatch),
        ("aud", "https://BILLING.internal", AudienceMismatch),
        ("aud", "https://billing.internal:443", AudienceMismatch),
        ("aud", "https://b\u0456lling.internal", AudienceMismatch),
        ("aud", " https://billing.internal", AudienceMismatch),
        ("iss", "https://tokens.internal/", IssuerMismatch),
        ("iss", "https://tokens.internal\u200b", IssuerMismatch),
        ("iss", "HTTPS://tokens.internal", IssuerMismatch),
        ("scope", "invoices:read ", ClaimInvalid),
        ("scope", "a  b", ClaimInvalid),
    ],
)
def test_what_looks_alike_is_not_equal(claim: str, value: str, error: type[EphemeraError]) -> None:
    assert_refused(mint(**{claim: value}), error)
