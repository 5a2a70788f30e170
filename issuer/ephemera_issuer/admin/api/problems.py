"""Every refusal of the admin API as an HTTP response: a problem document (RFC 9457).

`code` is stable and for programs, `detail` is for people; `fields` says what is wrong where.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

import structlog
from pydantic import BaseModel, ConfigDict
from starlette.responses import Response

from ephemera_issuer.edge.errors import NO_STORE
from ephemera_issuer.errors import (
    DatabaseUnusable,
    EntryInUse,
    IssuerError,
    KeysConflict,
    PreconditionFailed,
    RegistryInvalid,
    RequestRefused,
    RevocationRefused,
    RollRefused,
    Unavailable,
    UnknownAudience,
    UnknownClient,
)
from ephemera_keys import KeysError, TransitionRefused, UnknownKid

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from starlette.exceptions import HTTPException

MEDIA_TYPE = "application/problem+json"
CHALLENGE = 'Bearer realm="ephemera-admin"'
RETRY_AFTER = "1"

_STATUSES: dict[type[IssuerError | KeysError], tuple[int, str]] = {
    UnknownClient: (404, "unknown_client"),
    UnknownAudience: (404, "unknown_audience"),
    UnknownKid: (404, "unknown_key"),
    RollRefused: (409, "roll_refused"),
    EntryInUse: (409, "in_use"),
    TransitionRefused: (409, "rotation_refused"),
    KeysConflict: (409, "keys_changed"),
    PreconditionFailed: (412, "precondition_failed"),
    RevocationRefused: (422, "revocation_refused"),
    RegistryInvalid: (422, "invalid"),
    DatabaseUnusable: (503, "database_unavailable"),
}
_HTTP_CODES = {404: "not_found", 405: "method_not_allowed", 413: "too_large", 415: "not_json"}


class Field(BaseModel):
    """One thing wrong with a request: where, such as `body.scopes`, and what."""

    model_config = ConfigDict(title="Field", json_schema_extra={"additionalProperties": False})

    field: str
    message: str


class Problem(BaseModel):
    """Why a request was refused."""

    model_config = ConfigDict(json_schema_extra={"additionalProperties": False})

    title: str
    status: int
    code: str
    detail: str
    fields: list[Field] | None = None


class ApiRefused(IssuerError):
    """A request of the admin API is refused for what it is, whatever it asks for."""

    def __init__(
        self, status: int, code: str, detail: str, *, fields: Sequence[Field] = ()
    ) -> None:
        self.status = status
        self.code = code
        self.detail = detail
        self.fields = list(fields)
        super().__init__(detail)


def malformed(detail: str) -> ApiRefused:
    """Refuse what cannot be read."""
    return ApiRefused(400, "malformed", detail)


def invalid(fields: Sequence[Field]) -> ApiRefused:
    """Refuse what can be read, and cannot be."""
    return ApiRefused(422, "invalid", "the request has wrong values", fields=fields)


def not_found(what: str) -> ApiRefused:
    """Refuse for want of what the path names."""
    return ApiRefused(404, "not_found", f"there is no such {what}")


def refusal(error: IssuerError | KeysError) -> Response:
    """Answer with an error of ours."""
    if isinstance(error, ApiRefused):
        return _response(error.status, error.code, error.detail, fields=error.fields)
    if isinstance(error, Unavailable):
        headers = {"Retry-After": str(error.retry_after)}
        return _response(503, error.error, error.description, headers=headers)
    if isinstance(error, RequestRefused):
        headers = {"WWW-Authenticate": CHALLENGE}
        return _response(401, "unauthenticated", error.description, headers=headers)
    # A sealing key that was changed under a running issuer, say: nobody's request is wrong.
    otherwise = (503, "unavailable")
    status, code = next(
        (known for kind, known in _STATUSES.items() if isinstance(error, kind)), otherwise
    )
    fields = []
    if isinstance(error, RegistryInvalid):
        fields = [Field(field=one.field, message=one.message) for one in error.problems]
    headers = {"Retry-After": RETRY_AFTER} if status == HTTPStatus.SERVICE_UNAVAILABLE else {}
    detail = "the request has wrong values" if fields else _detail(error, status)
    return _response(status, code, detail, fields=fields, headers=headers)


def _detail(error: IssuerError | KeysError, status: int) -> str:
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        # Where the database is, and what it says, is for the log.
        structlog.get_logger().warning("admin_request_unavailable", reason=str(error))
        return "what the answer needs cannot be read or written just now; the issuer's log says why"
    return str(error)


def http_refusal(error: HTTPException) -> Response:
    """Answer for what is wrong with the HTTP."""
    code = _HTTP_CODES.get(error.status_code, "refused")
    return _response(error.status_code, code, error.detail, headers=error.headers or {})


def failure() -> Response:
    """Answer for an error that nobody foresaw; the server logs it."""
    return _response(500, "failed", "the issuer failed; its log says why")


def _response(
    status: int,
    code: str,
    detail: str,
    *,
    fields: Sequence[Field] = (),
    headers: Mapping[str, str] | None = None,
) -> Response:
    document = Problem(
        title=HTTPStatus(status).phrase,
        status=status,
        code=code,
        detail=detail,
        fields=list(fields) or None,
    )
    return Response(
        document.model_dump_json(exclude_none=True),
        status,
        {**NO_STORE, **(headers or {})},
        MEDIA_TYPE,
    )
