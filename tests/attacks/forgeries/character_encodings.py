"""Text that is not strict UTF-8, that changes on its way through a decoder, or looks alike."""

from collections.abc import Callable, Iterator

from attacks.forging import (
    Forgery,
    member,
    verbatim,
    with_claims,
    with_claims_bytes,
    with_header_bytes,
)

from ephemera_client import AudienceMismatch, ClaimInvalid, IssuerMismatch, TokenMalformed

ENCODINGS = ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"]
NOT_UTF_8 = [
    *(b"\xff", b"\xfe\xff", b"\xc0\xaf", b"\xc0\x80", b"\xc1\xbf", b"\xe0\x80\xaf", b"\x80"),
    *(b"\xed\xa0\x80", b"\xed\xa0\xbd\xed\xb8\x80", b"\xf0\x80\x80\xaf", b"\xf4\x90\x80\x80"),
    *(b"\xf5\x80\x80\x80", b"\xf8\x88\x80\x80\x80", b"\xc3", b"\xe2\x82", b"\xf0\x9f\x98"),
]
HALVES = ["\\ud83d", "\\ude00", "\\uD800x", "\\ude00\\ud83d", "\\ud83d\\ud83d"]
NOT_TOKENS = ["\ud800", "é.é.é", "\u0130.a.b", "🙂.🙂.🙂", "\x00.\x00.\x00", "a.b.c\ud800"]
AUDIENCES = [
    *("https://billing.internal\u0000", "https://billing.internal/", "https://BILLING.internal"),
    *("https://billing.internal:443", "https://b\u0456lling.internal", "http://billing.internal"),
    *(" https://billing.internal", "https://billing.internal.", "https://billing.internal#"),
    *("https://billing.internal?", "https%3A%2F%2Fbilling.internal", "billing.internal"),
    *("https+ADoALwAv-billing.internal", "https://billing.internal.attacker.example"),
    *("https://\ufb01lling.internal", "https://billing\u3002internal", "*", "https://*.internal"),
]
ISSUERS = [
    *("https://tokens.internal/", "https://tokens.internal\u200b", "HTTPS://tokens.internal"),
    *("https://t\u043ekens.internal", "http://tokens.internal", "https://tokens.internal:443"),
    *("https://tokens.internal\n", "https://user@tokens.internal", "//tokens.internal"),
    *("https://tokens.internal/..", "https://tokens.internal.attacker.example"),
]


def _recoded(encoding: str) -> Callable[[bytes], bytes]:
    return lambda written: written.decode().encode(encoding)


def _with_octets(octets: bytes) -> Callable[[bytes], bytes]:
    return lambda written: b'{"more": "' + octets + b'", ' + written[1:]


def _all() -> Iterator[Forgery]:
    for part, rewrite in (("claims", with_claims_bytes), ("header", with_header_bytes)):
        for encoding in ENCODINGS:
            yield Forgery(f"{part} in {encoding}", TokenMalformed, rewrite(_recoded(encoding)))
        for octets in NOT_UTF_8:
            name = f"{octets.hex()} in {part}"
            yield Forgery(name, TokenMalformed, rewrite(_with_octets(octets)))
        for half in HALVES:
            for name, value in (
                ("value", f'"{half}"'),
                ("name", f'{{"{half}": 1}}'),
                ("list", f'["{half}"]'),
            ):
                recipe = rewrite(member(f'"more": {value}'))
                yield Forgery(f"{half} in a {name} of the {part}", TokenMalformed, recipe)
    for raw in NOT_TOKENS:
        yield Forgery(f"only {raw!a}", TokenMalformed, verbatim(raw))
    for audience in AUDIENCES:
        yield Forgery(f"aud {audience!a}", AudienceMismatch, with_claims(aud=audience))
    for issuer in ISSUERS:
        yield Forgery(f"iss {issuer!a}", IssuerMismatch, with_claims(iss=issuer))
    for scope in ("invoices:read ", " invoices:read", "a  b", " "):
        yield Forgery(f"scope {scope!a}", ClaimInvalid, with_claims(scope=scope))


FORGERIES = list(_all())
