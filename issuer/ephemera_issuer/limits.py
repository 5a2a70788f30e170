"""How much callers may ask for: by address while they are strangers, by client once they are not.

Each process counts for itself, by the monotonic clock.
"""

from __future__ import annotations

import random
from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from typing import TYPE_CHECKING

import anyio

from ephemera_issuer.crowd import Crowd
from ephemera_issuer.errors import TooManyRequests
from ephemera_issuer.rate import UNLIMITED, Rate

if TYPE_CHECKING:
    from ephemera_issuer.errors import RequestRefused
    from ephemera_issuer.settings import Settings

LONGEST_HOLD = 1.0
"""Seconds; `Retry-After` is never less."""
MOST_HELD = 1024
"""Refusals: a quarter of the connections that there may be."""

# Nobody is to guess it; it only spreads what would come together.
_CHANCE = random.Random()  # noqa: S311

_SUBSCRIBER = 64
"""Bits of an IPv6 address that one subscriber cannot choose (RFC 6177)."""


class Limits:
    """What a process lets callers ask for. By default everything.

    Args:
        tokens: Of one client. An introspection or a revocation counts as one token.
        requests: Of one address, before anything of them is read.
        failures: Authentications of one address that prove nobody. When there were too many, no
            request of that address is read.
        longest_hold: Seconds for which a refusal is held back at most.
    """

    __slots__ = ("_clients", "_failed", "_failures", "_held", "_longest_hold", "_requests")

    def __init__(
        self,
        *,
        tokens: Rate = UNLIMITED,
        requests: Rate = UNLIMITED,
        failures: Rate = UNLIMITED,
        longest_hold: float = 0.0,
    ) -> None:
        self._clients = Crowd(tokens)
        self._requests = Crowd(requests)
        self._failures = Crowd(failures)
        self._failed = False
        self._longest_hold = longest_hold
        self._held = 0

    def admit(self, address: str | None, now: float) -> None:
        """Count one request of an address.

        Raises:
            TooManyRequests: It has sent too many, or failed to authenticate too often.
        """
        name = neighbourhood(address)
        if wait := self._requests.take(name, 1, now):
            raise _refused("this address sends too many requests", self._requests.rate, wait)
        if self._failed and (wait := self._failures.wait(name, now)):
            raise _refused(
                "this address fails to authenticate too often", self._failures.rate, wait
            )

    async def hold(self, refusal: RequestRefused) -> None:
        """Keep a refusal for part of the time that its caller should wait anyway.

        That is the longest hold or down to half of it, so that refusals do not go out all at once.
        A caller that asks again at once is slowed down so, and costs the others next to nothing;
        one that does as it is told loses nothing but that.
        """
        if not isinstance(refusal, TooManyRequests) or self._held >= MOST_HELD:
            return
        self._held += 1
        try:
            await anyio.sleep(self._longest_hold * _CHANCE.uniform(0.5, 1))
        finally:
            self._held -= 1

    def note(self, refusal: RequestRefused, address: str | None, now: float) -> None:
        """Count an authentication that was refused, if it proved nobody."""
        if refusal.error == "invalid_client":
            self._failed = True
            self._failures.take(neighbourhood(address), 1, now)

    def spend(self, client_id: str, tokens: int, now: float) -> None:
        """Count what a client asks for; what is refused does not count.

        Raises:
            TooManyRequests: It is more than this client may have just now.
        """
        if wait := self._clients.take(client_id, tokens, now):
            raise _refused("this client asks for too many tokens", self._clients.rate, wait)


def limits(settings: Settings) -> Limits:
    """Make the limits that `settings` want: of requests two seconds' at once, of failures ten."""
    requests, failures = settings.requests_per_second, settings.failures_per_second
    return Limits(
        tokens=Rate(settings.tokens_per_second, settings.tokens_burst),
        requests=Rate(requests, 2 * requests),
        failures=Rate(failures, 10 * failures),
        longest_hold=LONGEST_HOLD,
    )


@lru_cache(maxsize=4096)
def neighbourhood(address: str | None) -> str:
    """Name what one subscriber has: an IPv4 address, or the /64 that an IPv6 address is in."""
    if address is None or ":" not in address:
        return address or ""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if not isinstance(parsed, IPv6Address):
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    prefix = int(parsed) >> (128 - _SUBSCRIBER) << (128 - _SUBSCRIBER)
    return f"{IPv6Address(prefix)}/{_SUBSCRIBER}"


def _refused(what: str, rate: Rate, wait: float) -> TooManyRequests:
    return TooManyRequests(
        f"{what}: {rate.per_second:g} a second, {rate.burst:g} at once are allowed",
        wait=wait,
    )
