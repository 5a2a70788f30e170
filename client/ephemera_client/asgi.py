"""Tokens at the door of an ASGI application, whatever the framework."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from typing import Any

from ephemera_client import bearer
from ephemera_client.any_issuer import AnyIssuer
from ephemera_client.errors import ConfigurationError, InsufficientScope
from ephemera_client.scope import scope_set
from ephemera_client.token import AccessToken
from ephemera_client.verifier import AsyncVerifier

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

_ACCEPTED = "ephemera.token"
_ACCEPTED_BY = "ephemera.verifier"

_POLICY_VIOLATION = 1008
_TRY_AGAIN_LATER = 1013
_UNAVAILABLE = 503


class RequireToken:
    """Middleware that lets in requests and WebSocket handshakes with an acceptable token.

    The token is verified and claimed once per request and then kept on it, see `access_token`;
    a further `RequireToken` of the same verifier around a part of the application only demands
    its scopes. An `InsufficientScope` that the application raises before it has answered becomes
    the 403. Under Starlette, give it to `Middleware`: around the whole application it would come
    after Starlette's own 500.
    """

    def __init__(
        self,
        app: Application,
        verifier: AsyncVerifier | AnyIssuer[AsyncVerifier],
        *,
        scopes: Iterable[str] = (),
    ) -> None:
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
        answered = False

        async def watched_send(message: Message) -> None:
            nonlocal answered
            answered = True
            await send(message)

        try:
            await self._admit(scope)
        except bearer.REFUSALS as error:
            await self._refuse(error, scope, send)
            return
        try:
            await self._app(scope, receive, watched_send)
        except InsufficientScope as error:
            if answered:
                raise
            await self._refuse(error, scope, send)

    async def _admit(self, scope: Scope) -> None:
        if scope.get(_ACCEPTED_BY) is self._verifier:
            access_token(scope).require(*self._scopes)
            return
        authorization = [value for name, value in scope["headers"] if name == b"authorization"]
        raw = bearer.extract(authorization)
        scope[_ACCEPTED] = await self._verifier.verify(raw, scopes=self._scopes)
        scope[_ACCEPTED_BY] = self._verifier

    async def _refuse(self, error: bearer.Refused, scope: Scope, send: Send) -> None:
        refusal = bearer.refuse(error, realm=self._verifier.audience)
        prefix = ""
        if scope["type"] == "websocket":
            prefix = "websocket."
            if "websocket.http.response" not in scope.get("extensions", {}):
                later = refusal.status == _UNAVAILABLE
                code = _TRY_AGAIN_LATER if later else _POLICY_VIOLATION
                await send({"type": "websocket.close", "code": code, "reason": error.code})
                return
        headers = [(name.encode(), value.encode("latin-1")) for name, value in refusal.headers]
        await send(
            {
                "type": f"{prefix}http.response.start",
                "status": refusal.status,
                "headers": headers,
            }
        )
        await send({"type": f"{prefix}http.response.body", "body": refusal.body})


def access_token(scope: Mapping[str, Any]) -> AccessToken:
    """Return the token that `RequireToken` accepted for this request, given its ASGI scope.

    Raises:
        ConfigurationError: there is no `RequireToken` around the application.
    """
    token = scope.get(_ACCEPTED)
    if not isinstance(token, AccessToken):
        raise ConfigurationError("no RequireToken is around this part of the application")
    return token
