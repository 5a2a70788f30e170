"""Every refusal as an HTTP response: the JSON of RFC 6749 §5.2, never stored by a cache."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from ephemera_issuer.errors import NonceRequired, RequestRefused, TooManyRequests, Unavailable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request

    from ephemera_issuer.errors import RefusalCode

NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}

_BAD_REQUEST = 400
_STATUSES: dict[RefusalCode, int] = {
    "invalid_client": 401,
    "too_many_requests": 429,
    "server_error": 500,
    "temporarily_unavailable": 503,
}
# RFC 9110 §11.6.1: every 401 carries a challenge.
_CHALLENGE = {"WWW-Authenticate": 'Basic realm="ephemera", charset="UTF-8"'}


def refusal(
    error: RequestRefused, *, status: int | None = None, headers: Mapping[str, str] | None = None
) -> Response:
    """Answer with `error`; `status` is for what is wrong with the HTTP and not with the form."""
    return JSONResponse(
        {"error": error.error, "error_description": error.description},
        status or _STATUSES.get(error.error, _BAD_REQUEST),
        {**NO_STORE, **_headers(error), **(headers or {})},
    )


def _headers(error: RequestRefused) -> Mapping[str, str]:
    if isinstance(error, TooManyRequests | Unavailable):
        return {"Retry-After": str(error.retry_after)}
    if isinstance(error, NonceRequired):
        return {"DPoP-Nonce": error.nonce}
    return _CHALLENGE if error.error == "invalid_client" else {}


def unavailable() -> Unavailable:
    """Refuse while the database has not been heard of for too long, or not yet."""
    return Unavailable("the registry cannot be read")


def http_refusal(error: HTTPException) -> Response:
    """Answer for what is wrong with the HTTP: no such path, method, media type, or body size."""
    return refusal(
        RequestRefused("invalid_request", error.detail),
        status=error.status_code,
        headers=error.headers,
    )


def failure() -> Response:
    """Answer for an error of our own; the server logs it, the caller learns nothing of it."""
    return refusal(RequestRefused("server_error", "the issuer failed; its log says why"))


async def _http_refusal(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - what it is registered for
    return http_refusal(error)


async def _failure(_request: Request, _error: Exception) -> Response:
    return failure()


HANDLERS = {HTTPException: _http_refusal, Exception: _failure}
"""What an application of ours answers errors with."""
