"""Tokens in HTTP (RFC 6750, RFC 9449): out of a request, into a refusal, and that refusal read."""

import json
import re
from collections.abc import Sequence
from typing import Literal, NamedTuple

from ephemera_client.dpop.demand import ALGS, DPoP
from ephemera_client.errors import (
    InsufficientScope,
    KeysUnavailable,
    ProofInvalid,
    ProofKeyMismatch,
    ProofNonceRequired,
    ProofRefused,
    ReplayCacheUnavailable,
    RequestMalformed,
    RevocationsUnavailable,
    SenderConstraintMissing,
    SenderConstraintUnverified,
    TokenMissing,
    TokenRefused,
)

Scheme = Literal["bearer", "dpop"]

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

# Where another Bearer token would not do either.
_OF_PROOFS = (ProofRefused, SenderConstraintMissing, SenderConstraintUnverified)

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
    """Return the Bearer token of a request that has these Authorization headers.

    Raises:
        TokenMissing: there is none, or it is of another scheme.
        RequestMalformed: there are several, or it is not `Bearer` and one token (section 2.1).
    """
    return _extract(authorization, ("bearer",))[1]


def extract_either(authorization: Sequence[bytes | str]) -> tuple[Scheme, str]:
    """Return the scheme and the token of a request that may show it as `Bearer` or as `DPoP`.

    Raises:
        TokenMissing: there is none, or it is of another scheme.
        RequestMalformed: there are several, or it is not a scheme and one token.
    """
    return _extract(authorization, ("bearer", "dpop"))


def proof(values: Sequence[bytes | str]) -> str:
    """Return the proof of a request that has these DPoP headers (RFC 9449 section 4.3).

    Raises:
        ProofInvalid: there is none, or there are several.
    """
    if len(values) != 1:
        raise ProofInvalid("the request has no DPoP header, or several")
    value = values[0]
    return value.decode("latin-1") if isinstance(value, bytes) else value


def _extract(
    authorization: Sequence[bytes | str], schemes: tuple[Scheme, ...]
) -> tuple[Scheme, str]:
    if not authorization:
        raise TokenMissing("the request has no Authorization header")
    if len(authorization) > 1:
        raise RequestMalformed("the request has several Authorization headers")
    value = authorization[0]
    text = value.decode("latin-1") if isinstance(value, bytes) else value
    named, _, rest = text.partition(" ")
    named = named.lower()
    for scheme in schemes:
        if named == scheme:
            break
    else:
        raise TokenMissing("the Authorization header is not of the Bearer scheme")
    token = rest.strip(" ")
    if not _B64TOKEN.fullmatch(token):
        raise RequestMalformed("the Authorization header is not a scheme and one token")
    return scheme, token


def challenge(www_authenticate: Sequence[str], *, scheme: Scheme = "bearer") -> dict[str, str]:
    """Return the parameters of the challenge of a scheme in an API's refusal, if it has one."""
    parameters: dict[str, str] = {}
    ours = False
    for part in _CHALLENGE_PART.finditer(", ".join(www_authenticate)[:_CHALLENGE_LENGTH]):
        name, quoted, plain = part.groups()
        if quoted is None and plain is None:
            ours = name.lower() == scheme
        elif ours:
            value = plain if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
            parameters.setdefault(name.lower(), value)
    return parameters


def refuse(error: Refused, *, realm: str, dpop: DPoP | None = None) -> Refusal:
    """Return the response that `error` comes to (section 3); `realm` names the API.

    With `dpop` the challenge is of the scheme DPoP (RFC 9449 section 7.1), followed by a Bearer
    one where such tokens are taken as well, and the matter is not the proof.

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
    schemes = [] if dpop is None else [_challenge("DPoP", parameters | {"algs": ALGS})]
    if dpop is None or not (dpop.required or isinstance(error, _OF_PROOFS)):
        schemes.append(_challenge("Bearer", parameters))
    refusal = _refusal(error.status, ("www-authenticate", ", ".join(schemes)), told)
    if isinstance(error, ProofNonceRequired):
        return refusal._replace(headers=(*refusal.headers, ("dpop-nonce", error.nonce)))
    return refusal


def close_code(error: Refused) -> int:
    """Return the code that ends a WebSocket for this reason (RFC 6455 section 7.4)."""
    return _TRY_AGAIN_LATER if error.status == _UNAVAILABLE else _POLICY_VIOLATION


def _error(error: TokenRefused | RequestMalformed) -> str:
    if isinstance(error, RequestMalformed):
        return "invalid_request"
    if isinstance(error, ProofNonceRequired):
        return "use_dpop_nonce"
    if isinstance(error, ProofRefused) and not isinstance(error, ProofKeyMismatch):
        return "invalid_dpop_proof"
    return "insufficient_scope" if isinstance(error, InsufficientScope) else "invalid_token"


def _challenge(scheme: str, parameters: dict[str, str]) -> str:
    listed = ", ".join(f"{name}={_quoted(value)}" for name, value in parameters.items())
    return f"{scheme} {listed}"


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
