"""A forge for one verifier: its issuer's keys, and ways to make of them what must not pass.

A forgery is a name, the class it is refused with, and a recipe; the forge carries it out for the
algorithm and the time of the verifier that it is meant for.
"""

import json
from collections.abc import Callable, Collection
from typing import Any, NamedTuple

from client.fixtures_verifying import (
    NOW,
    SigningKey,
    claims_of,
    encode,
    header_of,
    mint,
    mint_bytes,
    signing_key,
)

from ephemera_client import TokenRefused

ALGORITHMS = ("ES256", "EdDSA", "RS256")


class Forge:
    """The keys of an issuer and of a stranger, and the verifier's algorithm and time.

    Most forgeries are signed with the issuer's own key, so that nothing but the check in question
    can refuse them.
    """

    def __init__(self, alg: str = "ES256", *, now: int = NOW) -> None:
        self.alg = alg
        self.now = now
        self.key = signing_key(alg)
        self.others = tuple(signing_key(other) for other in ALGORITHMS if other != alg)
        self.stranger = signing_key(alg, 666)

    @property
    def published(self) -> dict[str, Any]:
        """The issuer's keys of all algorithms, as a verifier knows them."""
        return {"keys": [key.jwk for key in (self.key, *self.others)]}

    def token(
        self, key: SigningKey | None = None, *, header: dict[str, Any] | None = None, **claims: Any
    ) -> str:
        times = {"iat": self.now, "exp": self.now + 120}
        return mint(key or self.key, header=header, **times | claims)

    def parts(self, *, header: dict[str, Any] | None = None) -> tuple[bytes, bytes]:
        """Return a good token's header and claims, as the bytes of their JSON."""
        claims = claims_of(iat=self.now, exp=self.now + 120)
        return json.dumps(header_of(self.key, **header or {})).encode(), json.dumps(claims).encode()

    def signed_by(self, sign: Callable[[bytes], bytes], *, header: dict[str, Any]) -> str:
        """Put whatever `sign` returns in the place of the signature."""
        signing_input = ".".join(encode(part) for part in self.parts(header=header))
        return f"{signing_input}.{encode(sign(signing_input.encode()))}"


Recipe = Callable[[Forge], str]


class Forgery(NamedTuple):
    name: str
    refused_as: type[TokenRefused]
    recipe: Recipe
    algorithms: Collection[str] = ALGORITHMS


def with_claims(**changes: Any) -> Recipe:
    return lambda forge: forge.token(**changes)


def with_times(**offsets: int) -> Recipe:
    """Claims that are times, counted from the verifier's now."""

    def recipe(forge: Forge) -> str:
        times: dict[str, Any] = {name: forge.now + offset for name, offset in offsets.items()}
        return forge.token(**times)

    return recipe


def with_header(**changes: Any) -> Recipe:
    return lambda forge: forge.token(header=changes)


def with_header_bytes(change: Callable[[bytes], bytes]) -> Recipe:
    """Rewrite the header's JSON before it is signed."""

    def recipe(forge: Forge) -> str:
        header, claims = forge.parts()
        return mint_bytes(forge.key, change(header), claims)

    return recipe


def with_claims_bytes(change: Callable[[bytes], bytes]) -> Recipe:
    """Rewrite the claims' JSON before it is signed."""

    def recipe(forge: Forge) -> str:
        header, claims = forge.parts()
        return mint_bytes(forge.key, header, change(claims))

    return recipe


def verbatim(raw: str) -> Recipe:
    """Make no token at all."""
    return lambda _: raw


def with_text(change: Callable[[str], str], **claims: Any) -> Recipe:
    """Rewrite the finished token."""
    return lambda forge: change(forge.token(**claims))


def with_signature(change: Callable[[bytes], bytes]) -> Recipe:
    """Put another signature in the place of the good one, made from it."""
    return lambda forge: forge.signed_by(lambda message: change(forge.key.sign(message)), header={})


def instead(whole: bytes) -> Callable[[bytes], bytes]:
    """Write something else altogether."""
    return lambda _: whole


def member(text: str) -> Callable[[bytes], bytes]:
    """Put a member, written as given, in front of those of an object."""
    return lambda written: b"{" + text.encode() + b", " + written[1:]
