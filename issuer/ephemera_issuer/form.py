"""Forms: bytes in, parameters out, and those of a token request checked (RFC 6749 §4.4.2)."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote_to_bytes

from ephemera_issuer.errors import RequestRefused

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ephemera_issuer.errors import RefusalCode

MINIMUM_LIFETIME = 10
"""Seconds; less is gone before it has crossed a network."""

MAXIMUM_COUNT = 100
"""Tokens that one request may ask for."""

MOST_PARAMETERS = 100
"""In one form, unknown ones included: each costs work before anybody has proved anything."""

CREDENTIAL = frozenset({"client_id", "client_secret", "client_assertion", "client_assertion_type"})
"""What a client may authenticate with, or be named by, in the form of any endpoint."""

TOKEN_REQUEST = CREDENTIAL | {"grant_type", "resource", "audience", "scope", "lifetime", "count"}

# As numbers: to look for bytes in bytes, Python makes an exception first.
_PLUS, _PERCENT = b"+%"
_NAMES = {name.encode(): name for name in TOKEN_REQUEST}
_TARGETS = frozenset({"resource", "audience"})
_REMEMBERED = frozenset(
    name.encode() for name in TOKEN_REQUEST - CREDENTIAL | {"client_assertion_type"}
)
_LONGEST_REMEMBERED = 256
_MOST_REMEMBERED = 1024
_STRAY_PERCENT = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_ABSOLUTE_URI = re.compile(
    r"[A-Za-z][A-Za-z0-9+.-]*:(?:[A-Za-z0-9._~:/?\[\]@!$&'()*+,;=-]++|%[0-9A-Fa-f]{2})++"
)
_SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+(?: [\x21\x23-\x5b\x5d-\x7e]+)*")
_NUMBER = re.compile(r"[0-9]{1,9}")


class TokenRequest(NamedTuple):
    """What a caller asks for.

    `scopes` is None where all that is granted is asked for, `lifetime` (seconds) where the default
    is. `number` is how many tokens.
    """

    audience: str
    scopes: frozenset[str] | None = None
    lifetime: int | None = None
    number: int = 1


def decode(part: bytes) -> str:
    """Undo `application/x-www-form-urlencoded` for one name, value or half of a Basic credential.

    Raises:
        ValueError: A percent sign without two hexadecimal digits, or what comes out is not UTF-8.
    """
    if _PLUS in part:
        part = part.replace(b"+", b" ")
    if _PERCENT in part:
        if _STRAY_PERCENT.search(part):
            raise ValueError("percent sign without two hexadecimal digits")
        part = unquote_to_bytes(part)
    return part.decode()


class _Pairs:
    """Reads the pairs of forms; those that services send again and again, once.

    What may be a secret is not kept.
    """

    def __init__(self) -> None:
        self._known: dict[bytes, tuple[str, str]] = {}

    def read(self, pair: bytes) -> tuple[str, str]:
        """Return name and value, or raise ValueError."""
        return self._known.get(pair) or self._read(pair)

    def _read(self, pair: bytes) -> tuple[str, str]:
        raw_name, _, raw_value = pair.partition(b"=")
        read = _NAMES.get(raw_name) or decode(raw_name), decode(raw_value)
        if raw_name in _REMEMBERED and len(pair) <= _LONGEST_REMEMBERED:
            if len(self._known) >= _MOST_REMEMBERED:
                self._known.clear()
            self._known[pair] = read
        return read


_pairs = _Pairs()


def parameters(body: bytes, names: frozenset[str]) -> dict[str, str]:
    """Read the parameters of these names, which may be a credential: keep them no longer than that.

    A repeated parameter is refused, an empty one counts as absent, an unknown one is ignored.

    Raises:
        RequestRefused: `invalid_request`, or `invalid_target` for a repeated target.
    """
    found: dict[str, str] = {}
    if body.count(b"&") >= MOST_PARAMETERS:
        raise RequestRefused("invalid_request", f"send {MOST_PARAMETERS} parameters at most")
    try:
        for pair in body.split(b"&"):
            name, value = _pairs.read(pair)
            if name not in names:
                continue
            if name in found:
                raise _repeated(name)
            found[name] = value
    except ValueError:
        # The cause quotes what was sent.
        raise RequestRefused("invalid_request", "the form is not UTF-8, percent-encoded") from None
    if "" in found.values():
        return {name: value for name, value in found.items() if value}
    return found


def parse(parameters: Mapping[str, str]) -> TokenRequest:
    """Check the parameters of a token request.

    Raises:
        RequestRefused: `invalid_request`, `unsupported_grant_type`, `invalid_scope` or
            `invalid_target`.
    """
    grant_type = parameters.get("grant_type")
    if grant_type != "client_credentials":
        if grant_type is None:
            raise RequestRefused("invalid_request", "grant_type is missing")
        raise RequestRefused("unsupported_grant_type", "grant_type must be client_credentials")
    asked = (
        parameters.get("resource"),
        parameters.get("audience"),
        parameters.get("scope"),
        parameters.get("lifetime"),
        parameters.get("count"),
    )
    if len("".join(filter(None, asked))) <= _LONGEST_REMEMBERED:
        return _request_again(*asked)
    return _request(*asked)


def _request(
    resource: str | None,
    audience: str | None,
    scope: str | None,
    lifetime: str | None,
    count: str | None,
) -> TokenRequest:
    return TokenRequest(
        _audience(resource, audience), _scopes(scope), _lifetime(lifetime), _count(count)
    )


_request_again = lru_cache(maxsize=_MOST_REMEMBERED)(_request)


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
    if not _NUMBER.fullmatch(lifetime):
        raise RequestRefused("invalid_request", "lifetime must be a whole number of seconds")
    seconds = int(lifetime)
    if seconds < MINIMUM_LIFETIME:
        raise RequestRefused(
            "invalid_request", f"lifetime must be at least {MINIMUM_LIFETIME} seconds"
        )
    return seconds


def _count(count: str | None) -> int:
    if count is None:
        return 1
    if not _NUMBER.fullmatch(count) or not 1 <= int(count) <= MAXIMUM_COUNT:
        raise RequestRefused(
            "invalid_request", f"count must be a whole number from 1 to {MAXIMUM_COUNT}"
        )
    return int(count)
