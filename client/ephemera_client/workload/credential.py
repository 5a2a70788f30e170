"""The credential of a client that has no secret: its platform says who it is."""

import os
import re
from collections.abc import Mapping
from typing import Literal, NoReturn, Protocol, Self

from ephemera_client.assertion import ASSERTION_TYPE
from ephemera_client.credential import Proof
from ephemera_client.errors import IdentityUnavailable
from ephemera_client.workload import ambient

_COMPACT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_LONGEST = 8192


class IdentitySource(Protocol):
    """Where the platform's token comes from. May wait; called from any thread."""

    def token(self, audience: str) -> str:
        """Return a JWT for this audience.

        Raises:
            IdentityUnavailable: there is none just now.
        """
        ...


class WorkloadIdentity:
    """The token of a platform, such as Kubernetes or a CI, as a client assertion.

    The issuer must trust the platform, and have an identity of this client that fits the token. The
    platform is asked anew for each token request. Neither repr nor errors show a token.

    Args:
        source: where the token comes from; `find` looks for it.
    """

    __slots__ = ("_source",)

    method: Literal["workload identity"] = "workload identity"

    def __init__(self, source: IdentitySource) -> None:
        self._source = source

    @classmethod
    def find(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """Use the platform that this process runs on.

        Raises:
            ConfigurationError: none is found, or more than one.
        """
        return cls(ambient.find(environ))

    def prove(self, client_id: str, *, issuer: str) -> Proof:
        """Return the platform's token, made for the issuer.

        Raises:
            IdentityUnavailable: the platform gives none just now.
        """
        token = self._source.token(issuer)
        if len(token) > _LONGEST or not _COMPACT.fullmatch(token):
            raise IdentityUnavailable(f"{self._source!r} gave something other than a signed JWT")
        return Proof(
            {},
            {
                # Its `sub` is the platform's name for us, so ours is said beside it.
                "client_id": client_id,
                "client_assertion_type": ASSERTION_TYPE,
                "client_assertion": token,
            },
        )

    def __repr__(self) -> str:
        return f"WorkloadIdentity({self._source!r})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a credential is not pickled or copied")
