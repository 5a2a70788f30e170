"""What an issuer has withdrawn before its time, and how a verifier comes to know."""

from typing import Protocol

from ephemera_client.events import OnEvent
from ephemera_client.instant import Clock, Instant
from ephemera_client.jwks import Keys, RemoteKeys
from ephemera_client.revocations.feed import RevocationFeed
from ephemera_client.revocations.none import NoRevocations
from ephemera_client.revocations.revoked import Revoked
from ephemera_client.revocations.status import RevocationsStatus

__all__ = ["NoRevocations", "RevocationFeed", "Revocations", "RevocationsStatus", "Revoked"]


class Revocations(Protocol):
    """What a verifier asks of its revocations; `RevocationFeed` says what each raises."""

    def bind(
        self, *, issuer: str, keys: Keys, clock: Clock, on_event: OnEvent | None = None
    ) -> None:
        """Take note of whose they are, which keys to look at anew, and whom to tell."""
        ...

    def fresh(self, now: Instant) -> Revoked | None:
        """Return what is revoked, without waiting; None if that is not known well enough."""
        ...

    def revoked(self, now: Instant) -> Revoked:
        """Return what is revoked, or raise."""
        ...

    async def revoked_async(self, now: Instant) -> Revoked:
        """Do as `revoked`, without blocking the event loop."""
        ...

    def warm(self) -> None:
        """Make sure of them before traffic comes."""
        ...

    async def warm_async(self) -> None:
        """Do as `warm`, without blocking the event loop."""
        ...

    def status(self) -> RevocationsStatus:
        """Say what is held."""
        ...


def offered_beside(keys: Keys) -> Revocations:
    """Return what follows the feed that the issuer offers, if it is asked where its keys are."""
    if isinstance(keys, RemoteKeys) and keys.discovers:
        return RevocationFeed.if_offered()
    return NoRevocations()
