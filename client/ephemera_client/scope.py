"""Scopes as arguments (RFC 6749 section 3.3)."""

import re
from collections.abc import Iterable

from ephemera_client.errors import ConfigurationError

_SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+")


def scope_set(scopes: Iterable[str]) -> frozenset[str]:
    """Return the scopes of an argument as a set.

    Raises:
        ConfigurationError: it is one string, or one of them is no scope.
    """
    if isinstance(scopes, str):
        raise ConfigurationError("scopes must be a collection of strings, not one string")
    found = frozenset(scopes)
    for scope in found:
        if not isinstance(scope, str) or not _SCOPE.fullmatch(scope):
            raise ConfigurationError(
                f"{scope!r} is no scope: one is printable ASCII without space, quote or backslash"
            )
    return found
