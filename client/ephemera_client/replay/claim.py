"""One use of one token."""

from functools import lru_cache
from hashlib import blake2b
from typing import Literal, NamedTuple

AcceptedOnce = Literal["process", "host", "fleet", "off"]
Purpose = Literal["token", "assertion", "dpop", "federated"]


class Claim(NamedTuple):
    """The identity of a token, and the whole Unix seconds of its birth and end.

    Purposes never meet: an assertion and a token of one issuer, subject and `jti` are two claims.
    """

    purpose: Purpose
    issuer: str
    subject: str
    jti: str
    issued_at: int
    expires_at: int

    @property
    def key(self) -> bytes:
        """16 bytes that stand for this identity; times are no part of it.

        Each part but the last brings its length, so that no two claims spell the same text.
        """
        purpose, issuer, subject, jti, _, _ = self
        spelled = _prefix(purpose, issuer, subject) + jti
        return blake2b(spelled.encode(), digest_size=16).digest()


@lru_cache(maxsize=1024)
def _prefix(purpose: str, issuer: str, subject: str) -> str:
    return f"{len(purpose)}:{purpose}{len(issuer)}:{issuer}{len(subject)}:{subject}"
