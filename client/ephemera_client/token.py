"""A token that has been verified."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from ephemera_client.errors import InsufficientScope
from ephemera_client.instant import Instant


class AccessToken:
    """What an accepted token says: a view on its claims. Times are Unix seconds, the issuer's.

    `accepted_at` is when this process accepted it: by that `still_valid` sees through a wall
    clock that is set back later.
    """

    # Read straight from the claims: most calls look at two or three of them.
    __slots__ = ("_accepted_at", "_claims", "_kid", "_scopes")

    def __init__(
        self,
        claims: Mapping[str, Any],
        kid: str,
        scopes: frozenset[str],
        accepted_at: Instant,
    ) -> None:
        self._claims = claims
        self._kid = kid
        self._scopes = scopes
        self._accepted_at = accepted_at

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(client_id={self.client_id!r}, audience={self.audience!r}, "
            f"scopes={sorted(self.scopes)!r}, expires_at={self.expires_at})"
        )

    @property
    def client_id(self) -> str:
        """The calling service."""
        value: str = self._claims["client_id"]
        return value

    @property
    def subject(self) -> str:
        """On whose behalf it calls: for a service of its own accord, itself."""
        value: str = self._claims["sub"]
        return value

    @property
    def scopes(self) -> frozenset[str]:
        """What it may do."""
        return self._scopes

    @property
    def audience(self) -> str:
        """The API that the token is for."""
        value: str = self._claims["aud"]
        return value

    @property
    def issuer(self) -> str:
        """Who issued it."""
        value: str = self._claims["iss"]
        return value

    @property
    def issued_at(self) -> int:
        """When it was issued."""
        value: int = self._claims["iat"]
        return value

    @property
    def expires_at(self) -> int:
        """When it ends."""
        value: int = self._claims["exp"]
        return value

    @property
    def token_id(self) -> str:
        """The `jti`, by which logs of issuer and API meet."""
        value: str = self._claims["jti"]
        return value

    @property
    def key_thumbprint(self) -> str | None:
        """The key that its sender proved to hold (RFC 7638), or None: a plain Bearer token."""
        confirmation = self._claims.get("cnf")
        return None if confirmation is None else confirmation["jkt"]

    @property
    def kid(self) -> str:
        """Which of the issuer's keys signed it."""
        return self._kid

    @property
    def claims(self) -> Mapping[str, Any]:
        """All its claims, read only."""
        return MappingProxyType(self._claims)

    @property
    def accepted_at(self) -> Instant:
        """When its verification began."""
        return self._accepted_at

    def require(self, *scopes: str) -> None:
        """Demand further scopes of a token already accepted.

        Raises:
            InsufficientScope: one of them is not granted.
        """
        if not self._scopes.issuperset(scopes):
            raise InsufficientScope(
                f"the call needs the scopes {' '.join(sorted(scopes))}", required=scopes
            )


class ForeignAccessToken(AccessToken):
    """A token of another issuer, which may say who calls whom in a way of its own.

    `audience` is the one that it was verified for, though it may name others. `token_id` is empty
    where the issuer gives none.
    """

    __slots__ = ("_audience", "_client_id")

    def __init__(  # noqa: PLR0913 - those of any token, and two more
        self,
        claims: Mapping[str, Any],
        kid: str,
        scopes: frozenset[str],
        accepted_at: Instant,
        *,
        client_id: str,
        audience: str,
    ) -> None:
        super().__init__(claims, kid, scopes, accepted_at)
        self._client_id = client_id
        self._audience = audience

    @property
    def client_id(self) -> str:
        """The calling service."""
        return self._client_id

    @property
    def audience(self) -> str:
        """The API that it was verified for."""
        return self._audience

    @property
    def token_id(self) -> str:
        """The `jti`, or an empty string."""
        value: str = self._claims.get("jti", "")
        return value
