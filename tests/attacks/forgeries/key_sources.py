"""The token brings its own key, or says where to find one: never followed."""

from collections.abc import Callable, Iterator
from typing import Any

from attacks.forging import Forge, Forgery, Recipe

from ephemera_client import HeaderRefused, SignatureInvalid

SOURCES: dict[str, Callable[[Forge], dict[str, Any]]] = {
    "jwk": lambda forge: {"jwk": forge.stranger.jwk},
    "jwk of the issuer": lambda forge: {"jwk": forge.key.jwk},
    "jwk that is symmetric": lambda _: {"jwk": {"kty": "oct", "k": "AAAA"}},
    "jku": lambda _: {"jku": "https://attacker.example/jwks.json"},
    "jku of the issuer": lambda _: {"jku": "https://tokens.internal/.well-known/jwks.json"},
    "jku with a user": lambda _: {"jku": "https://tokens.internal@attacker.example/"},
    "jku of a file": lambda _: {"jku": "file:///etc/passwd"},
    "jku of the machine": lambda _: {"jku": "http://169.254.169.254/latest/meta-data/"},
    "x5u": lambda _: {"x5u": "https://attacker.example/key.pem"},
    "x5u of the issuer": lambda _: {"x5u": "https://tokens.internal/key.pem"},
    "x5c": lambda _: {"x5c": ["MIIB"]},
    "x5c, empty": lambda _: {"x5c": []},
    "all": lambda forge: {"jwk": forge.stranger.jwk, "jku": "https://x", "x5u": "https://x"},
} | {f"{name} null": lambda _, name=name: {name: None} for name in ("jwk", "jku", "x5u", "x5c")}


def _bringing(source: Callable[[Forge], dict[str, Any]], *, stranger: bool) -> Recipe:
    def recipe(forge: Forge) -> str:
        header = {"kid": forge.key.kid} | source(forge)
        return forge.token(forge.stranger if stranger else forge.key, header=header)

    return recipe


def _thumbprints(forge: Forge) -> dict[str, Any]:
    return {"x5t": forge.stranger.kid, "x5t#S256": forge.stranger.kid}


def _all() -> Iterator[Forgery]:
    for name, source in SOURCES.items():
        for signer, stranger in (("the issuer", False), ("a stranger", True)):
            recipe = _bringing(source, stranger=stranger)
            yield Forgery(f"{name}, signed by {signer}", HeaderRefused, recipe)
    # These name a key and bring none: they are passed over, and so is the key they name.
    yield Forgery("x5t", SignatureInvalid, _bringing(_thumbprints, stranger=True))


FORGERIES = list(_all())
