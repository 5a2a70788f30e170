"""Claims of the wrong type, absent, or of another meaning."""

from collections.abc import Iterator
from typing import Any

from attacks.forging import Forge, Forgery, Recipe, with_claims
from client.fixtures_verifying import AUDIENCE, ISSUER

from ephemera_client import (
    AudienceMismatch,
    ClaimInvalid,
    ClaimMissing,
    IssuerMismatch,
    SenderConstraintUnverified,
    TokenRefused,
)

STRINGS = ["iss", "aud", "sub", "client_id", "jti"]
TIMES = ["iat", "exp"]
NOT_STRINGS = [None, True, False, 0, 1, 1.5, [], {}, [""], {"": ""}, ""]
NOT_WHOLE_NUMBERS: list[Any] = [
    *("text", "float", "list", "map"),
    *(None, True, False, "", 0.5, -0.0, 1e300),
]
AUDIENCES: list[Any] = [
    [AUDIENCE],
    [AUDIENCE, AUDIENCE],
    [AUDIENCE, "https://other.internal"],
    ["https://other.internal", AUDIENCE],
    [[AUDIENCE]],
    [AUDIENCE, None],
    {AUDIENCE: True},
]
OTHER_AUDIENCES = ["https://ledger.internal", ISSUER, "orders", f"{AUDIENCE} {AUDIENCE}"]
OTHER_ISSUERS = ["https://other.internal", AUDIENCE, "x", f"{ISSUER} {ISSUER}"]
SCOPES: list[Any] = [["invoices:read"], [], 0, 1, None, True, False, {}, {"invoices:read": True}]
CONSTRAINTS: list[Any] = [
    {"jkt": "x"},
    {"x5t#S256": "x"},
    {"jwk": {}},
    {"unknown": 1},
    {},
    [],
    None,
    "",
    False,
]
MEANINGS: list[tuple[str, type[TokenRefused], list[Any]]] = [
    ("aud", ClaimInvalid, AUDIENCES),
    ("aud", AudienceMismatch, OTHER_AUDIENCES),
    ("iss", IssuerMismatch, OTHER_ISSUERS),
    ("scope", ClaimInvalid, SCOPES),
    ("cnf", SenderConstraintUnverified, CONSTRAINTS),
]


def _no_whole_number(name: str, value: Any) -> Recipe:
    """A time that is right in everything but its type."""

    def recipe(forge: Forge) -> str:
        right = forge.now + (120 if name == "exp" else 0)
        spelled: dict[str, Any] = {
            "text": str(right),
            "float": float(right),
            "list": [right],
            "map": {"": right},
        }
        return forge.token(**{name: spelled.get(str(value), value)})

    return recipe


def _all() -> Iterator[Forgery]:
    for name in (*STRINGS, *TIMES):
        capitals = {name: ..., name.upper(): "x"}
        yield Forgery(f"no {name}", ClaimMissing, with_claims(**{name: ...}))
        yield Forgery(f"{name} in capitals", ClaimMissing, with_claims(**capitals))
    for name in STRINGS:
        for value in NOT_STRINGS:
            yield Forgery(f"{name} {value!r}", ClaimInvalid, with_claims(**{name: value}))
    for name in (*TIMES, "nbf"):
        for value in NOT_WHOLE_NUMBERS:
            recipe = _no_whole_number(name, value)
            yield Forgery(f"{name} as {value!r}", ClaimInvalid, recipe)
    for claim, refused_as, values in MEANINGS:
        for value in values:
            yield Forgery(f"{claim} {value!r}", refused_as, with_claims(**{claim: value}))


FORGERIES = list(_all())
