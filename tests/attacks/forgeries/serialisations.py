"""JWE, the JSON serialisations, nested and joined tokens: only JWS compact is a token."""

import json
from collections.abc import Callable, Iterator

from attacks.forging import Forge, Forgery, Recipe, verbatim, with_text
from client.fixtures_verifying import encode, header_of, mint_bytes

from ephemera_client import TokenMalformed

ENCRYPTED = [
    *("dir", "RSA1_5", "RSA-OAEP", "RSA-OAEP-256", "ECDH-ES", "A256KW", "PBES2-HS256+A128KW"),
    "none",
]


def _flattened(token: str) -> str:
    protected, payload, signature = token.split(".")
    return json.dumps({"protected": protected, "payload": payload, "signature": signature})


def _general(token: str) -> str:
    protected, payload, signature = token.split(".")
    signatures = [{"protected": protected, "signature": signature}]
    return json.dumps({"payload": payload, "signatures": signatures})


def _unprotected(token: str) -> str:
    return json.dumps(json.loads(_flattened(token)) | {"header": {"alg": "none"}})


def _encoded(spell: Callable[[str], str]) -> Recipe:
    return with_text(lambda token: encode(spell(token).encode()))


def encrypted(alg: str, ciphertext: str) -> Recipe:
    head = encode(json.dumps({"alg": alg, "enc": "A256GCM", "p2c": 10**9}).encode())
    return verbatim(f"{head}.{ciphertext}.AAAA.AAAA.AAAA")


def _nested(forge: Forge) -> str:
    header = json.dumps(header_of(forge.key, cty="JWT")).encode()
    return mint_bytes(forge.key, header, forge.token().encode())


def _quoted(forge: Forge) -> str:
    header = json.dumps(header_of(forge.key, cty="JWT")).encode()
    return mint_bytes(forge.key, header, json.dumps(forge.token()).encode())


def _joined(by: str) -> Recipe:
    return lambda forge: forge.token() + by + forge.token()


def _all() -> Iterator[Forgery]:
    for spell in (_flattened, _general, _unprotected):
        name = spell.__name__.removeprefix("_")
        yield Forgery(name, TokenMalformed, with_text(spell))
        yield Forgery(f"{name}, encoded", TokenMalformed, _encoded(spell))
    for alg in ENCRYPTED:
        yield Forgery(f"encrypted with {alg}", TokenMalformed, encrypted(alg, "AAAA"))
        yield Forgery(f"encrypted with {alg}, no key", TokenMalformed, encrypted(alg, ""))
    for dots in (0, 1, 2, 3, 4, 5, 8000):
        yield Forgery(f"{dots} dots alone", TokenMalformed, verbatim("." * dots))
    for number in (1, 2, 3, 4, 5, 6, 1000):
        yield Forgery(f"{number} parts", TokenMalformed, verbatim(".".join(["AAAA"] * number)))
    yield Forgery("token inside a token", TokenMalformed, _nested)
    yield Forgery("token inside a token, quoted", TokenMalformed, _quoted)
    for by in (",", " ", ".", "&", ", Bearer ", "\r\n", ""):
        yield Forgery(f"two, {by!r} between", TokenMalformed, _joined(by))
    yield Forgery(
        "signed twice",
        TokenMalformed,
        with_text(lambda token: token + "." + token.rpartition(".")[2]),
    )


FORGERIES = list(_all())
