"""What registry files declare, before it is compared with the registry.

Declarations are checked one by one when they are read; whether they fit each other and what the
registry has already is the business of `diff`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ephemera_issuer.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from ephemera_issuer.registry.entries import ClientKey, Identity


@dataclass(frozen=True, slots=True)
class Place:
    """Where an entry stands: its file, its path in it, and the lines of its keys.

    `lines` counts from 1; its empty key is the line where the entry begins.
    """

    file: str
    path: str
    lines: Mapping[str, int]

    def problem(self, key: str, message: str) -> Problem:
        """A problem with one key of the entry, or with the whole of it where `key` is empty."""
        field = f"{self.path}.{key}" if key else self.path
        return Problem(self.file, self.lines.get(key, self.lines.get("")), field, message)

    def __str__(self) -> str:
        return f"{self.file}:{self.lines.get('', 1)}"


@dataclass(frozen=True, slots=True)
class AudienceDeclaration:
    """An `[[audiences]]` entry. `disabled` is None where the file leaves it as it is."""

    id: str
    scopes: frozenset[str]
    max_lifetime: int
    single_use: bool
    introspected_by: frozenset[str]
    dpop_required: bool
    disabled: bool | None
    place: Place


@dataclass(frozen=True, slots=True)
class IssuerDeclaration:
    """An `[[issuers]]` entry. `keys` were read from `jwks_files`."""

    id: str
    jwks_files: tuple[Path, ...]
    keys: tuple[ClientKey, ...]
    jwks_uri: str | None
    audience: str | None
    max_lifetime: int
    reusable: bool
    place: Place


@dataclass(frozen=True, slots=True)
class ClientDeclaration:
    """A `[[clients]]` entry. With `secret`, one is generated where the client has none yet.

    `keys` were read from `jwks_files`.
    """

    id: str
    secret: bool
    jwks_files: tuple[Path, ...]
    keys: tuple[ClientKey, ...]
    jwks_uri: str | None
    identities: tuple[Identity, ...]
    disabled: bool | None
    place: Place


@dataclass(frozen=True, slots=True)
class GrantDeclaration:
    """A `[[grants]]` entry."""

    client: str
    audience: str
    scopes: frozenset[str]
    max_lifetime: int
    place: Place


@dataclass(frozen=True, slots=True)
class AdminDeclaration:
    """An `[[admins]]` entry; `keys` were read from `jwks_files`."""

    id: str
    jwks_files: tuple[Path, ...]
    keys: tuple[ClientKey, ...]
    place: Place


@dataclass(frozen=True, slots=True)
class Declarations:
    """All that one file or one directory of files declares; grants by (client, audience)."""

    audiences: Mapping[str, AudienceDeclaration]
    issuers: Mapping[str, IssuerDeclaration]
    clients: Mapping[str, ClientDeclaration]
    grants: Mapping[tuple[str, str], GrantDeclaration]
    admins: Mapping[str, AdminDeclaration]
