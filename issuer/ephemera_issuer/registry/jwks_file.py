"""Public keys in a file that the registry file names, or in a document (RFC 7517 §5)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ephemera_client.compact import strict_json
from ephemera_client.errors import JwkInvalid
from ephemera_issuer.registry.entries import MOST_CREDENTIALS, ClientKey

if TYPE_CHECKING:
    from pathlib import Path

MOST_ISSUER_KEYS = 32
"""Of a trusted issuer, which may publish keys of other workloads and times too."""

_MOST_BYTES = 65_536
_PRIVATE_PEM = b"PRIVATE KEY-----"


def read_keys(path: Path, *, most: int = MOST_CREDENTIALS) -> tuple[ClientKey, ...]:
    """Read a JWK Set of one key, or of as many as `most` while they are being rolled.

    That they differ is not looked at here.

    Raises:
        ValueError: With a sentence for the file's author that quotes nothing of the file.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise ValueError(error.strerror or "cannot be read") from None
    if len(content) > _MOST_BYTES:
        raise ValueError(f"is over {_MOST_BYTES} bytes")
    if _PRIVATE_PEM in content:
        raise ValueError(
            "holds a private key: only its owner may have it, replace it if others have seen it; "
            "`python -m ephemera_client keygen` writes the public half to a file of its own"
        )
    try:
        document = strict_json(content)
    except ValueError as error:
        raise ValueError(f"is no JWK Set: {error}") from None
    return parse_keys(document, most=most)


def parse_keys(document: object, *, most: int = MOST_CREDENTIALS) -> tuple[ClientKey, ...]:
    """Take the keys of a JWK Set, as `read_keys` does.

    Raises:
        ValueError: With a sentence for its author that quotes nothing of it.
    """
    keys: list[ClientKey] = []
    for index, members in enumerate(_members(document, most)):
        try:
            keys.append(ClientKey.parse(members))
        except JwkInvalid as error:
            raise ValueError(f"keys[{index}]: {error}") from None
    return tuple(keys)


def _members(document: object, most: int) -> list[dict[str, Any]]:
    keys = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(keys, list) or not all(isinstance(key, dict) for key in keys):
        raise ValueError('is no JWK Set, which is {"keys": [...]}')
    if not 1 <= len(keys) <= most:
        raise ValueError(
            f"has {len(keys) or 'no'} keys: one is needed, and {most} while they are being rolled"
        )
    return keys
