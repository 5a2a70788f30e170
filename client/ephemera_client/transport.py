"""httpx transports that put a fresh token on each hop and each attempt.

An httpx `Auth` runs once above redirects and retries, so a token that is accepted once cannot
travel by it.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import NamedTuple, Protocol, Self
from urllib.parse import urlsplit

import httpx

from ephemera_client import bearer, token_request
from ephemera_client.dpop.prover import Prover
from ephemera_client.errors import ConfigurationError, OriginNotListed
from ephemera_client.http import CaFile, tls_context
from ephemera_client.token_request import IssuedToken
from ephemera_client.url import check_url, origin

Inner = httpx.BaseTransport
AsyncInner = httpx.AsyncBaseTransport

# A redirect inherits the extensions of its request, so by this one the next hop knows itself.
_SENT_ON = "ephemera.sent_on"
# What a stranger redirects to is the stranger's choice, so no token goes out on its word.
_STRAYED = "ephemera.strayed"

_UNAUTHORIZED = 401
_IDEMPOTENT = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PUT", "TRACE"})


@dataclass(frozen=True, slots=True)
class Target:
    """The audience that answers at an origin, and the scopes to ask for (None: all granted)."""

    audience: str
    scopes: Collection[str] | None = None


class Tokens(Protocol):
    """Where the tokens come from; `TokenClient` is one."""

    def get(
        self,
        audience: str,
        *,
        scopes: Collection[str] | None,
        timeout: float | None = None,
        instead_of: IssuedToken | None = None,
    ) -> IssuedToken:
        """Return a token that nobody else is given."""
        ...


class AsyncTokens(Protocol):
    """The same for tasks; `AsyncTokenClient` is one."""

    async def get(
        self,
        audience: str,
        *,
        scopes: Collection[str] | None,
        timeout: float | None = None,  # noqa: ASYNC109 - as TokenClient.get
        instead_of: IssuedToken | None = None,
    ) -> IssuedToken:
        """Return a token that nobody else is given."""
        ...


class _Asked(NamedTuple):
    audience: str
    scopes: frozenset[str] | None


# Hands out a token of an audience with scopes if one is there: what spares a call the coroutine.
Ready = Callable[[str, frozenset[str] | None], IssuedToken | None]


def _none_ready(_audience: str, _scopes: frozenset[str] | None) -> None:
    return None


class Routes:
    """Which request goes where with what: all that the two transports decide."""

    def __init__(
        self, targets: Mapping[str, Target], *, unencrypted_hosts: Collection[str]
    ) -> None:
        self._targets: dict[tuple[str, bytes], _Asked] = {}
        for url, target in targets.items():
            check_url(url, unencrypted_hosts=unencrypted_hosts, what="a target's origin")
            if urlsplit(url).path not in {"", "/"} or "?" in url:
                raise ConfigurationError(f"target {url} must be an origin, without path or query")
            wanted = token_request.want(target.audience, target.scopes, None)
            scheme, _, place = origin(url).partition("://")
            self._targets[scheme, place.encode()] = _Asked(wanted.audience, wanted.scopes)
        self._listed = [origin(url) for url in targets]

    def target(self, request: httpx.Request) -> _Asked | None:
        """Return what to ask a token for; None sends a redirected request on without one.

        Raises:
            OriginNotListed: the caller itself addressed a stranger.
            ConfigurationError: the caller brought an Authorization header for a listed origin.
        """
        target = self._targets.get((request.url.scheme, request.url.netloc))
        if _STRAYED in request.extensions:
            return None
        if target is None and _SENT_ON not in request.extensions:
            raise OriginNotListed(
                "no target is listed for the origin of this request; "
                f"listed are {', '.join(self._listed) or 'none'}"
            )
        if target is None:
            request.extensions[_STRAYED] = True
        else:
            # Asked by name, the headers would decode themselves first, which costs more than this.
            if b"authorization" in [name.lower() for name, _ in request.headers.raw]:
                raise ConfigurationError(
                    "the request has an Authorization header already: this transport brings one"
                )
            request.extensions[_SENT_ON] = True
        return target


def _with_token(request: httpx.Request, token: IssuedToken, prover: Prover | None) -> httpx.Request:
    # A copy: on the caller's own request the token would outlive the call, in logs and retries.
    # Made by the constructor, it would cost more than all the rest of this module.
    headers = httpx.Headers(request.headers)
    if prover is None:
        headers["Authorization"] = f"Bearer {token}"
    else:
        headers["Authorization"] = f"DPoP {token}"
        headers["DPoP"] = prover.proof(request.method, _address(request), token)
    sent = httpx.Request.__new__(httpx.Request)
    sent.method, sent.url, sent.headers = request.method, request.url, headers
    sent.stream, sent.extensions = request.stream, request.extensions
    return sent


def _address(request: httpx.Request) -> str:
    url = request.url
    return f"{url.scheme}://{url.netloc.decode()}{url.raw_path.decode()}"


def _patience(request: httpx.Request) -> float | None:
    """Return the seconds to wait for a token: as many as for a connection out of a pool."""
    limits = request.extensions.get("timeout")
    return limits.get("pool") if isinstance(limits, dict) else None


class _Again(NamedTuple):
    """The same request may go out once more, with a token of the pool or one instead of this."""

    instead_of: IssuedToken | None


def _again(
    request: httpx.Request, response: httpx.Response, token: IssuedToken, prover: Prover | None
) -> _Again | None:
    """Say whether, and with what, a request that was answered by a 401 may go out once more."""
    if not isinstance(request.stream, httpx.ByteStream):
        return None
    challenge = bearer.challenge(
        response.headers.get_list("www-authenticate"), scheme="dpop" if prover else "bearer"
    )
    if challenge.get("error") == "use_dpop_nonce" and "dpop-nonce" in response.headers:
        # Nobody knows whether that API has accepted the token before it looked at the proof.
        return _Again(instead_of=None)
    if challenge.get("error") != "invalid_token":
        return None
    if challenge.get("reason") != "token_replayed":
        return _Again(instead_of=token)
    # Someone showed this token before. If that was a retry below, the call may have been carried
    # out already.
    return _Again(instead_of=None) if request.method in _IDEMPOTENT else None


class TokenTransport(httpx.BaseTransport):
    """Puts a token on each request to a listed origin; see `TokenClient.transport`.

    A request to another origin raises `OriginNotListed`, but a redirect there is followed without
    a token, and so is whatever that one redirects to. An Authorization header of the caller's own
    is a `ConfigurationError`. A 401 that says `invalid_token` gets one fresh token if the body is
    held in memory; where the reason is `token_replayed`, only for idempotent methods. With a client
    whose tokens are bound to its key, each request carries a proof of its own, with the nonce that
    its origin gave last, and a 401 that asks for a nonce gets one fresh token too. Closing it
    closes `inner`.
    """

    def __init__(  # noqa: PLR0913 - its parts, each by its name
        self,
        tokens: Tokens,
        targets: Mapping[str, Target],
        *,
        inner: Inner | None = None,
        ready: Ready = _none_ready,
        ca_file: CaFile = None,
        unencrypted_hosts: Collection[str] = (),
        prover: Prover | None = None,
    ) -> None:
        self._tokens = tokens
        self._prover = prover
        self._ready = ready
        self._routes = Routes(targets, unencrypted_hosts=unencrypted_hosts)
        self._inner = inner or httpx.HTTPTransport(verify=tls_context(ca_file), trust_env=False)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send the request with a token, or a redirected one elsewhere without."""
        target = self._routes.target(request)
        if target is None:
            return self._inner.handle_request(request)
        prover = self._prover
        token = self._ready(*target) or self._token(request, target, None)
        response = self._inner.handle_request(_with_token(request, token, prover))
        if prover is not None:
            prover.learn(_address(request), response.headers.get("dpop-nonce"))
        if response.status_code == _UNAUTHORIZED and (
            again := _again(request, response, token, prover)
        ):
            response.close()
            token = self._token(request, target, again.instead_of)
            response = self._inner.handle_request(_with_token(request, token, prover))
        return response

    def _token(
        self, request: httpx.Request, target: _Asked, instead_of: IssuedToken | None
    ) -> IssuedToken:
        return self._tokens.get(
            target.audience,
            scopes=target.scopes,
            timeout=_patience(request),
            instead_of=instead_of,
        )

    def close(self) -> None:
        """Close `inner`."""
        self._inner.close()

    def __enter__(self) -> Self:
        self._inner.__enter__()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        self._inner.__exit__(exc_type, exc_value, traceback)


