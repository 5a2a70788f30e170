"""The token request and its response: RFC 6749 sections 4.4, 5.1 and 5.2, without the sending."""

import re
from collections.abc import Iterable, Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any, Literal, NamedTuple, NoReturn, Self, SupportsIndex
from urllib.parse import urlencode

from ephemera_client.compact import strict_json
from ephemera_client.errors import (
    ClientRefused,
    ConfigurationError,
    IssuerUnavailable,
    ResponseInvalid,
    TokenRequestRefused,
)
from ephemera_client.http import Response
from ephemera_client.scope import scope_set

_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]{1,8192}=*", re.ASCII)
_ERROR = re.compile(r"[\x20\x21\x23-\x5b\x5d-\x7e]{1,200}")
_URI = re.compile(r"[\x21-\x7e]+")
_LONGEST = 2**31

TokenType = Literal["Bearer", "DPoP"]

_MEANINGS: Mapping[str, str] = {
    "invalid_request": "it found the request malformed",
    "invalid_scope": "policy does not grant every scope that was asked for",
    "invalid_target": "policy grants this client nothing at this audience",
    "invalid_dpop_proof": "it wants a DPoP proof (dpop=), or does not accept the one it was sent",
    "unauthorized_client": "this client may not use the client_credentials grant",
    "unsupported_grant_type": "it does not offer the client_credentials grant",
}

MAX_BYTES = 512 * 1024  # 100 of the largest tokens that an issuer of ours mints, and some room

OK = 200
_UNAUTHORIZED = 401
_TOO_MANY_REQUESTS = 429
_SERVER_ERRORS = range(500, 600)


class Wanted(NamedTuple):
    """Tokens to ask for; no scopes means all that policy grants, no lifetime the issuer's.

    A `number` over 1 is for issuers whose metadata offer as many: all are issued, or none is.
    """

    audience: str
    scopes: frozenset[str] | None
    lifetime: int | None
    number: int = 1


class Asker(NamedTuple):
    """Who asks whom, for the sentences of errors."""

    issuer: str
    client_id: str
    method: str


class IssuedToken(str):
    """A token as it goes into a header: `f"Bearer {token}"`. It is that string, so mind logs.

    Ask for a token for each call: an audience accepts it once, unless `single_use` is False.
    `expires_at` is Unix seconds by this machine's clock, counted from before the request was sent.
    `token_type` is `Bearer`, or `DPoP` for one that is bound to the client's key: it is shown by
    that scheme, with a proof beside it (see `TokenClient.headers`). `batch` numbers the request
    that brought it. The repr leaves the token out; pickling and copying are refused.
    """

    __slots__ = ("audience", "batch", "expires_at", "scopes", "single_use", "token_type")

    audience: str
    scopes: frozenset[str]
    expires_at: float
    single_use: bool
    token_type: TokenType
    batch: int

    def __new__(  # noqa: PLR0913 - what the issuer said, each by its name
        cls,
        value: str,
        *,
        audience: str,
        scopes: frozenset[str],
        expires_at: float,
        single_use: bool,
        token_type: TokenType = "Bearer",  # noqa: S107 - a kind of token
    ) -> Self:
        """Make the string `value` with what the issuer said of it."""
        token = super().__new__(cls, value)
        token.audience = audience
        token.scopes = scopes
        token.expires_at = expires_at
        token.single_use = single_use
        token.token_type = token_type
        token.batch = 0
        return token

    def __repr__(self) -> str:
        return (
            f"IssuedToken(audience={self.audience!r}, scopes={sorted(self.scopes)}, "
            f"expires_at={self.expires_at!r}, single_use={self.single_use!r})"
        )

    def __reduce_ex__(self, protocol: SupportsIndex, /) -> NoReturn:
        raise TypeError("a token is not pickled or copied: ask for another")


def want(audience: str, scopes: Iterable[str] | None, lifetime: int | None) -> Wanted:
    """Check what a caller asks for before it is sent anywhere.

    Raises:
        ConfigurationError: no audience, an empty set of scopes, or no whole positive seconds.
    """
    if not isinstance(audience, str) or not _URI.fullmatch(audience):
        raise ConfigurationError("audience must be an identifier of printable ASCII characters")
    wanted = None if scopes is None else scope_set(scopes)
    if wanted is not None and not wanted:
        raise ConfigurationError(
            "scopes must not be empty: None asks for all that policy grants this client"
        )
    if lifetime is not None and (type(lifetime) is not int or lifetime < 1):
        raise ConfigurationError("lifetime must be a whole number of seconds")
    return Wanted(audience, wanted, lifetime)


def form(wanted: Wanted, proof: Mapping[str, str]) -> bytes:
    """Return the body of the request, with a credential's own parameters in it."""
    parameters = {"grant_type": "client_credentials", "resource": wanted.audience, **proof}
    if wanted.scopes is not None:
        parameters["scope"] = " ".join(sorted(wanted.scopes))
    if wanted.lifetime is not None:
        parameters["lifetime"] = str(wanted.lifetime)
    if wanted.number > 1:
        parameters["count"] = str(wanted.number)
    return urlencode(parameters).encode()


