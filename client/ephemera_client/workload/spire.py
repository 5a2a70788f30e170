"""SPIFFE: the Workload API of an agent such as SPIRE's gives JWT-SVIDs to who asks locally."""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ephemera_client.errors import ConfigurationError, IdentityUnavailable

if TYPE_CHECKING:
    from spiffe import WorkloadApiClient

SOCKET = "SPIFFE_ENDPOINT_SOCKET"

_TIMEOUT = 10.0


class SpireAgent:
    """The Workload API at a socket (extra `spiffe`).

    Args:
        socket: such as `unix:///run/spire/agent.sock`; SPIFFE_ENDPOINT_SOCKET without it.
        environ: where that variable is looked for.

    Raises:
        ConfigurationError: no socket is named, or the package `spiffe` is not installed.
    """

    __slots__ = ("_client", "_socket")

    def __init__(
        self, socket: str | None = None, *, environ: Mapping[str, str] = os.environ
    ) -> None:
        self._socket = socket or environ.get(SOCKET) or ""
        if not self._socket:
            raise ConfigurationError(f"name the Workload API's socket, or set {SOCKET}")
        self._client = _client(self._socket)

    def token(self, audience: str) -> str:
        """Fetch a JWT-SVID for this audience.

        Raises:
            IdentityUnavailable: the agent gives none.
        """
        try:
            svid = self._client.fetch_jwt_svid(audience={audience}, timeout=_TIMEOUT)
        except Exception as error:  # noqa: BLE001 - it says everything by its class
            # Whatever gRPC and the library raise; their texts may quote what the agent sent.
            raise IdentityUnavailable(
                f"the Workload API at {self._socket} gave no JWT-SVID: {type(error).__name__}"
            ) from None
        return str(svid.token)

    def __repr__(self) -> str:
        return f"SpireAgent({self._socket!r})"


def _client(socket: str) -> "WorkloadApiClient | Any":
    try:
        from spiffe import WorkloadApiClient  # noqa: PLC0415 - an extra
    except ImportError:
        raise ConfigurationError(
            "the Workload API needs the extra: pip install ephemera-client[spiffe]"
        ) from None
    try:
        return WorkloadApiClient(socket_path=socket)
    except Exception as error:
        raise ConfigurationError(f"{socket} is no socket of a Workload API") from error
