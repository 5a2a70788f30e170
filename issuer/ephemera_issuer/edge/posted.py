"""A form on its way in: the one kind of request that takes a credential."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from starlette.exceptions import HTTPException

if TYPE_CHECKING:
    from collections.abc import Iterable

    from starlette.types import Receive

MAXIMUM_BODY = 64 * 1024
"""Bytes; counted as they arrive, whatever Content-Length says."""

_FORM = b"application/x-www-form-urlencoded"


class Credentials(NamedTuple):
    """The values of each Authorization header of a request, and of each DPoP header."""

    authorization: list[bytes]
    proofs: list[bytes]

    def __repr__(self) -> str:
        return "Credentials()"


def credentials(headers: Iterable[tuple[bytes, bytes]]) -> Credentials:
    """Collect the credentials of a request that says it is a form of a fair size.

    Raises:
        HTTPException: 413 or 415, before any of the body is read.
    """
    authorization: list[bytes] = []
    proofs: list[bytes] = []
    content_types = []
    for name, value in headers:
        if name == b"authorization":
            authorization.append(value)
        elif name == b"dpop":
            proofs.append(value)
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
    return Credentials(authorization, proofs)


def _is_form(content_types: list[bytes]) -> bool:
    return (
        len(content_types) == 1
        and content_types[0].partition(b";")[0].strip(b" \t").lower() == _FORM
    )


async def read(receive: Receive) -> bytes | None:
    """Read the whole body; None when the caller has gone away.

    Raises:
        HTTPException: 413, as soon as there is too much of it.
    """
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        part: bytes = message.get("body", b"")
        if len(body) + len(part) > MAXIMUM_BODY:
            raise _too_large()
        is_last = not message.get("more_body", False)
        if is_last and not body:
            return part  # nearly always there is one, which need not be copied
        body += part
        if is_last:
            return bytes(body)


def _too_large() -> HTTPException:
    return HTTPException(413, f"the form must be at most {MAXIMUM_BODY} bytes")
