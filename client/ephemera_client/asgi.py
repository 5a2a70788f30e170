"""Tokens at the door of an ASGI application, whatever the framework."""

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any
from urllib.parse import quote

from ephemera_client import admission, bearer
from ephemera_client.admission import PATH_SAFE, access_token
from ephemera_client.any_issuer import AnyAsyncVerifier, check_kind
from ephemera_client.errors import ConfigurationError, InsufficientScope
from ephemera_client.scope import scope_set

__all__ = ["Application", "Message", "Receive", "RequireToken", "Scope", "Send", "access_token"]

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]


class RequireToken:
    """Middleware that lets in requests and WebSocket handshakes with an acceptable token.

    The token is verified and claimed once per request and then kept on it, see `access_token`;
    a further `RequireToken` of the same verifier around a part of the application only demands
    its scopes. An `InsufficientScope` that the application raises before it has answered becomes
    the 403, and on an open WebSocket its end. Under Starlette, give it to `Middleware`: around the
    whole application it would come after Starlette's own 500.

    Raises:
        ConfigurationError: the verifier is not one that is awaited, or a scope is none.
    """

    def __init__(
        self, app: Application, verifier: AnyAsyncVerifier, *, scopes: Iterable[str] = ()
    ) -> None:
        check_kind(verifier, awaited=True)
        self._app = app
        self._verifier = verifier
        self._scopes = scope_set(scopes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Admit or refuse a request or a handshake; the lifespan passes through.

        Raises:
            ConfigurationError: it is of another kind, such as only a later ASGI knows.
        """
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] not in {"http", "websocket"}:
            raise ConfigurationError(f"RequireToken cannot guard what ASGI calls {scope['type']}")
        last_sent = ""

        async def watched_send(message: Message) -> None:
            nonlocal last_sent
            last_sent = message["type"]
            await send(message)

        try:
            authorization = [value for name, value in scope["headers"] if name == b"authorization"]
            await admission.admit_async(scope, authorization, self._verifier, self._scopes, seen)
        except bearer.REFUSALS as error:
            await self._refuse(error, scope, send)
            return
        try:
            await self._app(scope, receive, watched_send)
        except InsufficientScope as error:
            if last_sent in {"websocket.accept", "websocket.send"}:
                await send(_close(error))
                return
            if last_sent:
                raise
            await self._refuse(error, scope, send)

    async def _refuse(self, error: bearer.Refused, scope: Scope, send: Send) -> None:
        prefix = ""
        if scope["type"] == "websocket":
            prefix = "websocket."
            if "websocket.http.response" not in scope.get("extensions", {}):
                await send(_close(error))
                return
        refusal = admission.refuse(error, self._verifier)
        headers = [(name.encode(), value.encode("latin-1")) for name, value in refusal.headers]
        await send(
            {
                "type": f"{prefix}http.response.start",
                "status": refusal.status,
                "headers": headers,
            }
        )
        await send({"type": f"{prefix}http.response.body", "body": refusal.body})


def seen(scope: Scope) -> admission.Seen:
    """Tell what a proof is compared with; a WebSocket handshake is a GET."""
    raw = scope.get("raw_path")
    return admission.Seen(
        scope.get("method", "GET"),
        raw.decode("latin-1") if raw is not None else quote(scope["path"], safe=PATH_SAFE),
        [value for name, value in scope["headers"] if name == b"dpop"],
    )


def _close(error: bearer.Refused) -> Message:
    return {"type": "websocket.close", "code": bearer.close_code(error), "reason": error.code}
