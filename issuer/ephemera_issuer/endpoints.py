"""The endpoints that there are, for whoever counts or records requests by them.

A path that a caller makes up can hold anything, and there is no end of them: it is `OTHER`.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from ephemera_issuer.admin import PATH as ADMIN_PATH
from ephemera_issuer.edge.metadata import (
    FEED_PATH,
    INTROSPECTION_PATH,
    KEYS_PATH,
    METADATA_PATHS,
    REVOCATION_PATH,
    TOKEN_PATH,
)
from ephemera_issuer.metrics.families import OTHER


class Endpoints(NamedTuple):
    """Those of one listener: paths as a whole, and paths `under` which there are more."""

    listener: str
    paths: frozenset[str]
    under: tuple[str, ...] = ()

    def name(self, path: str) -> str:
        """Name the endpoint at a path: the path itself, or what it is under, or `OTHER`."""
        if path in self.paths:
            return path
        return next((parent for parent in self.under if path.startswith(f"{parent}/")), OTHER)

    @property
    def names(self) -> tuple[str, ...]:
        """All that `name` may answer."""
        return (*sorted(self.paths), *self.under, OTHER)


PUBLIC: Final = Endpoints(
    "public",
    frozenset(
        {
            TOKEN_PATH,
            INTROSPECTION_PATH,
            REVOCATION_PATH,
            FEED_PATH,
            KEYS_PATH,
            *METADATA_PATHS,
            "/healthz",
            "/readyz",
        }
    ),
)
PRIVATE: Final = Endpoints("private", frozenset({"/metrics", "/healthz"}), (ADMIN_PATH,))
