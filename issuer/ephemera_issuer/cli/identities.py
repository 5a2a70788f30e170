"""How commands show whom tokens of trusted issuers must speak of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


def phrase(identity: Mapping[str, Any]) -> str:
    """As words, of the document of one."""
    rest = "*" if identity["prefix"] else ""
    claims = "".join(f" with {name}={value}" for name, value in identity["claims"].items())
    return f"{identity['subject']}{rest} of {identity['issuer']}{claims}"
