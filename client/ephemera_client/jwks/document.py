"""A JWK Set as it comes over the wire (RFC 7517 §5)."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from ephemera_client import jwk
from ephemera_client.compact import strict_json
from ephemera_client.errors import JwkInvalid


class JwksInvalid(ValueError):
    """The document cannot take the place of another; the text quotes nothing of it."""


class KeySet(NamedTuple):
    """The keys of one document by `kid`, and why each of the others cannot be used."""

    usable: Mapping[str, jwk.VerificationKey]
    unusable: Mapping[str, str]
    body: bytes


def parse(body: bytes, *, max_keys: int) -> KeySet:
    """Read a document.

    A key that cannot be used is left out and the others serve. An empty list is a valid document:
    the issuer has revoked everything.

    Raises:
        JwksInvalid: not a JWK Set, more than `max_keys` keys, one `kid` for two keys, or keys of
            which none can be used.
    """
    usable: dict[str, jwk.VerificationKey] = {}
    unusable: dict[str, str] = {}
    entries = _entries(body, max_keys)
    for entry in entries:
        kid = entry.get("kid")
        if not isinstance(kid, str):
            continue
        if kid in usable or kid in unusable:
            raise JwksInvalid("two keys have the same kid")
        try:
            usable[kid] = jwk.parse(entry)
        except JwkInvalid as error:
            unusable[kid] = str(error)
    if entries and not usable:
        raise JwksInvalid("none of the keys can be used")
    return KeySet(usable, unusable, body)


def _entries(body: bytes, max_keys: int) -> list[dict[str, Any]]:
    try:
        document = strict_json(body)
    except ValueError as error:
        raise JwksInvalid(str(error)) from None
    entries = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise JwksInvalid("not a JWK Set")
    if len(entries) > max_keys:
        raise JwksInvalid(f"more than {max_keys} keys")
    return entries
