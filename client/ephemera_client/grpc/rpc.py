"""One RPC: what its method needs, the token that it brought, and the status that refuses it."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from typing import Any, NamedTuple

import grpc

from ephemera_client import admission, bearer
from ephemera_client.errors import ConfigurationError, TokenReplayed
from ephemera_client.scope import scope_set
from ephemera_client.token import AccessToken

Scopes = Iterable[str] | Mapping[str, Iterable[str]] | Callable[[str], Iterable[str] | None]
"""Of all methods, or by the full name of each, such as `/billing.Invoices/List`."""

_STATUS = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    503: grpc.StatusCode.UNAVAILABLE,
}


class Status(NamedTuple):
    """How an RPC ends that is refused; the details are the error's `code`, or say no more."""

    code: grpc.StatusCode
    details: str
    trailing_metadata: tuple[tuple[str, str], ...] = ()


NOT_SERVED = Status(grpc.StatusCode.UNIMPLEMENTED, "method not served")


def refuse(error: bearer.Refused, *, realm: str) -> Status:
    """Return the status that `error` comes to; its metadata are those of the HTTP response.

    A caller with a `retryPolicy` is pushed back (gRFC A6) from trying again what another token
    would not mend, or what may have been carried out already.
    """
    refusal = bearer.refuse(error, realm=realm)
    told = {"www-authenticate", "retry-after"}
    metadata = tuple(header for header in refusal.headers if header[0] in told)
    if not _another_may_do(error, metadata):
        metadata += (("grpc-retry-pushback-ms", "-1"),)
    return Status(_STATUS[refusal.status], error.code, metadata)


def _another_may_do(error: bearer.Refused, metadata: tuple[tuple[str, str], ...]) -> bool:
    if _STATUS[error.status] is grpc.StatusCode.UNAVAILABLE:
        return True
    challenge = bearer.challenge([value for _, value in metadata])
    return challenge.get("error") == "invalid_token" and not isinstance(error, TokenReplayed)


def scopes_of(scopes: Scopes) -> Callable[[str], frozenset[str] | None]:
    """Return what tells the scopes of a method; None for one that is not to be served.

    Raises:
        ConfigurationError: a scope is none.
    """
    if isinstance(scopes, Mapping):
        return {method: scope_set(needed) for method, needed in scopes.items()}.get
    if callable(scopes):
        ask = scopes

        def asked(method: str) -> frozenset[str] | None:
            needed = ask(method)
            return None if needed is None else scope_set(needed)

        return asked
    needed = scope_set(scopes)
    return lambda _: needed


def authorization(metadata: Iterable[tuple[str, str | bytes]] | None) -> list[str | bytes]:
    """Return the Authorization of an RPC's metadata."""
    return [value for name, value in metadata or () if name == "authorization"]


class _Rpc(NamedTuple):
    """An RPC under way, and the task that it runs in: another task's is no RPC of its own."""

    task: asyncio.Task[Any] | None
    place: admission.Place


_rpc: ContextVar[_Rpc | None] = ContextVar("ephemera_rpc", default=None)


def place(*, task: asyncio.Task[Any] | None = None) -> admission.Place:
    """Return where the token of the RPC at hand is kept.

    A sync server runs each RPC in a context of its own, an aio server each in its own task, whose
    context may be a copy of one in which the server itself was started.
    """
    rpc = _rpc.get()
    if rpc is None or rpc.task is not task:
        rpc = _Rpc(task, {})
        _rpc.set(rpc)
    return rpc.place


def access_token() -> AccessToken:
    """Return the token that was accepted for the RPC at hand.

    Raises:
        ConfigurationError: nothing demanded a token of it, or this is not the thread or task that
            handles it, nor one begun by that with a copy of its context.
    """
    rpc = _rpc.get()
    if rpc is None:
        raise ConfigurationError("no RequireToken is among the server's interceptors")
    return admission.access_token(rpc.place)
