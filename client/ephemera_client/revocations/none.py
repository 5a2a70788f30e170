"""No revocations, said aloud."""

from ephemera_client.events import OnEvent
from ephemera_client.instant import Clock, Instant
from ephemera_client.jwks import Keys
from ephemera_client.revocations.revoked import NOTHING, Revoked
from ephemera_client.revocations.status import RevocationsStatus


class NoRevocations:
    """Follows no feed: a revoked token is accepted until it expires."""

    def bind(
        self, *, issuer: str, keys: Keys, clock: Clock, on_event: OnEvent | None = None
    ) -> None:
        """Serve any verifier."""

    def fresh(self, now: Instant) -> Revoked | None:  # noqa: ARG002 - never old
        """Return nothing that is revoked."""
        return NOTHING

    def revoked(self, now: Instant) -> Revoked:  # noqa: ARG002 - never old
        """Return nothing that is revoked."""
        return NOTHING

    async def revoked_async(self, now: Instant) -> Revoked:  # noqa: ARG002 - never old
        """Return nothing that is revoked."""
        return NOTHING

    def warm(self) -> None:
        """Do nothing."""

    async def warm_async(self) -> None:
        """Do nothing."""

    def status(self) -> RevocationsStatus:
        """Say that nothing is followed."""
        return RevocationsStatus(
            True, followed=False, age=None, sequence=None, entries=0, last_failure=None
        )
