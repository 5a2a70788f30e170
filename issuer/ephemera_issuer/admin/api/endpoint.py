"""A request of the admin API on its way to an operation, and the answer on its way back."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import anyio
import anyio.to_thread
import structlog
from pydantic import TypeAdapter, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from ephemera_client.compact import strict_json
from ephemera_issuer.admin.api.call import Call
from ephemera_issuer.admin.api.conditions import Condition
from ephemera_issuer.admin.api.problems import Field, http_refusal, invalid, malformed, refusal
from ephemera_issuer.audit.actor import acting_as
from ephemera_issuer.edge.errors import NO_STORE
from ephemera_issuer.edge.posted import MAXIMUM_BODY
from ephemera_issuer.errors import IssuerError
from ephemera_keys import KeysError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from starlette.types import Receive, Scope, Send

    from ephemera_issuer.admin.api.authentication import AdminAuthentication
    from ephemera_issuer.admin.api.call import Administered, Operation
    from ephemera_issuer.registry.entries import Admin

_MEDIA_TYPE = "application/json"


class Act(NamedTuple):
    """What an administrator asked for, and the status that it was answered with.

    `path` are the parameters of the path, which name what it was done to. `administrator` is None
    where nobody has proved to be one, and `path` is empty then.
    """

    administrator: str | None
    operation: str
    path: Mapping[str, str]
    reading: bool
    dry_run: bool
    status: int


class Witness(Protocol):
    """Told of every request of the admin API, on the event loop: it must not wait or raise."""

    def acted(self, act: Act) -> None:
        """A request is about to be answered."""
        ...


class LogWitness:
    """Writes a line for each request that may change something, and for each that is refused."""

    def acted(self, act: Act) -> None:
        """Write it."""
        if act.reading and act.status < HTTPStatus.BAD_REQUEST:
            return
        structlog.get_logger().info(
            "administered",
            administrator=act.administrator,
            operation=act.operation,
            dry_run=act.dry_run,
            status=act.status,
            **{f"of_{name}": value for name, value in act.path.items()},
        )


@dataclass(slots=True)
class _Asked:
    """What is known of a request as far as it has come."""

    admin: Admin | None = None
    dry_run: bool = False


class Endpoint:
    """The operations of one path, by method."""

    def __init__(
        self,
        operations: Mapping[str, Operation],
        *,
        issuer: Administered,
        authentication: AdminAuthentication,
        turns: anyio.CapacityLimiter,
        witnesses: Collection[Witness],
    ) -> None:
        self._operations = operations
        self._issuer = issuer
        self._authentication = authentication
        self._turns = turns
        self._witnesses = tuple(witnesses)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; a caller that goes away before its body is complete gets none."""
        with contextlib.suppress(ClientDisconnect):
            response = await self._answer(Request(scope, receive))
            await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        # A HEAD is a GET whose body the server leaves out.
        operation = self._operations["GET" if request.method == "HEAD" else request.method]
        asked = _Asked()
        status = HTTPStatus.INTERNAL_SERVER_ERROR.value
        try:
            response = await self._respond(request, operation, asked)
            status = response.status_code
        finally:
            self._tell(operation, request, asked, status)
        return response

    async def _respond(self, request: Request, operation: Operation, asked: _Asked) -> Response:
        try:
            values = request.headers.getlist("authorization")
            asked.admin = await self._authentication.identify(values)
            call = await self._read(request, operation, asked.admin)
            asked.dry_run = getattr(call.query, "dry_run", False)
            return await self._do(operation, call)
        except (IssuerError, KeysError) as error:
            return refusal(error)
        except HTTPException as error:
            return http_refusal(error)

    def _tell(self, operation: Operation, request: Request, asked: _Asked, status: int) -> None:
        act = Act(
            None if asked.admin is None else asked.admin.id,
            operation.name,
            {} if asked.admin is None else request.path_params,
            operation.method == "GET",
            asked.dry_run,
            status,
        )
        for witness in self._witnesses:
            witness.acted(act)

    async def _read(self, request: Request, operation: Operation, admin: Admin) -> Call:
        headers = request.headers
        return Call(
            issuer=self._issuer,
            admin=admin,
            path=request.path_params,
            query=_query(request, operation),
            body=None if operation.body is None else await _body(request, operation.body),
            condition=Condition.parse(
                headers.getlist("if-match"), headers.getlist("if-none-match")
            ),
        )

    async def _do(self, operation: Operation, call: Call) -> Response:
        with acting_as(f"admin:{call.admin.id}"):
            answer = await anyio.to_thread.run_sync(
                partial(operation.do, call), limiter=self._turns
            )
        if answer.changed:
            await anyio.to_thread.run_sync(self._refresh, limiter=self._turns)
        headers = dict(NO_STORE)
        if answer.tag is not None:
            headers["ETag"] = answer.tag
            if operation.method == "GET" and call.condition.known & {answer.tag, "*"}:
                return Response(status_code=304, headers=headers)
        return Response(
            answer.document.model_dump_json(exclude_unset=True),
            answer.status,
            headers,
            _MEDIA_TYPE,
        )

    def _refresh(self) -> None:
        """Let this replica answer from what was changed; others hear of it by themselves."""
        try:
            self._issuer.keeper.refresh()
        except IssuerError as error:
            structlog.get_logger().warning("snapshot_not_refreshed", reason=str(error))


def _query(request: Request, operation: Operation) -> Any:
    found: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if name in found:
            raise malformed("a parameter is there twice")
        found[name] = value
    return _checked(operation.query, found, "query")


async def _body(request: Request, kind: Any) -> Any:
    _require_json(request)
    content = bytearray()
    async for chunk in request.stream():
        content += chunk
        if len(content) > MAXIMUM_BODY:
            raise HTTPException(413, f"the body must be at most {MAXIMUM_BODY} bytes")
    try:
        document = strict_json(bytes(content))
    except ValueError:
        # The cause may quote what was sent.
        raise malformed("the body is not JSON, in UTF-8 and without a member twice") from None
    return _checked(kind, document, "body")


def _require_json(request: Request) -> None:
    types = request.headers.getlist("content-type")
    if len(types) != 1 or types[0].partition(";")[0].strip().lower() != _MEDIA_TYPE:
        raise HTTPException(415, f"Content-Type must be {_MEDIA_TYPE}", {"Accept": _MEDIA_TYPE})
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise HTTPException(415, "the body must not be compressed", {"Accept-Encoding": "identity"})


def _checked(kind: Any, found: object, where: str) -> Any:
    try:
        return TypeAdapter(kind).validate_python(found)
    except ValidationError as error:
        details = error.errors(include_url=False, include_context=False, include_input=False)
    # Raised out here, so that no cause goes along, which quotes what was sent.
    raise invalid(
        [_field(where, detail["loc"], detail["type"], detail["msg"]) for detail in details]
    )


def _field(where: str, place: tuple[int | str, ...], kind: str, message: str) -> Field:
    if kind == "extra_forbidden":
        # Its name is the sender's.
        return Field(field=where, message="has a member that is none")
    names = [str(name) for name in place if isinstance(name, int) or name.islower()]
    return Field(field=".".join([where, *names]), message=message.removeprefix("Value error, "))
