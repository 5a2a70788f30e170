"""Tokens made to cost: long, deep, or slow to look at."""

from collections.abc import Iterator

from attacks.forging import (
    Forgery,
    instead,
    member,
    verbatim,
    with_claims,
    with_claims_bytes,
    with_header,
    with_header_bytes,
)

from ephemera_client import TokenMalformed, TokenTooLarge

BRACKETS = ["[", "{", '{"":', '["', "]", "}", "[{", "[[],"]


def nested(depth: int, shape: str) -> str:
    """Return a member that brings the object around it to this depth."""
    opening, closing = ("[", "]") if shape == "array" else ('{"a":', "}")
    inner = depth - 1
    return f'"more": {opening * inner}1{closing * inner}'


def _all() -> Iterator[Forgery]:
    for length in (8193, 10**5, 10**6):
        for text in (".", "A", "\u00e9"):
            yield Forgery(f"{length} of {text!a}", TokenTooLarge, verbatim(text * length))
    for size in (6200, 50_000):
        yield Forgery(f"claim of {size}", TokenTooLarge, with_claims(more="x" * size))
        yield Forgery(f"header of {size}", TokenTooLarge, with_header(more="x" * size))
    yield Forgery("many claims", TokenTooLarge, with_claims(more=list(range(2000))))
    for depth in (9, 10, 20, 100, 500):
        for shape in ("array", "object"):
            deep = member(nested(depth, shape))
            name = f"{shape}s {depth} deep"
            yield Forgery(name, TokenMalformed, with_claims_bytes(deep))
            yield Forgery(f"{name}, in the header", TokenMalformed, with_header_bytes(deep))
    for bracket in BRACKETS:
        endless = (bracket * 5600).encode()[:5600]
        for part, rewrite in (("claims", with_claims_bytes), ("header", with_header_bytes)):
            name = f"endless {bracket} for the {part}"
            yield Forgery(name, TokenMalformed, rewrite(instead(endless)))
    for digits in (4301, 5000):
        recipe = with_claims_bytes(member(f'"more": {"9" * digits}'))
        yield Forgery(f"number of {digits} digits", TokenMalformed, recipe)


FORGERIES = list(_all())
