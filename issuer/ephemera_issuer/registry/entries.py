"""The registry in memory: audiences, issuers, clients, grants between them, administrators."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self, TypeAlias

from ephemera_client import jwk

if TYPE_CHECKING:
    from collections.abc import Mapping

MOST_CREDENTIALS = 2
"""Live at a time for one client, so that each kind can be rolled without downtime."""

_MEMBERS = frozenset({"kty", "crv", "x", "y", "n", "e", "kid"})


@dataclass(frozen=True, slots=True)
class Audience:
    """A called API.

    `id` is its identifier (RFC 8707 §2) and the `aud` of its tokens; `max_lifetime` is in seconds;
    `single_use` is announced to callers, the API's own verifier is what enforces it. A disabled
    audience gets no tokens. `introspected_by` are the clients that may introspect its tokens.
    Where `dpop_required`, every token is bound to its sender's key (RFC 9449).
    """

    id: str
    scopes: frozenset[str]
    max_lifetime: int
    single_use: bool
    disabled: bool
    introspected_by: frozenset[str] = frozenset()
    dpop_required: bool = False


@dataclass(frozen=True, slots=True)
class ClientKey:
    """A public key that a client's assertions are verified with.

    `text` is its JWK in one canonical writing, by which two are equal; `key` is what verifies.
    """

    text: str
    key: jwk.VerificationKey = field(compare=False)

    @classmethod
    def parse(cls, members: Mapping[str, Any]) -> Self:
        """Make one of a public JWK with a `kid`; members that say nothing of the key are dropped.

        Raises:
            JwkInvalid: It is weak, contradicts itself, is private, or is no such key.
        """
        key = jwk.parse(members)
        kept = {name: members[name] for name in sorted(_MEMBERS & members.keys())}
        return cls(json.dumps(kept | {"alg": key.alg}, separators=(",", ":"), sort_keys=True), key)


@dataclass(frozen=True, slots=True)
class TrustedIssuer:
    """Another issuer, whose tokens clients may prove themselves with (RFC 7523 §3).

    `id` is the `iss` of its tokens, or `spiffe://` and a trust domain. Its keys are either `keys`
    or what is found at `jwks_uri`. `audience` is what its tokens must name as theirs; None is this
    issuer's identifier. A token may live for `max_lifetime` seconds, and be presented again and
    again where `reusable` says so.
    """

    id: str
    max_lifetime: int
    reusable: bool
    audience: str | None = None
    keys: tuple[ClientKey, ...] = ()
    jwks_uri: str | None = None


@dataclass(frozen=True, slots=True)
class Identity:
    """What a trusted issuer's token must say to speak for a client.

    `subject` is its `sub`, or with `prefix` what its `sub` begins with. Each of `claims` must be
    there with just that value.
    """

    issuer: str
    subject: str
    prefix: bool = False
    claims: tuple[tuple[str, str | int | bool], ...] = ()

    def document(self) -> dict[str, Any]:
        """As JSON, in the database and to whoever looks."""
        return {
            "issuer": self.issuer,
            "subject": self.subject,
            "prefix": self.prefix,
            "claims": dict(self.claims),
        }


@dataclass(frozen=True, slots=True)
class Client:
    """A calling service.

    `secret_hashes` are SHA-256 digests, the oldest first. Its keys are either `keys` or what is
    found at `jwks_uri`. Tokens of trusted issuers that fit one of `identities` speak for it too. A
    disabled client gets nothing, whatever it proves.
    """

    id: str
    secret_hashes: tuple[bytes, ...] = field(repr=False)
    disabled: bool
    keys: tuple[ClientKey, ...] = ()
    jwks_uri: str | None = None
    identities: tuple[Identity, ...] = ()

    @property
    def credentials(self) -> int:
        """How many are live; whatever is found at `jwks_uri` counts as one."""
        return len(self.secret_hashes) + len(self.keys) + (self.jwks_uri is not None)


@dataclass(frozen=True, slots=True)
class Grant:
    """What one client may ask for at one audience; `max_lifetime` is in seconds."""

    client: str
    audience: str
    scopes: frozenset[str]
    max_lifetime: int


@dataclass(frozen=True, slots=True)
class Admin:
    """Who may administer the issuer over HTTP; only files that are applied locally make one.

    An administrator and a client of one name are two, and neither can stand for the other.
    """

    id: str
    keys: tuple[ClientKey, ...]


Entry: TypeAlias = Audience | TrustedIssuer | Client | Grant | Admin


@dataclass(frozen=True, slots=True)
class Registry:
    """All entries of one registry version; grants are keyed by (client, audience)."""

    audiences: Mapping[str, Audience]
    clients: Mapping[str, Client]
    grants: Mapping[tuple[str, str], Grant]
    version: int
    admins: Mapping[str, Admin] = field(default_factory=dict)
    issuers: Mapping[str, TrustedIssuer] = field(default_factory=dict)
