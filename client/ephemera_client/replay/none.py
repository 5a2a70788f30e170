"""No single use."""

from typing import ClassVar

from ephemera_client.instant import Instant
from ephemera_client.replay.claim import AcceptedOnce, Claim


class NoReplayCache:
    """Accepts a token as often as it is shown until it expires: single use is off.

    For audiences whose tokens are reusable, and behind a gateway that has claimed the token.
    """

    accepted_once: ClassVar[AcceptedOnce] = "off"

    def claim(self, claim: Claim, now: Instant) -> None:
        """Remember nothing."""

    async def claim_async(self, claim: Claim, now: Instant) -> None:
        """Remember nothing."""

    def warm(self) -> None:
        """Do nothing: there is nothing to reach."""

    async def warm_async(self) -> None:
        """Do nothing: there is nothing to reach."""
