"""What an HTTP answer to a request for a JWK Set amounts to."""

import re
from collections.abc import Mapping
from typing import NamedTuple

from ephemera_client.http import Response
from ephemera_client.jwks.document import JwksInvalid, KeySet, parse

_OK = 200
_NOT_MODIFIED = 304
_ETAG = re.compile(r'(?:W/)?"[\x21\x23-\x7e]{0,256}"')
_MAX_AGE = re.compile(r'(?:^|[,\s])max-age="?(\d{1,10})\b', re.IGNORECASE)
_SECONDS = re.compile(r"\d{1,10}")


class LoadFailed(Exception):
    """There is no new document; `code` says why."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class Answer(NamedTuple):
    """A document, or `None` where the one already held is confirmed.

    `lifetime` is the `max-age` of the answer less its `Age`, in seconds, if it names one.
    """

    keys: KeySet | None
    etag: str | None
    lifetime: float | None


def read(response: Response, *, conditional: bool, max_keys: int) -> Answer:
    """Judge an answer; `conditional` says that the request carried an ETag.

    Raises:
        LoadFailed: `status_unexpected`, or `jwks_invalid`.
    """
    named = response.headers.get("etag", "")
    etag = named if _ETAG.fullmatch(named) else None
    if response.status == _NOT_MODIFIED and conditional:
        return Answer(None, etag, _lifetime(response.headers))
    if response.status != _OK:
        raise LoadFailed("status_unexpected")
    try:
        keys = parse(response.body, max_keys=max_keys)
    except JwksInvalid:
        raise LoadFailed("jwks_invalid") from None
    return Answer(keys, etag, _lifetime(response.headers))


def _lifetime(headers: Mapping[str, str]) -> float | None:
    max_age = _MAX_AGE.search(headers.get("cache-control", ""))
    if max_age is None:
        return None
    age = headers.get("age", "0").strip()
    return float(max_age[1]) - (float(age) if _SECONDS.fullmatch(age) else 0.0)
