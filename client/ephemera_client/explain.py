"""A decoded token in words, for people. It checks nothing."""

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from ephemera_client.compact import Compact

_HEADER: Mapping[str, str] = {
    "alg": "how it is signed; a verifier accepts only the algorithm that it is pinned to",
    "typ": "what it is: at+jwt is an access token (RFC 9068)",
    "kid": "which of the issuer's keys signed it",
}

_CLAIMS: Mapping[str, str] = {
    "iss": "the issuer that made it",
    "sub": "whom it speaks for: between services, the client itself",
    "client_id": "the service that asked for it",
    "aud": "the one API that may accept it",
    "scope": "what it allows there",
    "iat": "made",
    "nbf": "not valid before",
    "exp": "expires",
    "jti": "its own number, by which an API accepts it once",
    "cnf": "the key that its sender must prove to hold",
}

_MOMENTS = frozenset({"iat", "nbf", "exp"})


def explain(parts: Compact, *, length: int, now: float) -> Iterator[str]:
    """Yield the lines that say what each member claims, as of `now`, Unix seconds.

    Members show as ASCII JSON: what a stranger wrote must not steer the terminal.
    """
    yield "NOT VERIFIED: this is what the token says of itself. Anyone can write one that says so."
    yield ""
    yield "header"
    yield from _members(parts.header, _HEADER, now)
    yield "claims"
    yield from _members(parts.claims, _CLAIMS, now)
    yield f"{length} bytes in all, {len(parts.signature)} of them signature, not verified"


def _members(members: Mapping[str, Any], meanings: Mapping[str, str], now: float) -> Iterator[str]:
    shown = {json.dumps(name)[1:-1]: (name, json.dumps(members[name])) for name in members}
    width = max((len(name) for name in shown), default=0)
    for label, (name, value) in shown.items():
        meaning = meanings.get(name, "not a member that Ephemera issues")
        if name in _MOMENTS:
            meaning = f"{meaning} {_moment(members[name], now)}"
        yield f"  {label:{width}}  {value}"
        yield f"  {'':{width}}    {meaning}"


def _moment(value: Any, now: float) -> str:
    try:
        written = datetime.fromtimestamp(value, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (TypeError, ValueError, OverflowError, OSError):
        return "at no moment that a clock shows"
    seconds = round(value - now)
    return f"{written}, {seconds} s from now" if seconds >= 0 else f"{written}, {-seconds} s ago"
