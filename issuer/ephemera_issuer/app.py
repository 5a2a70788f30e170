"""The issuer as an ASGI application."""

from __future__ import annotations

import contextlib
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import anyio
from starlette.applications import Starlette
from starlette.routing import Route

from ephemera_client import instant
from ephemera_issuer.authentication import Authentication
from ephemera_issuer.authentication.client_keys import ClientKeys
from ephemera_issuer.edge.errors import HANDLERS, refusal
from ephemera_issuer.edge.feed import FeedEndpoint, Watched
from ephemera_issuer.edge.health import alive, readiness_endpoint
from ephemera_issuer.edge.introspection import introspection
from ephemera_issuer.edge.keys import keys_endpoint
from ephemera_issuer.edge.metadata import (
    FEED_PATH,
    INTROSPECTION_PATH,
    KEYS_PATH,
    METADATA_PATHS,
    REVOCATION_PATH,
    TOKEN_PATH,
    metadata_endpoint,
)
from ephemera_issuer.edge.presented import PresentedToken
from ephemera_issuer.edge.revocation import Revoking, revocation
from ephemera_issuer.edge.token import TokenEndpoint
from ephemera_issuer.ending import Ending
from ephemera_issuer.errors import TooManyRequests
from ephemera_issuer.limits import Limits
from ephemera_issuer.possession import Proofs
from ephemera_issuer.proxies import Proxies
from ephemera_issuer.spent import SpentAssertions
from ephemera_issuer.turn import Turns

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection, Coroutine

    from starlette.types import Receive, Scope, Send

    from ephemera_client import DPoPNonces
    from ephemera_client.instant import Clock
    from ephemera_client.replay import ReplayCache
    from ephemera_issuer.attempt import Observer
    from ephemera_issuer.audit.auditor import Auditor

    Background: TypeAlias = Callable[[], Coroutine[Any, Any, None]]


_LIVENESS, _READINESS = "/healthz", "/readyz"
_PROBES = frozenset({_LIVENESS, _READINESS})


class Keeper(Revoking, Watched, Protocol):
    """Keeps the snapshot current."""

    async def run(self) -> None:
        """Replace it as the database changes, until cancelled."""
        ...


class _Application(Starlette):
    """Hands token requests straight to their endpoint, and routes everything else.

    Router and middleware of Starlette cost as much as the signature of a token.
    """

    def __init__(
        self,
        token: TokenEndpoint,
        *,
        limits: Limits,
        proxies: Proxies,
        clock: Clock,
        **parts: Any,
    ) -> None:
        super().__init__(**parts)
        self._token = token
        self._limits = limits
        self._proxies = proxies or None
        self._clock = clock

    # No coroutine of its own for the endpoint: it would be gone through whenever that goes on.
    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Coroutine[Any, Any, None]:
        """Answer one request, or run the lifespan."""
        if self._proxies is not None and scope["type"] == "http":
            self._proxies.resolve(scope)
        if scope.get("path") == TOKEN_PATH and scope.get("method") == "POST":
            return self._token(scope, receive, send)
        return self._other(scope, receive, send)

    async def _other(self, scope: Scope, receive: Receive, send: Send) -> None:
        error = self._turned_away(scope)
        if error is None:
            await super().__call__(scope, receive, send)
        else:
            await self._limits.hold(error)
            await refusal(error)(scope, receive, send)

    def _turned_away(self, scope: Scope) -> TooManyRequests | None:
        # Whoever asks whether the process lives must not take a flood for its death.
        if scope["type"] != "http" or scope["path"] in _PROBES:
            return None
        peer = scope.get("client")
        try:
            self._limits.admit(peer[0] if peer else None, self._clock().monotonic)
        except TooManyRequests as error:
            return error
        return None


def create_app(  # noqa: PLR0913 - the parts of an issuer
    keeper: Keeper,
    *,
    issuer: str,
    ledger: ReplayCache,
    jwks_uri_hosts: Collection[str] = (),
    background: Collection[Background] = (),
    ending: Ending | None = None,
    observers: Collection[Observer] = (),
    auditor: Auditor | None = None,
    limits: Limits | None = None,
    proxies: Proxies | None = None,
    dpop_nonces: DPoPNonces | None = None,
    clock: Clock = instant.read,
) -> Starlette:
    """Make the public application of one issuer.

    Args:
        keeper: Holds the snapshot to answer from; it runs while the application does.
        issuer: The issuer identifier, from which every published URL follows.
        ledger: Where assertions are spent: one for all processes of the issuer.
        jwks_uri_hosts: The hosts that keys of clients and of trusted issuers may be fetched from.
        background: What else runs while the application does; it never returns.
        ending: Tells that the process is about to end; by default it never is.
        observers: Told of every token request and how it ended.
        auditor: Records every token request, and may have it wait; by default nobody does.
        limits: How much callers may ask for; by default everything.
        proxies: Whose word is taken for who calls; by default nobody's.
        dpop_nonces: Proofs of possession must hold one of these; by default they need none.
        clock: Dates tokens and tells the age of the snapshot.
    """

    @contextlib.asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        async with anyio.create_task_group() as tasks:
            for work in (keeper.run, end_waits, *background):
                tasks.start_soon(work)
            yield
            tasks.cancel_scope.cancel()

    ending = ending or Ending()

    async def end_waits() -> None:
        await ending.wait()
        feed.end()

    limits = limits or Limits()
    turns = Turns()
    authentication = Authentication(
        issuer=issuer,
        keys=ClientKeys(hosts=jwks_uri_hosts, clock=clock),
        issuer_keys=ClientKeys(hosts=jwks_uri_hosts, clock=clock, whose="issuer"),
        turns=turns,
    )
    spent = SpentAssertions(ledger)
    token = TokenEndpoint(
        keeper,
        issuer=issuer,
        authentication=authentication,
        spent=spent,
        proofs=Proofs(issuer=issuer, url=issuer + TOKEN_PATH, nonces=dpop_nonces),
        clock=clock,
        observers=observers,
        auditor=auditor,
        limits=limits,
        turns=turns,
    )
    presented = partial(
        PresentedToken,
        snapshots=keeper,
        authentication=authentication,
        spent=spent,
        clock=clock,
        limits=limits,
    )
    introspect = presented(introspection(keeper, issuer=issuer, clock=clock))
    revoke = presented(revocation(keeper, issuer=issuer, clock=clock))
    feed = FeedEndpoint(keeper, clock=clock)
    metadata = metadata_endpoint(issuer)
    app = _Application(
        token,
        limits=limits,
        proxies=proxies or Proxies(),
        clock=clock,
        # The router tries them in turn, so the busiest comes first.
        routes=[
            Route(INTROSPECTION_PATH, introspect, methods=["POST"]),
            Route(KEYS_PATH, keys_endpoint(keeper)),
            Route(FEED_PATH, feed, methods=["GET"]),
            Route(REVOCATION_PATH, revoke, methods=["POST"]),
            *(Route(path, metadata) for path in METADATA_PATHS),
            Route(_LIVENESS, alive),
            Route(_READINESS, readiness_endpoint(keeper, ending=ending, clock=clock)),
            Route(TOKEN_PATH, token, methods=["POST"]),
        ],
        exception_handlers=HANDLERS,
        lifespan=lifespan,
    )
    # A redirect would be made from the Host header, and would carry a credential along.
    app.router.redirect_slashes = False
    return app
