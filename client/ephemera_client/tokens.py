"""Tokens for a calling service: `TokenClient` for threads, `AsyncTokenClient` for tasks."""

from collections.abc import Collection, Iterable, Mapping
from types import TracebackType
from typing import NoReturn, Self, SupportsIndex

from ephemera_client import instant
from ephemera_client.credential import Credential
from ephemera_client.dpop.key import DPoPKey
from ephemera_client.dpop.prover import Prover, Showing
from ephemera_client.errors import ConfigurationError
from ephemera_client.http import CaFile
from ephemera_client.pool import Pool, Ticket
from ephemera_client.token_request import IssuedToken
from ephemera_client.token_source import TokenSource
from ephemera_client.transport import (
    AsyncInner,
    AsyncTokenTransport,
    Inner,
    Target,
    TokenTransport,
)


class _Client(Showing):
    """What both clients are made of."""

    def __init__(  # noqa: PLR0913 - a client's settings, each by its name
        self,
        issuer: str,
        *,
        client_id: str,
        credential: Credential,
        reusable: bool = False,
        pool_size: int = 500,
        unencrypted_hosts: Collection[str] = (),
        ca_file: CaFile = None,
        timeout: float = 10.0,
        clock: instant.Clock = instant.read,
        dpop: DPoPKey | None = None,
    ) -> None:
        if dpop is not None and not isinstance(dpop, DPoPKey):
            raise ConfigurationError("dpop must be a DPoPKey, such as DPoPKey.generate()")
        self._prover = None if dpop is None else Prover(dpop, clock=clock)
        source = TokenSource(
            issuer,
            client_id=client_id,
            credential=credential,
            reusable=reusable,
            unencrypted_hosts=unencrypted_hosts,
            ca_file=ca_file,
            timeout=timeout,
            clock=clock,
            prover=self._prover,
        )
        self._pool = Pool(source, size=pool_size, reusable=reusable, timeout=timeout, clock=clock)
        self._unencrypted_hosts = unencrypted_hosts
        self._ca_file = ca_file

    def __reduce_ex__(self, protocol: SupportsIndex, /) -> NoReturn:
        raise TypeError("a token client is not pickled or copied: what it holds is handed out once")


class TokenClient(_Client):
    """Tokens of one issuer for one client, for any number of threads.

    Each `get` is a token that nobody else is given. They are kept ahead, as many as the calls of
    the last minute suggest, so that a call rarely waits. A process may fork with it: the child
    begins with none. It cannot be pickled.

    Args:
        issuer: its identifier; the endpoints are discovered there, and again each hour.
        client_id: who asks.
        credential: how that is proved, such as `PrivateKeyJWT.from_file(...)`.
        reusable: what a token is for whose response does not say `single_use`: one for every call
            until it ends, where True. An issuer that says so is believed before this.
        pool_size: the most tokens kept ahead for one audience, scopes and lifetime. With 0 each
            is asked for when it is needed.
        unencrypted_hosts: hosts that may be asked, and called, over plain http.
        ca_file: PEM file of the authorities to trust instead of the public ones.
        timeout: seconds that a call waits for a token, and that a request to the issuer may take.
        clock: reads both clocks.
        dpop: the key that all tokens are bound to (RFC 9449), such as `DPoPKey.generate()`; each
            request then carries a proof by it.

    Raises:
        ConfigurationError: an argument cannot be used.
    """

    def get(
        self,
        audience: str,
        *,
        scopes: Iterable[str] | None = None,
        lifetime: int | None = None,
        timeout: float | None = None,
        instead_of: IssuedToken | None = None,
    ) -> IssuedToken:
        """Return a token for one call to `audience`.

        Args:
            audience: the API's identifier, exactly as its verifier has it.
            scopes: what the call needs; None asks for all that policy grants.
            lifetime: seconds; None leaves it to the issuer, which may also grant less.
            timeout: seconds to wait, where a call has another deadline than the client.
            instead_of: a token that the API refused as invalid: the new one is asked for after
                now, and no other as old as that one is handed out any more.

        Raises:
            ConfigurationError: an argument is wrong.
            TokenRequestRefused: the issuer says no; a `ClientRefused` if to the credential.
            IssuerUnavailable: there is no answer in time, or one that says to come back later.
            ResponseInvalid: the answer breaks the protocol.
        """
        found = self._pool.ask(
            audience, scopes=scopes, lifetime=lifetime, timeout=timeout, instead_of=instead_of
        )
        return self._pool.wait(found) if isinstance(found, Ticket) else found

    def transport(
        self, targets: Mapping[str, Target], *, inner: Inner | None = None
    ) -> TokenTransport:
        """Return an httpx transport that puts a fresh token on each request to these origins.

        Without `inner` it connects by itself and trusts this client's `ca_file`.

        Raises:
            ConfigurationError: a target is no origin that a token may be sent to.
        """
        return TokenTransport(
            self,
            targets,
            inner=inner,
            ready=self._pool.ready,
            ca_file=self._ca_file,
            unencrypted_hosts=self._unencrypted_hosts,
            prover=self._prover,
        )

    def close(self) -> None:
        """Drop the tokens, end what waits for one, and close the connections to the issuer."""
        self._pool.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class AsyncTokenClient(_Client):
    """Does for tasks of asyncio and trio what `TokenClient` does for threads.

    Requests to the issuer run on threads of their own, so it may serve several event loops.
    """

    async def get(
        self,
        audience: str,
        *,
        scopes: Iterable[str] | None = None,
        lifetime: int | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - a call's own, beside any scope around it
        instead_of: IssuedToken | None = None,
    ) -> IssuedToken:
        """Return a token for one call to `audience`; see `TokenClient.get`."""
        found = self._pool.ask(
            audience, scopes=scopes, lifetime=lifetime, timeout=timeout, instead_of=instead_of
        )
        return await self._pool.wait_async(found) if isinstance(found, Ticket) else found

    def transport(
        self, targets: Mapping[str, Target], *, inner: AsyncInner | None = None
    ) -> AsyncTokenTransport:
        """Return the transport for `httpx.AsyncClient`; see `TokenClient.transport`."""
        return AsyncTokenTransport(
            self,
            targets,
            inner=inner,
            ready=self._pool.ready,
            ca_file=self._ca_file,
            unencrypted_hosts=self._unencrypted_hosts,
            prover=self._prover,
        )

    async def aclose(self) -> None:
        """Drop the tokens, end what waits for one, and close the connections to the issuer."""
        self._pool.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()
