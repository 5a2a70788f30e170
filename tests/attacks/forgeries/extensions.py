"""Headers that change what the signature covers, or what the payload is."""

import zlib
from collections.abc import Callable
from typing import Any

from attacks.forging import Forge, Forgery, with_claims_bytes, with_header, with_text
from client.fixtures_verifying import encode

from ephemera_client import HeaderRefused, TokenMalformed

HEADERS: list[dict[str, Any]] = [
    {"crit": ["exp"]},
    {"crit": ["exp"], "exp": 9999999999},
    {"crit": []},
    {"crit": None},
    {"crit": "b64"},
    {"crit": {"b64": True}},
    {"crit": [""]},
    {"crit": ["alg"]},
    {"crit": ["crit"]},
    {"crit": ["b64", "b64"], "b64": True},
    {"crit": ["b64"], "b64": False},
    {"crit": ["b64"], "b64": True},
    {"crit": ["b64"]},
    {"crit": ["http://example.com/UNDEFINED"], "http://example.com/UNDEFINED": True},
    {"b64": False},
    {"b64": True},
    {"b64": "false"},
    {"b64": None},
    {"zip": "DEF"},
    {"zip": "def"},
    {"zip": None},
]


def _unencoded(header: dict[str, Any]) -> Callable[[Forge], str]:
    """The payload as it is (RFC 7797), signed so."""

    def recipe(forge: Forge) -> str:
        protected, claims = forge.parts(header=header)
        signing_input = encode(protected).encode() + b"." + claims.replace(b".", b"\\u002e")
        return f"{signing_input.decode()}.{encode(forge.key.sign(signing_input))}"

    return recipe


def _without_claims(token: str) -> str:
    protected, _, signature = token.split(".")
    return f"{protected}..{signature}"


FORGERIES = [
    *(Forgery(repr(header), HeaderRefused, with_header(**header)) for header in HEADERS),
    Forgery("payload not encoded", TokenMalformed, _unencoded({})),
    Forgery(
        "payload not encoded, and said so",
        TokenMalformed,
        _unencoded({"b64": False, "crit": ["b64"]}),
    ),
    Forgery("payload detached", TokenMalformed, with_text(_without_claims)),
    Forgery("payload compressed", TokenMalformed, with_claims_bytes(zlib.compress)),
    Forgery(
        "payload that swells",
        TokenMalformed,
        with_claims_bytes(lambda claims: zlib.compress(claims + b" " * 10**6)),
    ),
]
