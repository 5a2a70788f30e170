"""Administration: one set of operations, on the database here or through an issuer's admin API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ephemera_issuer.admin.documents import Document

PATH: Final = "/admin/v1"


class Administration(Protocol):
    """What the command's nouns do; documents are those of `documents`, whoever answers.

    Every operation raises what the database does (`IssuerError`, `KeysError`), or
    `AdministrationRefused` where an issuer was asked.
    """

    def clients(self) -> Document:
        """All clients with their grants."""
        ...

    def client(self, client: str) -> Document:
        """One client with its grants."""
        ...

    def set_disabled(self, client: str, *, disabled: bool) -> bool:
        """Disable or enable a client, and tell whether that changed anything."""
        ...

    def roll_secret(self, client: str, secrets_dir: Path) -> Path:
        """Give a client a second secret, and return the file that holds it."""
        ...

    def drop_secret(self, client: str, *, oldest: bool) -> None:
        """Take one of a client's two secrets away."""
        ...

    def keys(self) -> Document:
        """The signing keys."""
        ...

    def rotate(self, *, emergency: bool) -> Document:
        """Let the pending key sign; the signing keys after that."""
        ...

    def timeline(self) -> Document:
        """What a rotation would do, and when."""
        ...

    def revoke_key(self, kid: str) -> Document:
        """Withdraw a key for good; the signing keys after that."""
        ...

    def revoke_token(self, jti: str) -> Document:
        """Revoke one token."""
        ...

    def revoke_tokens(
        self, *, client: str | None, audience: str | None, until: int | None
    ) -> Document:
        """Revoke all tokens of a client, for an audience, or of the one for the other."""
        ...

    def explain(
        self, *, client: str, audience: str, scopes: Sequence[str], lifetime: int | None
    ) -> Document:
        """Say what a request would get."""
        ...
