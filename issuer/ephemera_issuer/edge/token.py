"""`POST /oauth2/token`: the path that everything else is there for, so it is bare ASGI."""

from __future__ import annotations

from json.encoder import encode_basestring_ascii as quote
from typing import TYPE_CHECKING

from starlette.exceptions import HTTPException

from ephemera_issuer import form
from ephemera_issuer.authentication import identify
from ephemera_issuer.edge.errors import refusal, unavailable
from ephemera_issuer.errors import RequestRefused
from ephemera_issuer.mint import mint
from ephemera_issuer.policy import decide

if TYPE_CHECKING:
    from collections.abc import Iterable

    from starlette.types import Receive, Scope, Send

    from ephemera_client.instant import Clock
    from ephemera_issuer.edge import Current

MAXIMUM_BODY = 64 * 1024
"""Bytes; counted as they arrive, whatever Content-Length says."""

_FORM = b"application/x-www-form-urlencoded"


class TokenEndpoint:
    """The client_credentials grant (RFC 6749 §4.4), as an ASGI application."""

    __slots__ = ("_clock", "_issuer", "_snapshots")

    def __init__(self, snapshots: Current, *, issuer: str, clock: Clock) -> None:
        self._snapshots = snapshots
        self._issuer = issuer
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; a caller that goes away before its form is complete gets none."""
        authorization = _credentials(scope["headers"])
        body = await _read(receive)
        if body is None:
            return
        try:
            answer = self._answer(authorization, body)
        except RequestRefused as error:
            await refusal(error)(scope, receive, send)
            return
        await send(
            {
                "type": "http.response.start",
                "status": 200,
                "headers": [
                    (b"content-type", b"application/json"),
                    (b"content-length", b"%d" % len(answer)),
                    (b"cache-control", b"no-store"),
                    (b"pragma", b"no-cache"),
                ],
            }
        )
        await send({"type": "http.response.body", "body": answer})

    def _answer(self, authorization: list[bytes], body: bytes) -> bytes:
        now = self._clock()
        snapshot = self._snapshots.current
        if snapshot is None or not snapshot.fresh(now):
            raise unavailable()
        request = form.parse(body)
        client = identify(snapshot.clients, authorization=authorization, request=request)
        decision = decide(snapshot, client, request)
        token = mint(decision, issuer=self._issuer, signer=snapshot.signer, now=now.wall)
        single_use = "true" if decision.single_use else "false"
        return (
            f'{{"access_token":"{token}","token_type":"Bearer","expires_in":{decision.lifetime},'
            f'"scope":{quote(decision.scope)},"single_use":{single_use}}}'
        ).encode()


def _credentials(headers: Iterable[tuple[bytes, bytes]]) -> list[bytes]:
    """Collect the Authorization headers of a request that says it is a form of a fair size.

    Raises:
        HTTPException: 413 or 415, before any of the body is read.
    """
    authorization = []
    content_types = []
    for name, value in headers:
        if name == b"authorization":
            authorization.append(value)
        elif name == b"content-type":
            content_types.append(value)
        elif name == b"content-length" and int(value) > MAXIMUM_BODY:
            raise _too_large()
        elif name == b"content-encoding" and value.lower() != b"identity":
            raise HTTPException(
                415, "the form must not be compressed", {"Accept-Encoding": "identity"}
            )
    if content_types != [_FORM] and not _is_form(content_types):
        raise HTTPException(
            415, f"Content-Type must be {_FORM.decode()}", {"Accept": _FORM.decode()}
        )
    return authorization


def _is_form(content_types: list[bytes]) -> bool:
    return (
        len(content_types) == 1
        and content_types[0].partition(b";")[0].strip(b" \t").lower() == _FORM
    )


async def _read(receive: Receive) -> bytes | None:
    """Read the whole body; None when the caller has gone away.

    Raises:
        HTTPException: 413, as soon as there is too much of it.
    """
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message.get("body", b"")
        if len(body) > MAXIMUM_BODY:
            raise _too_large()
        if not message.get("more_body", False):
            return bytes(body)


def _too_large() -> HTTPException:
    return HTTPException(413, f"the form must be at most {MAXIMUM_BODY} bytes")
