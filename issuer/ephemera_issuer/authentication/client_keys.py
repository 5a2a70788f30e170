"""The keys of clients and trusted issuers: in the registry, or published at a `jwks_uri`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

import structlog

from ephemera_client.errors import ConfigurationError, KeysUnavailable, TokenRefused
from ephemera_issuer.settings import is_loopback

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from ephemera_client.instant import Clock, Instant
    from ephemera_client.jwk import VerificationKey
    from ephemera_client.jwks import RemoteKeys
    from ephemera_issuer.registry.entries import ClientKey


class KeyHolder(Protocol):
    """A client or a trusted issuer: the same two places have its keys."""

    @property
    def id(self) -> str:
        """Its name in the registry."""
        ...

    @property
    def keys(self) -> tuple[ClientKey, ...]:
        """Those in the registry."""
        ...

    @property
    def jwks_uri(self) -> str | None:
        """Where they are published, where they are not in the registry."""
        ...


def registered(keys: Collection[ClientKey], *, alg: str, kid: str | None) -> VerificationKey | None:
    """Find the key of this algorithm that `kid` names, or the one that fits, or None."""
    fitting = [
        entry.key
        for entry in keys
        if entry.key.alg == alg and (kid is None or kid == entry.key.kid)
    ]
    return fitting[0] if len(fitting) == 1 else None


class ClientKeys:
    """Finds keys, for any number of tasks.

    What a client publishes is kept from request to request, and has a budget of its own: a flood
    of unknown kids in one client's name costs the others nothing.

    Args:
        hosts: The hosts that may be asked, without ports; http is only for those of them that are
            loopback.
        clock: Tells how old a document is.
        whose: What the holders are, for the log.
    """

    def __init__(self, *, hosts: Collection[str], clock: Clock, whose: str = "client") -> None:
        self._whose = whose
        self._hosts = frozenset(hosts)
        self._loopback = frozenset(filter(is_loopback, hosts))
        self._clock = clock
        self._published: dict[tuple[str, str], RemoteKeys] = {}
        self._complained: set[tuple[str, str]] = set()

    async def find(
        self,
        client: KeyHolder,
        *,
        alg: str,
        kid: str | None,
        among: Mapping[str, KeyHolder],
        now: Instant,
    ) -> VerificationKey | None:
        """Find the key of this algorithm that `kid` names, or None.

        Without a kid it is the one key that fits (OpenID Connect Core §10.1), of those in the
        registry. `among` are all clients; what is kept for others is let go of.
        """
        if client.jwks_uri is None:
            return registered(client.keys, alg=alg, kid=kid)
        if kid is None:
            return None
        key = await self._fetched(client.id, client.jwks_uri, kid, among, now)
        return key if key is not None and key.alg == alg else None

    async def _fetched(
        self, client: str, uri: str, kid: str, among: Mapping[str, KeyHolder], now: Instant
    ) -> VerificationKey | None:
        if urlsplit(uri).hostname not in self._hosts:
            self._complain(client, uri, "EPHEMERA_JWKS_URI_HOSTS does not name its host")
            return None
        try:
            key = await self._source(client, uri, among).lookup_async(kid, now)
        except TokenRefused:
            key = None
        except (KeysUnavailable, ConfigurationError) as error:
            self._complain(client, uri, str(error))
            return None
        self._complained.discard((client, uri))
        return key

    def _source(self, client: str, uri: str, among: Mapping[str, KeyHolder]) -> RemoteKeys:
        source = self._published.get((client, uri))
        if source is None:
            # With all that speaks HTTP, which an issuer without such clients need not load.
            from ephemera_client.jwks import RemoteKeys  # noqa: PLC0415

            source = RemoteKeys(uri, unencrypted_hosts=self._loopback, link_local=False)
            source.bind(issuer=client, clock=self._clock)
            self._published = {
                (name, where): kept
                for (name, where), kept in self._published.items()
                if name in among and among[name].jwks_uri == where
            } | {(client, uri): source}
        return source

    def _complain(self, client: str, uri: str, reason: str) -> None:
        """Tell the operator, once: the caller may not know, and may be anybody."""
        if (client, uri) not in self._complained:
            self._complained.add((client, uri))
            structlog.get_logger().warning(
                f"{self._whose}_keys_unavailable",
                jwks_uri=uri,
                reason=reason,
                **{self._whose: client},
            )
