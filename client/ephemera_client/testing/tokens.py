"""What stands for a `TokenClient` in the tests of a calling service."""

from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Self

from ephemera_client import token_request
from ephemera_client.dpop.key import DPoPKey
from ephemera_client.dpop.prover import Prover, Showing
from ephemera_client.errors import IssuerUnavailable
from ephemera_client.testing.endpoints import TOKEN
from ephemera_client.token_request import Asker, IssuedToken
from ephemera_client.transport import (
    AsyncInner,
    AsyncTokenTransport,
    Inner,
    Target,
    TokenTransport,
)

if TYPE_CHECKING:
    from ephemera_client.testing.issuer import FakeIssuer


class _Source(Showing):
    """One client's tokens, asked for without a connection."""

    def __init__(self, issuer: "FakeIssuer", client_id: str, dpop: DPoPKey | None = None) -> None:
        self._issuer = issuer
        self._prover = None if dpop is None else Prover(dpop, clock=issuer.clock)
        self._client_id = client_id

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._issuer!r}, client_id={self._client_id!r})"

    def _get(
        self, audience: str, scopes: Iterable[str] | None, lifetime: int | None
    ) -> IssuedToken:
        wanted = token_request.want(audience, scopes, lifetime)
        if self._issuer.keys.away:
            raise IssuerUnavailable(
                "no token: the fake issuer is away", cause_code="connect_failed"
            )
        body = token_request.form(wanted, {"client_id": self._client_id})
        headers = {}
        if self._prover is not None:
            headers["dpop"] = self._prover.proof("POST", self._issuer.issuer + TOKEN)
        response = self._issuer.answer(TOKEN, headers, body)
        asker = Asker(self._issuer.issuer, self._client_id, "none: the issuer is a fake")
        now = self._issuer.clock().wall
        (token,) = token_request.issued(
            response,
            wanted,
            asker=asker,
            now=now,
            token_type="Bearer" if self._prover is None else "DPoP",
        )
        return token


class FakeTokens(_Source):
    """Gives tokens of a `FakeIssuer`, and the transport that puts them on requests."""

    def get(
        self,
        audience: str,
        *,
        scopes: Iterable[str] | None = None,
        lifetime: int | None = None,
        timeout: float | None = None,
        instead_of: IssuedToken | None = None,
    ) -> IssuedToken:
        """Return a token for one call to `audience`, as `TokenClient.get` does, without waiting."""
        del timeout, instead_of
        return self._get(audience, scopes, lifetime)

    def transport(
        self, targets: Mapping[str, Target], *, inner: Inner | None = None
    ) -> TokenTransport:
        """Return the transport of `TokenClient.transport`, such as around an API in `inner`."""
        return TokenTransport(self, targets, inner=inner, prover=self._prover)

    def close(self) -> None:
        """Do nothing: nothing is open."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class AsyncFakeTokens(_Source):
    """Does for tasks what `FakeTokens` does for threads."""

    async def get(
        self,
        audience: str,
        *,
        scopes: Iterable[str] | None = None,
        lifetime: int | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - as FakeTokens.get
        instead_of: IssuedToken | None = None,
    ) -> IssuedToken:
        """Return a token for one call to `audience`, as `TokenClient.get` does, without waiting."""
        del timeout, instead_of
        return self._get(audience, scopes, lifetime)

    def transport(
        self, targets: Mapping[str, Target], *, inner: AsyncInner | None = None
    ) -> AsyncTokenTransport:
        """Return the transport of `AsyncTokenClient.transport`."""
        return AsyncTokenTransport(self, targets, inner=inner, prover=self._prover)

    async def aclose(self) -> None:
        """Do nothing: nothing is open."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()
