"""Who is asking: the client behind a request (RFC 6749 §2.3)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from ephemera_issuer.authentication import assertion, decoy, federated, secret
from ephemera_issuer.errors import RequestRefused
from ephemera_issuer.policy import require_enabled
from ephemera_issuer.turn import Turns

if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping, Sequence

    from ephemera_client.compact import Compact
    from ephemera_client.instant import Instant
    from ephemera_client.jwk import VerificationKey
    from ephemera_client.replay import Claim
    from ephemera_issuer.authentication.assertion import Assertion
    from ephemera_issuer.authentication.client_keys import ClientKeys
    from ephemera_issuer.registry.entries import Client, TrustedIssuer

METHODS = ("private_key_jwt", "client_secret_basic")
"""As the metadata name them (RFC 8414 §2)."""

_REMEMBERED_HEADERS = 4096

NO_SIGNATURE = b"\1" * 64
"""Of the form of one, so that it takes a verification to refuse it."""


class Caller(NamedTuple):
    """A client that has proved itself.

    `assertion` is to be spent before anything is done for the caller; None where it came with a
    secret.
    """

    client: Client
    assertion: Claim | None


class Authentication:
    """Finds out who sends a request to the issuer of this identifier.

    Args:
        issuer: The issuer identifier.
        keys: Where the keys of clients are.
        issuer_keys: Where the keys of trusted issuers are.
        decoys: The keys that stand in for those that a caller does not have, by algorithm.
        turns: Where signatures are verified.
    """

    __slots__ = ("_decoys", "_headers", "_issuer", "_issuer_keys", "_keys", "_turns")

    def __init__(
        self,
        *,
        issuer: str,
        keys: ClientKeys,
        issuer_keys: ClientKeys,
        decoys: Mapping[str, VerificationKey] = decoy.KEYS,
        turns: Turns | None = None,
    ) -> None:
        self._issuer = issuer
        self._keys = keys
        self._issuer_keys = issuer_keys
        self._decoys = decoys
        self._turns = turns or Turns()
        self._headers: dict[bytes, dict[str, Any]] = {}

    async def identify(
        self,
        clients: Mapping[str, Client],
        *,
        issuers: Mapping[str, TrustedIssuer],
        authorization: Sequence[bytes],
        parameters: Mapping[str, str],
        now: Instant,
    ) -> Caller:
        """Find the client that a request proves to come from. Waits for a `jwks_uri` alone.

        Whatever is wrong with a credential, the refusal reads the same and costs the same: nobody
        learns which clients exist. What is said apart can be seen in the request alone, or is said
        to a client that has proved its key or its secret.

        Args:
            clients: The registered clients by id.
            issuers: The trusted issuers by id.
            authorization: The value of each Authorization header of the request.
            parameters: Those of `form.CREDENTIAL` that came with it.
            now: When it came.

        Raises:
            RequestRefused: `invalid_client`; `invalid_request` for two credentials or two client
                ids at once; `unauthorized_client` for a disabled client.
        """
        asserted = "client_assertion" in parameters or "client_assertion_type" in parameters
        if len(authorization) + ("client_secret" in parameters) + asserted > 1:
            raise RequestRefused("invalid_request", "send one client credential, in one way")
        if authorization:
            caller = Caller(self._by_secret(clients, authorization[0], parameters), None)
        elif asserted:
            caller = await self._by_assertion(clients, issuers, parameters, now)
        else:
            raise unauthenticated()
        require_enabled(caller.client)
        return caller

    def _by_secret(
        self, clients: Mapping[str, Client], authorization: bytes, parameters: Mapping[str, str]
    ) -> Client:
        try:
            credential = secret.parse(authorization)
        except ValueError:
            raise unauthenticated() from None
        _require_same(credential.client_id, parameters)
        client = clients.get(credential.client_id)
        if not secret.proves(credential, client) or client is None:
            # So that a failure costs one verification, whichever way it was tried.
            self._decoys["ES256"].verify(b"", NO_SIGNATURE)
            raise unauthenticated()
        return client

    async def _by_assertion(
        self,
        clients: Mapping[str, Client],
        issuers: Mapping[str, TrustedIssuer],
        parameters: Mapping[str, str],
        now: Instant,
    ) -> Caller:
        try:
            presented = assertion.parse(parameters, self._headers)
        except ValueError:
            raise unauthenticated() from None
        # Its `sub` says nothing of ours, so a federated one comes with an explicit client_id.
        named = parameters.get("client_id") if issuers else None
        if named is not None:
            trusted = federated.issuer_of(presented, issuers, ours=self._issuer)
            if trusted is not None:
                client = clients.get(named)
                return await self._by_federated(client, presented, trusted, issuers, now)
        _require_same(presented.client_id, parameters)
        client = clients.get(presented.client_id)
        key = None
        if client is not None:
            key = await self._keys.find(
                client, alg=presented.alg, kid=presented.kid, among=clients, now=now
            )
        if not await self._genuine(presented, key) or key is None or client is None:
            raise unauthenticated()
        spending = assertion.accept(presented, issuer=self._issuer, now=now.wall)
        self._remember(presented.parts)
        return Caller(client, spending)

    async def _by_federated(
        self,
        client: Client | None,
        presented: Assertion,
        trusted: TrustedIssuer,
        issuers: Mapping[str, TrustedIssuer],
        now: Instant,
    ) -> Caller:
        key = await self._issuer_keys.find(
            trusted, alg=presented.alg, kid=presented.kid, among=issuers, now=now
        )
        if not await self._genuine(presented, key) or key is None:
            raise unauthenticated()
        token = federated.accept(presented.parts, trusted, issuer=self._issuer, now=now.wall)
        # Anybody may hold a genuine token of a public issuer, so whom it would have to speak of
        # is not said, nor whether there is such a client.
        if client is None or not federated.speaks_for(token, client, trusted):
            raise unauthenticated()
        return Caller(client, token.spending)

    def _remember(self, parts: Compact) -> None:
        # Only what a client has signed comes in here: the same few headers again and again.
        if parts.header_segment not in self._headers:
            if len(self._headers) >= _REMEMBERED_HEADERS:
                self._headers.clear()
            self._headers[parts.header_segment] = parts.header

    def _genuine(self, presented: Assertion, key: VerificationKey | None) -> Awaitable[bool]:
        parts, stand_in = presented.parts, self._decoys[presented.alg]
        return self._turns.do(
            partial((key or stand_in).verify, parts.signing_input, parts.signature)
        )


def _require_same(client_id: str, parameters: Mapping[str, str]) -> None:
    if parameters.get("client_id", client_id) != client_id:
        raise RequestRefused("invalid_request", "client_id is not the client that authenticates")


def unauthenticated() -> RequestRefused:
    """Make the one refusal of every caller that has not proved who it is."""
    return RequestRefused("invalid_client", "client authentication failed")
