"""Bearer tokens in HTTP (RFC 6750): out of a request, into a refusal, and that refusal read."""

import json
import re
from collections.abc import Sequence
from typing import NamedTuple

from ephemera_client.errors import (
    InsufficientScope,
    KeysUnavailable,
    ReplayCacheUnavailable,
    RequestMalformed,
    RevocationsUnavailable,
    TokenMissing,
    TokenRefused,
)

Unavailable = KeysUnavailable | RevocationsUnavailable | ReplayCacheUnavailable
Refused = TokenRefused | RequestMalformed | Unavailable

REFUSALS = (
    TokenRefused,
    RequestMalformed,
    KeysUnavailable,
    RevocationsUnavailable,
    ReplayCacheUnavailable,
)
"""What a request may be answered with; any other error is a mistake in the program."""

# Seconds: what is down is looked at again within these, and a caller's own token lives for longer.
_RETRY_AFTER = "2"

_UNAVAILABLE = 503
_POLICY_VIOLATION = 1008
_TRY_AGAIN_LATER = 1013

# One parameter of a challenge, or the scheme that starts one (RFC 9110 section 11.6.1).
_CHALLENGE_PART = re.compile(
    r"""([!#$%&'*+.^_`|~\w-]++)(?:[ \t]*+=[ \t]*+(?:"((?:[^"\\]|\\.)*+)"|([^\s,"]++)))?""", re.ASCII
)
_CHALLENGE_LENGTH = 4096

_B64TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*", re.ASCII)


class Refusal(NamedTuple):
    """The response that says no; header names are lower case, the body is JSON."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


def extract(authorization: Sequence[bytes | str]) -> str:
    """Return the token of a request that has these Authorization headers.

    Raises:
        TokenMissing: there is none, or it is of another scheme.
        RequestMalformed: there are several, or it is not `Bearer` and one token (section 2.1).
    """
    if not authorization:
        raise TokenMissing("the request has no Authorization header")
    if len(authorization) > 1:
        raise RequestMalformed("the request has several Authorization headers")
    value = authorization[0]
    text = value.decode("latin-1") if isinstance(value, bytes) else value
    scheme, _, rest = text.partition(" ")
    if scheme.lower() != "bearer":
        raise TokenMissing("the Authorization header is not of the Bearer scheme")
    token = rest.strip(" ")
    if not _B64TOKEN.fullmatch(token):
        raise RequestMalformed("the Authorization header is not `Bearer` and one token")
    return token


def challenge(www_authenticate: Sequence[str]) -> dict[str, str]:
    """Return the parameters of the Bearer challenge in an API's refusal; none, if it has none."""
    parameters: dict[str, str] = {}
    ours = False
    for part in _CHALLENGE_PART.finditer(", ".join(www_authenticate)[:_CHALLENGE_LENGTH]):
        name, quoted, plain = part.groups()
        if quoted is None and plain is None:
            ours = name.lower() == "bearer"
        elif ours:
            value = plain if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
            parameters.setdefault(name.lower(), value)
    return parameters


def refuse(error: Refused, *, realm: str) -> Refusal:
    """Return the response that `error` comes to (section 3); `realm` names the API.

    The caller learns the error and its stable `reason`. The text may quote configuration, so it is
    left to the API's own log.
    """
    if isinstance(error, Unavailable):
        told = {"error": "temporarily_unavailable", "reason": error.code}
        return _refusal(error.status, ("retry-after", _RETRY_AFTER), told)
    told = {"error": _error(error), "reason": error.code}
    if isinstance(error, InsufficientScope):
        told["scope"] = " ".join(sorted(error.required))
    # Section 3.1: a request without a token is told that one is needed, and of no error.
    parameters = {"realm": realm} | ({} if isinstance(error, TokenMissing) else told)
    listed = ", ".join(f"{name}={_quoted(value)}" for name, value in parameters.items())
    return _refusal(error.status, ("www-authenticate", f"Bearer {listed}"), told)


def close_code(error: Refused) -> int:
    """Return the code that ends a WebSocket for this reason (RFC 6455 section 7.4)."""
    return _TRY_AGAIN_LATER if error.status == _UNAVAILABLE else _POLICY_VIOLATION


def _error(error: TokenRefused | RequestMalformed) -> str:
    if isinstance(error, RequestMalformed):
        return "invalid_request"
    return "insufficient_scope" if isinstance(error, InsufficientScope) else "invalid_token"


def _quoted(value: str) -> str:
    escaped = re.sub(r'(["\\])', r"\\\1", re.sub(r"[^ -~]", "?", value))
    return f'"{escaped}"'


def _refusal(status: int, header: tuple[str, str], told: dict[str, str]) -> Refusal:
    body = json.dumps(told, separators=(",", ":")).encode()
    headers = (
        ("content-type", "application/json"),
        ("content-length", str(len(body))),
        ("cache-control", "no-store"),
        header,
    )
    return Refusal(status, headers, body)
