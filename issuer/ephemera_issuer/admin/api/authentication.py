"""Who administers: a JWT that an administrator signed for this one request (RFC 7523 §3).

It comes as `Authorization: Bearer`, is made as clients make theirs for the token endpoint, and is
for another audience, the issuer identifier with `/admin`. Nothing that the issuer signs itself is
accepted, so that whoever has its signing key administers nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ephemera_issuer.authentication import NO_SIGNATURE, assertion, decoy
from ephemera_issuer.authentication.client_keys import registered
from ephemera_issuer.edge.presented import fresh
from ephemera_issuer.errors import RequestRefused

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ephemera_client.instant import Clock
    from ephemera_client.jwk import VerificationKey
    from ephemera_issuer.edge import Current
    from ephemera_issuer.registry.entries import Admin
    from ephemera_issuer.spent import SpentAssertions

_SCHEME = "bearer"


class AdminAuthentication:
    """Finds out which administrator sends a request, and spends the assertion that says so.

    Args:
        snapshots: Hold the administrators.
        issuer: The issuer identifier.
        spent: Where assertions are spent: one ledger for all processes of the issuer.
        clock: Tells whether an assertion is of now.
        decoys: The keys that stand in for those that a caller does not have, by algorithm.
    """

    def __init__(
        self,
        snapshots: Current,
        *,
        issuer: str,
        spent: SpentAssertions,
        clock: Clock,
        decoys: Mapping[str, VerificationKey] = decoy.KEYS,
    ) -> None:
        self._snapshots = snapshots
        self._issuer = issuer
        self._spent = spent
        self._clock = clock
        self._decoys = decoys

    async def identify(self, authorization: Sequence[str]) -> Admin:
        """Find the administrator of the values of a request's Authorization headers.

        Before a signature holds every refusal reads the same and costs the same.

        Raises:
            RequestRefused: Whoever it is proves nothing, or nothing that is good here and now.
            Unavailable: Nobody knows just now.
        """
        now = self._clock()
        admins = fresh(self._snapshots, now).admins
        try:
            presented = assertion.take_apart(_bearer(authorization))
        except ValueError:
            self._decoys["ES256"].verify(b"", NO_SIGNATURE)
            raise _unauthenticated() from None
        admin = admins.get(presented.client_id)
        key = admin and registered(admin.keys, alg=presented.alg, kid=presented.kid)
        parts = presented.parts
        genuine = (key or self._decoys[presented.alg]).verify(parts.signing_input, parts.signature)
        if admin is None or key is None or not genuine:
            raise _unauthenticated()
        spending = assertion.accept_from_admin(presented, issuer=self._issuer, now=now.wall)
        await self._spent.claim(spending, now)
        return admin


def _bearer(authorization: Sequence[str]) -> str:
    if len(authorization) != 1:
        raise ValueError("none, or several")
    scheme, _, raw = authorization[0].partition(" ")
    if scheme.lower() != _SCHEME:
        raise ValueError("another scheme")
    return raw.strip(" ")


def _unauthenticated() -> RequestRefused:
    return RequestRefused("invalid_client", "administrator authentication failed")
