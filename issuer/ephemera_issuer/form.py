"""The form of a token request: bytes in, checked parameters out (RFC 6749 §4.4.2, RFC 8707 §2)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote_to_bytes

from ephemera_issuer.errors import RequestRefused

if TYPE_CHECKING:
    from ephemera_issuer.errors import RefusalCode

MINIMUM_LIFETIME = 10
"""Seconds; less is gone before it has crossed a network."""

_NAMES = frozenset(
    {
        "grant_type",
        "resource",
        "audience",
        "scope",
        "lifetime",
        "client_id",
        "client_secret",
        "client_assertion",
    }
)
_TARGETS = frozenset({"resource", "audience"})
_STRAY_PERCENT = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_ABSOLUTE_URI = re.compile(
    r"[A-Za-z][A-Za-z0-9+.-]*:(?:[A-Za-z0-9._~:/?\[\]@!$&'()*+,;=-]++|%[0-9A-Fa-f]{2})++"
)
_SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+(?: [\x21\x23-\x5b\x5d-\x7e]+)*")
_SECONDS = re.compile(r"[0-9]{1,9}")


class TokenRequest(NamedTuple):
    """What a caller asks for.

    `scopes` is None where all that is granted is asked for, `lifetime` (seconds) where the default
    is. `client_id` is what the form says, if anything. `credential_in_form` tells that the form
    carries a client's credential, which is never kept.
    """

    audience: str
    scopes: frozenset[str] | None
    lifetime: int | None
    client_id: str | None
    credential_in_form: bool


def decode(part: bytes) -> str:
    """Undo `application/x-www-form-urlencoded` for one name, value or half of a Basic credential.

    Raises:
        ValueError: A percent sign without two hexadecimal digits, or what comes out is not UTF-8.
    """
    part = part.replace(b"+", b" ")
    if b"%" in part:
        if _STRAY_PERCENT.search(part):
            raise ValueError("percent sign without two hexadecimal digits")
        part = unquote_to_bytes(part)
    return part.decode()


def parse(body: bytes) -> TokenRequest:
    """Read a token request.

    A repeated parameter is refused, an empty one counts as absent, an unknown one is ignored.

    Raises:
        RequestRefused: `invalid_request`, `unsupported_grant_type`, `invalid_scope` or
            `invalid_target`.
    """
    fields = _fields(body)
    grant_type = fields.get("grant_type")
    if grant_type != "client_credentials":
        if grant_type is None:
            raise RequestRefused("invalid_request", "grant_type is missing")
        raise RequestRefused("unsupported_grant_type", "grant_type must be client_credentials")
    return TokenRequest(
        _audience(fields.get("resource"), fields.get("audience")),
        _scopes(fields.get("scope")),
        _lifetime(fields.get("lifetime")),
        fields.get("client_id"),
        "client_secret" in fields or "client_assertion" in fields,
    )


def _fields(body: bytes) -> dict[str, str]:
    fields: dict[str, str] = {}
    try:
        for pair in body.split(b"&"):
            raw_name, _, raw_value = pair.partition(b"=")
            name, value = decode(raw_name), decode(raw_value)
            if name not in _NAMES:
                continue
            if name in fields:
                raise _repeated(name)
            fields[name] = value
    except ValueError:
        # The cause quotes what was sent.
        raise RequestRefused("invalid_request", "the form is not UTF-8, percent-encoded") from None
    return {name: value for name, value in fields.items() if value}


def _repeated(name: str) -> RequestRefused:
    code: RefusalCode = "invalid_target" if name in _TARGETS else "invalid_request"
    return RequestRefused(code, f"{name} must be sent once")


def _audience(resource: str | None, audience: str | None) -> str:
    if resource is None:
        if audience is None:
            raise RequestRefused("invalid_target", "resource or audience is missing")
        return audience
    if audience is not None:
        raise RequestRefused("invalid_target", "send resource or audience, not both")
    if not _ABSOLUTE_URI.fullmatch(resource):
        raise RequestRefused("invalid_target", "resource must be an absolute URI without fragment")
    return resource


def _scopes(scope: str | None) -> frozenset[str] | None:
    if scope is None:
        return None
    if not _SCOPE.fullmatch(scope):
        raise RequestRefused("invalid_scope", "scope must be names with single spaces between them")
    return frozenset(scope.split(" "))


def _lifetime(lifetime: str | None) -> int | None:
    if lifetime is None:
        return None
    if not _SECONDS.fullmatch(lifetime):
        raise RequestRefused("invalid_request", "lifetime must be a whole number of seconds")
    seconds = int(lifetime)
    if seconds < MINIMUM_LIFETIME:
        raise RequestRefused(
            "invalid_request", f"lifetime must be at least {MINIMUM_LIFETIME} seconds"
        )
    return seconds
