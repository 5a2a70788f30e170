"""The registry in memory: audiences, clients and the grants between them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Audience:
    """A called API.

    `id` is its identifier (RFC 8707 §2) and the `aud` of its tokens; `max_lifetime` is in seconds;
    `single_use` is announced to callers, the API's own verifier is what enforces it. A disabled
    audience gets no tokens.
    """

    id: str
    scopes: frozenset[str]
    max_lifetime: int
    single_use: bool
    disabled: bool


@dataclass(frozen=True, slots=True)
class Client:
    """A calling service.

    `secret_hashes` are SHA-256 digests, two at most so that a secret can be rolled without
    downtime. A disabled client cannot authenticate.
    """

    id: str
    secret_hashes: tuple[bytes, ...] = field(repr=False)
    disabled: bool


@dataclass(frozen=True, slots=True)
class Grant:
    """What one client may ask for at one audience; `max_lifetime` is in seconds."""

    client: str
    audience: str
    scopes: frozenset[str]
    max_lifetime: int


Entry: TypeAlias = Audience | Client | Grant


@dataclass(frozen=True, slots=True)
class Registry:
    """All entries of one registry version; grants are keyed by (client, audience)."""

    audiences: Mapping[str, Audience]
    clients: Mapping[str, Client]
    grants: Mapping[tuple[str, str], Grant]
    version: int