class AsyncTokenTransport(httpx.AsyncBaseTransport):
    """Does for tasks what `TokenTransport` does for threads."""

    def __init__(  # noqa: PLR0913 - its parts, each by its name
        self,
        tokens: AsyncTokens,
        targets: Mapping[str, Target],
        *,
        inner: AsyncInner | None = None,
        ready: Ready = _none_ready,
        ca_file: CaFile = None,
        unencrypted_hosts: Collection[str] = (),
        prover: Prover | None = None,
    ) -> None:
        self._tokens = tokens
        self._prover = prover
        self._ready = ready
        self._routes = Routes(targets, unencrypted_hosts=unencrypted_hosts)
        self._inner = inner or httpx.AsyncHTTPTransport(
            verify=tls_context(ca_file), trust_env=False
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send the request with a token, or a redirected one elsewhere without."""
        target = self._routes.target(request)
        if target is None:
            return await self._inner.handle_async_request(request)
        prover = self._prover
        token = self._ready(*target) or await self._token(request, target, None)
        response = await self._inner.handle_async_request(_with_token(request, token, prover))
        if prover is not None:
            prover.learn(_address(request), response.headers.get("dpop-nonce"))
        if response.status_code == _UNAUTHORIZED and (
            again := _again(request, response, token, prover)
        ):
            await response.aclose()
            token = await self._token(request, target, again.instead_of)
            response = await self._inner.handle_async_request(_with_token(request, token, prover))
        return response

    async def _token(
        self, request: httpx.Request, target: _Asked, instead_of: IssuedToken | None
    ) -> IssuedToken:
        return await self._tokens.get(
            target.audience,
            scopes=target.scopes,
            timeout=_patience(request),
            instead_of=instead_of,
        )

    async def aclose(self) -> None:
        """Close `inner`."""
        await self._inner.aclose()

    async def __aenter__(self) -> Self:
        await self._inner.__aenter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        await self._inner.__aexit__(exc_type, exc_value, traceback)
