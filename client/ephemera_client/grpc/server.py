"""Interceptors that let in RPCs with an acceptable token."""

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, NoReturn

import grpc
from grpc import aio

from ephemera_client import admission, bearer
from ephemera_client.any_issuer import AnyAsyncVerifier, AnyVerifier, check_kind
from ephemera_client.errors import ConfigurationError, InsufficientScope
from ephemera_client.grpc import rpc
from ephemera_client.grpc.rpc import NOT_SERVED, Scopes, Status

if TYPE_CHECKING:
    Handler = grpc.RpcMethodHandler[Any, Any]
    AsyncContext = aio.ServicerContext[Any, Any]

Behavior = Callable[[Any, Any], Any]


class RequireToken(grpc.ServerInterceptor):
    """Lets in RPCs with an acceptable token, for `grpc.server(..., interceptors=[...])`.

    The token is verified and claimed once per RPC, when it begins: of a stream, before its first
    message is read. It is verified in the server's pool, where gRPC has by then read the one
    message of a unary request. An `InsufficientScope` that the handler raises becomes
    PERMISSION_DENIED. See `rpc.refuse` for the statuses.

    Args:
        verifier: a `Verifier`, or an `AnyIssuer` of such.
        scopes: what every RPC must have; or a mapping, or a function, from the full name of a
            method. A method that it does not name (of which it returns None) is not served.
        unguarded: full names of methods that need no token, such as `/grpc.health.v1.Health/Check`.

    Raises:
        ConfigurationError: the verifier is one that is awaited, or a scope is none.
    """

    def __init__(
        self, verifier: AnyVerifier, *, scopes: Scopes = (), unguarded: Collection[str] = ()
    ) -> None:
        check_kind(verifier, awaited=False)
        self._verifier = verifier
        self._scopes = rpc.scopes_of(scopes)
        self._unguarded = _methods(unguarded)

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], "Handler | None"],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> "Handler | None":
        """Put the door before the handler: gRPC's own method, in a thread that must not wait."""
        details = handler_call_details
        handler = continuation(details)
        if details.method in self._unguarded:
            return handler
        needed = self._scopes(details.method)
        authorization = rpc.authorization(details.invocation_metadata)

        def admit(context: grpc.ServicerContext) -> None:
            try:
                admission.admit(rpc.place(), authorization, self._verifier, needed or frozenset())
            except bearer.REFUSALS as error:
                _end(context, self._refusal(error))
            if handler is None or needed is None:
                _end(context, NOT_SERVED)

        def unary(request: Any, context: grpc.ServicerContext) -> Any:
            admit(context)
            try:
                return behavior(request, context)
            except InsufficientScope as error:
                _end(context, self._refusal(error))

        def stream(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
            admit(context)
            try:
                yield from behavior(request, context)
            except InsufficientScope as error:
                _end(context, self._refusal(error))

        if handler is None:
            return grpc.stream_stream_rpc_method_handler(stream)
        behavior = _behavior(handler)
        return _with(handler, stream if handler.response_streaming else unary)

    def _refusal(self, error: bearer.Refused) -> Status:
        return rpc.refuse(error, realm=self._verifier.audience)


class AsyncRequireToken(aio.ServerInterceptor):
    """Does for `grpc.aio.server` what `RequireToken` does, with an `AsyncVerifier`.

    Here a token is verified before any message is read.
    """

    def __init__(
        self, verifier: AnyAsyncVerifier, *, scopes: Scopes = (), unguarded: Collection[str] = ()
    ) -> None:
        check_kind(verifier, awaited=True)
        self._verifier = verifier
        self._scopes = rpc.scopes_of(scopes)
        self._unguarded = _methods(unguarded)

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable["Handler | None"]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> "Handler | None":
        """Admit or refuse an RPC: gRPC's own method."""
        details = handler_call_details
        if details.method in self._unguarded:
            return await continuation(details)
        needed = self._scopes(details.method)
        authorization = rpc.authorization(details.invocation_metadata)
        place = rpc.place(task=asyncio.current_task())
        try:
            await admission.admit_async(place, authorization, self._verifier, needed or frozenset())
        except bearer.REFUSALS as error:
            return _ending(self._refusal(error))
        handler = None if needed is None else await continuation(details)
        return _ending(NOT_SERVED) if handler is None else self._guarded(handler)

    def _guarded(self, handler: "Handler") -> "Handler":
        behavior = _behavior(handler)

        async def answered(request: Any, context: "AsyncContext") -> Any:
            try:
                return await behavior(request, context)
            except InsufficientScope as error:
                await context.abort(*self._refusal(error))

        async def generated(request: Any, context: "AsyncContext") -> AsyncIterator[Any]:
            try:
                async with aclosing(behavior(request, context)) as messages:
                    async for message in messages:
                        yield message
            except InsufficientScope as error:
                await context.abort(*self._refusal(error))

        if inspect.isasyncgenfunction(behavior):
            return _with(handler, generated)
        if inspect.iscoroutinefunction(behavior):
            return _with(handler, answered)
        raise ConfigurationError("handlers of an aio server must be async functions")

    def _refusal(self, error: bearer.Refused) -> Status:
        return rpc.refuse(error, realm=self._verifier.audience)


def _methods(unguarded: Collection[str]) -> frozenset[str]:
    if isinstance(unguarded, str):
        raise ConfigurationError("unguarded must be a set of methods, not one string")
    return frozenset(unguarded)


def _kind(handler: "Handler") -> str:
    kinds = {False: "unary", True: "stream"}
    return f"{kinds[handler.request_streaming]}_{kinds[handler.response_streaming]}"


def _behavior(handler: "Handler") -> Behavior:
    behavior: Behavior = getattr(handler, _kind(handler))
    return behavior


def _with(handler: "Handler", behavior: Behavior) -> "Handler":
    make: Callable[..., Handler] = getattr(grpc, f"{_kind(handler)}_rpc_method_handler")
    return make(behavior, handler.request_deserializer, handler.response_serializer)


def _end(context: grpc.ServicerContext, status: Status) -> NoReturn:
    context.set_trailing_metadata(status.trailing_metadata)
    context.abort(status.code, status.details)


def _ending(status: Status) -> "Handler":
    async def end(_request: Any, context: "AsyncContext") -> None:
        await context.abort(*status)

    # As a stream it ends before a message is read, whatever the method is.
    return grpc.stream_stream_rpc_method_handler(end)
