"""Tokens for FastAPI: a dependency, shown in the API's OpenAPI document (extra `fastapi`)."""

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

from fastapi import HTTPException, Response, WebSocket
from fastapi.openapi.models import HTTPBase, HTTPBearer
from fastapi.requests import HTTPConnection
from fastapi.security import SecurityScopes
from fastapi.security.base import SecurityBase
from fastapi.websockets import WebSocketState

from ephemera_client import admission, bearer
from ephemera_client.admission import access_token
from ephemera_client.any_issuer import AnyAsyncVerifier, check_kind
from ephemera_client.asgi import seen
from ephemera_client.errors import InsufficientScope

__all__ = ["Refused", "TokenRequired", "access_token"]


class TokenRequired(SecurityBase):
    """A dependency that is the accepted token of a request or a WebSocket handshake.

    ::

        billing = TokenRequired(verifier)

        @app.get("/invoices")
        async def invoices(token: Annotated[AccessToken, Security(billing, scopes=["read"])]): ...

    Scopes are named by `Security`, on parameters, sub-dependencies, routers and the application:
    all of them are demanded and documented, and the token is claimed once, with `RequireToken`
    around the application too. An `InsufficientScope` that the route raises becomes the 403.

    Args:
        verifier: an `AsyncVerifier`, or an `AnyIssuer` of such.
        scheme_name: of the security scheme in the OpenAPI document.

    Raises:
        ConfigurationError: the verifier is not one that is awaited.
    """

    def __init__(self, verifier: AnyAsyncVerifier, *, scheme_name: str = "AccessToken") -> None:
        check_kind(verifier, awaited=True)
        self._verifier = verifier
        self.scheme_name = scheme_name
        self.model = _scheme(verifier)

    async def __call__(
        self, connection: HTTPConnection, scopes: SecurityScopes
    ) -> AsyncIterator[Any]:
        """Yield the `AccessToken`.

        Raises:
            Refused: the request is answered with a refusal.
        """
        authorization = connection.headers.getlist("authorization")
        try:
            await admission.admit_async(
                connection.scope, authorization, self._verifier, frozenset(scopes.scopes), seen
            )
        except bearer.REFUSALS as error:
            raise self._refused(error, connection.scope) from error
        try:
            yield access_token(connection)
        except InsufficientScope as error:
            raise self._refused(error, connection.scope) from error

    def _refused(self, error: bearer.Refused, scope: Mapping[str, Any]) -> "Refused":
        # Where Starlette keeps the application's handlers of exceptions. Without this one, FastAPI
        # answers all the same, but puts our body into a `detail` of its own.
        handlers, _ = scope.get("starlette.exception_handlers", ({}, {}))
        handlers.setdefault(Refused, _answer)
        return Refused(error, admission.refuse(error, self._verifier))


def _scheme(verifier: AnyAsyncVerifier) -> HTTPBase:
    about = f"An access token for {verifier.audience}"
    if verifier.dpop is not None and verifier.dpop.required:
        return HTTPBase(
            scheme="DPoP", description=f"{about}, and a proof of its key (RFC 9449, RFC 9068)."
        )
    return HTTPBearer(bearerFormat="JWT", description=f"{about} (RFC 6750, RFC 9068).")


class Refused(HTTPException):
    """A refusal on its way out: an application that answers in its own way handles this class."""

    def __init__(self, error: bearer.Refused, refusal: bearer.Refusal) -> None:
        self.error = error
        self.refusal = refusal
        status, headers, body = refusal
        kept = {name: value for name, value in headers if not name.startswith("content-")}
        super().__init__(status, json.loads(body), kept)


async def _answer(connection: HTTPConnection, refused: Refused) -> Response | None:
    status, headers, body = refused.refusal
    response = Response(body, status, dict(headers))
    if not isinstance(connection, WebSocket):
        return response
    if (
        connection.application_state is WebSocketState.CONNECTING
        and "websocket.http.response" in connection.scope.get("extensions", {})
    ):
        await connection.send_denial_response(response)
    else:
        await connection.close(bearer.close_code(refused.error), refused.error.code)
    return None