def issued(  # noqa: PLR0913 - what an answer is compared with, each by its name
    response: Response,
    wanted: Wanted,
    *,
    asker: Asker,
    now: float,
    reusable: bool = False,
    token_type: TokenType = "Bearer",  # noqa: S107 - a kind of token
) -> tuple[IssuedToken, ...]:
    """Read the answer to a request for `wanted` that was sent at `now`, Unix seconds.

    Returns as many tokens as were wanted, no two of them the same. A response that does not say
    whether a token is single use is taken to say yes, unless `reusable`. The tokens must be of
    `token_type`: bound to the key that was proved, where one was.

    Raises:
        ClientRefused: the issuer does not accept the credential.
        TokenRequestRefused: it refuses the request.
        IssuerUnavailable: it asks to come back later, or has failed.
        ResponseInvalid: the answer is none of RFC 6749.
    """
    document = _document(response.body)
    require_available(response, asker=asker, now=now)
    if response.status != OK:
        raise _refused(response.status, document, asker)
    if document is None:
        raise ResponseInvalid(f"{asker.issuer} answered with something other than a JSON object")
    document.setdefault("single_use", not reusable)
    return _tokens(document, wanted, asker.issuer, now, token_type)


def wants_nonce(response: Response) -> bool:
    """Say whether the issuer asks for the same request with its nonce (RFC 9449 section 8)."""
    return (_document(response.body) or {}).get("error") == "use_dpop_nonce"


def require_available(response: Response, *, asker: Asker, now: float) -> None:
    """Tell an issuer that is overloaded or failing from one that answers.

    Raises:
        IssuerUnavailable: with the seconds that it asks to wait, if it does.
    """
    limited = response.status == _TOO_MANY_REQUESTS
    if limited or response.status in _SERVER_ERRORS:
        doing = "asks for fewer requests" if limited else f"answered with status {response.status}"
        raise IssuerUnavailable(
            f"{asker.issuer} {doing}",
            cause_code="rate_limited" if limited else "issuer_failed",
            retry_after=_retry_after(response.headers.get("retry-after", ""), now),
        )


def _document(body: bytes) -> dict[str, Any] | None:
    try:
        document = strict_json(body)
    except ValueError:
        return None
    return document if isinstance(document, dict) else None


def _tokens(
    document: dict[str, Any], wanted: Wanted, issuer: str, sent_at: float, token_type: TokenType
) -> tuple[IssuedToken, ...]:
    values, kind = _values(document, wanted.number, issuer), document.get("token_type")
    expires_in = document.get("expires_in")
    scope = document.get("scope", " ".join(wanted.scopes or ()))
    single_use = document["single_use"]
    if not isinstance(kind, str) or kind.lower() != token_type.lower():
        raise ResponseInvalid(f"{issuer} answered with a token_type other than {token_type}")
    if type(expires_in) is not int or not 0 < expires_in <= _LONGEST:
        raise ResponseInvalid(f"{issuer} answered without a usable expires_in")
    if not isinstance(scope, str) or type(single_use) is not bool:
        raise ResponseInvalid(f"{issuer} answered with a scope or single_use of the wrong type")
    scopes = frozenset(scope.split())
    return tuple(
        IssuedToken(
            value,
            audience=wanted.audience,
            scopes=scopes,
            expires_at=sent_at + expires_in,
            single_use=single_use,
            token_type=token_type,
        )
        for value in values
    )


def _values(document: dict[str, Any], count: int, issuer: str) -> list[str]:
    additional = document.get("additional_tokens", [])
    if not isinstance(additional, list):
        raise ResponseInvalid(f"{issuer} answered with additional_tokens of the wrong type")
    values = [document.get("access_token"), *additional]
    if not all(isinstance(value, str) and _TOKEN.fullmatch(value) for value in values):
        raise ResponseInvalid(f"{issuer} answered without a usable access_token")
    if len(values) != count or len(set(values)) != count:
        raise ResponseInvalid(f"{issuer} answered with another number of tokens than {count}")
    return values


def _refused(
    status: int, document: dict[str, Any] | None, asker: Asker
) -> TokenRequestRefused | ResponseInvalid:
    error, description = (document or {}).get("error"), (document or {}).get("error_description")
    if not isinstance(error, str) or not _ERROR.fullmatch(error):
        return ResponseInvalid(
            f"{asker.issuer} answered with status {status} and no OAuth error: "
            "is it the issuer that is reached there?"
        )
    told = description if isinstance(description, str) and _ERROR.fullmatch(description) else None
    if error == "invalid_client" or status == _UNAUTHORIZED:
        return ClientRefused(
            f"{asker.issuer} does not accept the credential of client {asker.client_id!r} "
            f"(tried {asker.method})",
            error=error,
            description=told,
            status=status,
        )
    meaning = _MEANINGS.get(error, "see the error attribute")
    return TokenRequestRefused(
        f"{asker.issuer} refused a token to client {asker.client_id!r}: {meaning}",
        error=error,
        description=told,
        status=status,
    )


def _retry_after(value: str, now: float) -> float | None:
    """Read seconds or a date (RFC 9110 section 10.2.3)."""
    if value.isascii() and value.isdigit() and len(value) < len("1000000"):
        return float(value)
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    return max(0.0, moment.replace(tzinfo=moment.tzinfo or UTC).timestamp() - now)
