"""Nonces that a server hands out and knows again without keeping them (RFC 9449 section 8)."""

import base64
import hmac
import math
import secrets
from collections.abc import Collection
from typing import NoReturn, Self

from ephemera_client.compact import decode_base64url
from ephemera_client.errors import ConfigurationError

SECRET_BYTES = 32
LONGEST_AGE = 3600

_TIME_BYTES = 6
_TAG_BYTES = 16
_LENGTH = (_TIME_BYTES + _TAG_BYTES) * 4 // 3 + 1


class DPoPNonces:
    """Makes nonces and recognises them: each is the second in which it was made, authenticated.

    All replicas that answer for one API must share the secret, or each challenges the callers of
    the others. A nonce is good for many proofs; that each proof is accepted once is the replay
    cache's business.

    Args:
        secret: 32 bytes at least, for nothing else; several in a tuple while it changes. The first
            makes nonces, all are recognised.
        max_age: seconds for which a nonce is good, 3600 at most. A caller that has none, or one
            that is older, is challenged, and tries again with a new one.

    Raises:
        ConfigurationError: a secret is too short, or the age is out of range.
    """

    __slots__ = ("_secrets", "max_age")

    def __init__(self, secret: bytes | Collection[bytes], *, max_age: int = 300) -> None:
        held = (secret,) if isinstance(secret, bytes) else tuple(secret)
        if not held or not all(isinstance(it, bytes) and len(it) >= SECRET_BYTES for it in held):
            raise ConfigurationError(f"secret must be {SECRET_BYTES} bytes at least")
        if type(max_age) is not int or not 0 < max_age <= LONGEST_AGE:
            raise ConfigurationError(f"max_age must be from 1 to {LONGEST_AGE} seconds")
        self._secrets = held
        self.max_age = max_age

    @classmethod
    def of_this_process(cls, *, max_age: int = 300) -> Self:
        """Make a secret that nobody else has: for an API that one process answers for."""
        return cls(secrets.token_bytes(SECRET_BYTES), max_age=max_age)

    def make(self, now: float) -> str:
        """Return a nonce made at `now`, Unix seconds."""
        return _nonce(self._secrets[0], math.floor(now).to_bytes(_TIME_BYTES, "big"))

    def made_at(self, nonce: object, *, now: float) -> int | None:
        """Return the second in which a nonce was made here; None if it is not ours, or too old."""
        if not isinstance(nonce, str) or len(nonce) != _LENGTH:
            return None
        try:
            time = decode_base64url(nonce)[:_TIME_BYTES]
        except ValueError:
            return None
        sent = nonce.encode("ascii", "replace")
        ours = [hmac.compare_digest(_nonce(it, time).encode(), sent) for it in self._secrets]
        second = int.from_bytes(time, "big")
        # A replica's clock may be a little ahead of ours; what it made is no less ours.
        return second if any(ours) and second > now - self.max_age else None

    def __repr__(self) -> str:
        return f"DPoPNonces(max_age={self.max_age})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not pickled or copied")


def _nonce(secret: bytes, time: bytes) -> str:
    tag = hmac.digest(secret, b"ephemera dpop nonce 1" + time, "sha256")[:_TAG_BYTES]
    return base64.urlsafe_b64encode(time + tag).rstrip(b"=").decode()
