"""One API, tokens of several issuers."""

from collections.abc import Collection, Coroutine, Iterable, Mapping
from types import MappingProxyType
from typing import Any, Generic, TypeVar, overload

from ephemera_client import compact
from ephemera_client.dpop.demand import DPoP, Presented
from ephemera_client.errors import (
    ConfigurationError,
    EphemeraError,
    IssuerMismatch,
    TokenRefused,
)
from ephemera_client.token import AccessToken
from ephemera_client.verifier import AsyncVerifier, Verifier, VerifierStatus

V = TypeVar("V", Verifier, AsyncVerifier)


class AnyIssuer(Generic[V]):
    """Hands each token to the verifier of the issuer that it names, which then checks everything.

    The name alone is trusted for no more than that: a token that lies about it meets the keys of
    an issuer that did not sign it. What is refused before a verifier is chosen, the last one
    reports to its `on_event`.

    Args:
        verifiers: of different issuers, and all of one kind: `Verifier` (`ForeignVerifier`), or
            `AsyncVerifier` (`AsyncForeignVerifier`), whose `verify` and `warm` are awaited. The
            last is the one that callers are to move to.

    Raises:
        ConfigurationError: there are none, two of one issuer, or both kinds; or they do not agree
            where proofs are for.
    """

    __slots__ = ("_last", "_verifiers")

    def __init__(self, verifiers: Iterable[V]) -> None:
        found = list(verifiers)
        by_issuer = {verifier.issuer: verifier for verifier in found}
        demands = {verifier.dpop and verifier.dpop.origin for verifier in found}
        kinds = {isinstance(verifier, AsyncVerifier) for verifier in found}
        if not found or len(by_issuer) != len(found):
            raise ConfigurationError("verifiers must be of different issuers, one at least")
        if len(kinds) != 1:
            raise ConfigurationError("verifiers must be all Verifier or all AsyncVerifier")
        if len(demands - {None}) > 1 or (demands != {None} and found[-1].dpop is None):
            raise ConfigurationError(
                "where one of the verifiers has dpop=, the last must, and all with one origin"
            )
        self._verifiers: Mapping[str, V] = MappingProxyType(by_issuer)
        self._last: V = found[-1]

    def __repr__(self) -> str:
        return f"AnyIssuer({list(self._verifiers.values())!r})"

    @property
    def audience(self) -> str:
        """What challenges tell a caller to ask a token for: the last verifier's."""
        return self._last.audience

    @property
    def dpop(self) -> DPoP | None:
        """What is taken of tokens that are bound to a key: the last verifier's."""
        return self._last.dpop

    @overload
    def verify(
        self: "AnyIssuer[Verifier]",
        raw: str,
        *,
        scopes: Collection[str] = ...,
        presented: Presented | None = ...,
    ) -> AccessToken: ...

    @overload
    def verify(
        self: "AnyIssuer[AsyncVerifier]",
        raw: str,
        *,
        scopes: Collection[str] = ...,
        presented: Presented | None = ...,
    ) -> Coroutine[Any, Any, AccessToken]: ...

    def verify(
        self,
        raw: str,
        *,
        scopes: Collection[str] = frozenset(),
        presented: Presented | None = None,
    ) -> Any:
        """Do as `verify` of the verifier whose issuer the token names.

        Raises:
            IssuerMismatch: it names none of them.
        """
        try:
            verifier = self._route(raw)
        except TokenRefused as error:
            self._last.report(error)
            raise
        return verifier.verify(raw, scopes=scopes, presented=presented)

    @overload
    def warm(self: "AnyIssuer[Verifier]") -> None: ...

    @overload
    def warm(self: "AnyIssuer[AsyncVerifier]") -> Coroutine[Any, Any, None]: ...

    def warm(self) -> Any:
        """Warm all of them before traffic comes.

        Raises:
            KeysUnavailable: the keys of one cannot be loaded.
            RevocationsUnavailable: nor what it has revoked.
            ReplayCacheUnavailable: the replay cache of one cannot be relied on.
        """
        if isinstance(self._last, AsyncVerifier):
            return self._warm_async()
        for verifier in self._verifiers.values():
            verifier.warm()
        return None

    @property
    def awaited(self) -> bool:
        """Whether `verify` and `warm` are awaited."""
        return isinstance(self._last, AsyncVerifier)

    def still_valid(self, token: AccessToken) -> bool:
        """Say whether a token that one of them accepted may still be acted on."""
        verifier = self._verifiers.get(token.issuer)
        return verifier is not None and verifier.still_valid(token)

    def report(self, error: EphemeraError) -> None:
        """Tell the last verifier's `on_event` of a request that came to none of them."""
        self._last.report(error)

    def status(self) -> Mapping[str, VerifierStatus]:
        """Say of each, by its issuer, what readiness wants to know."""
        return {issuer: verifier.status() for issuer, verifier in self._verifiers.items()}

    def _route(self, raw: str) -> V:
        issuer = compact.parse(raw).claims.get("iss")
        verifier = self._verifiers.get(issuer) if isinstance(issuer, str) else None
        if verifier is None:
            raise IssuerMismatch(f"iss is none of {', '.join(self._verifiers)}")
        return verifier

    async def _warm_async(self) -> None:
        for verifier in self._verifiers.values():
            if isinstance(verifier, AsyncVerifier):
                await verifier.warm()


AnyVerifier = Verifier | AnyIssuer[Verifier]
AnyAsyncVerifier = AsyncVerifier | AnyIssuer[AsyncVerifier]


def check_kind(verifier: object, *, awaited: bool) -> None:
    """Refuse a verifier that could not be asked: one of the other kind would fail at each request.

    Raises:
        ConfigurationError: it is of the other kind, or no verifier.
    """
    if isinstance(verifier, AnyIssuer):
        right = verifier.awaited is awaited
    else:
        right = isinstance(verifier, AsyncVerifier if awaited else Verifier)
    if not right:
        kind = "AsyncVerifier" if awaited else "Verifier"
        raise ConfigurationError(f"verifier must be {kind}(...), or an AnyIssuer of such")
