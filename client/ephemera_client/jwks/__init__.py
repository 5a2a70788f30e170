"""Where a verifier's keys come from."""

from typing import Protocol

from ephemera_client.events import OnEvent
from ephemera_client.instant import Clock, Instant
from ephemera_client.jwk import VerificationKey
from ephemera_client.jwks.remote import RemoteKeys
from ephemera_client.jwks.static import StaticKeys
from ephemera_client.jwks.status import KeysStatus

__all__ = ["Keys", "KeysStatus", "RemoteKeys", "StaticKeys"]


class Keys(Protocol):
    """What a verifier asks of its keys; `RemoteKeys` says what each raises."""

    def bind(self, *, issuer: str, clock: Clock, on_event: OnEvent | None = None) -> None:
        """Take note of whose keys these are, before anything is looked up, and whom to tell."""
        ...

    def lookup(self, kid: str, now: Instant) -> VerificationKey:
        """Return the key of this `kid`, or raise."""
        ...

    async def lookup_async(self, kid: str, now: Instant) -> VerificationKey:
        """Do as `lookup`, without blocking the event loop."""
        ...

    def warm(self) -> None:
        """Make sure of the keys before traffic comes."""
        ...

    async def warm_async(self) -> None:
        """Do as `warm`, without blocking the event loop."""
        ...

    def refresh(self) -> None:
        """Look for newer keys soon, without waiting for them."""
        ...

    def status(self) -> KeysStatus:
        """Say what is held."""
        ...
