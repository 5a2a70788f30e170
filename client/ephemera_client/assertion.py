"""The JWT by which a client proves that it holds its private key (RFC 7523, `private_key_jwt`)."""

import json
import math
import os
import secrets
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, NoReturn, Self

from ephemera_client import compact, instant
from ephemera_client.credential import Proof
from ephemera_client.errors import ConfigurationError
from ephemera_client.instant import Clock
from ephemera_client.key_file import KeyFile
from ephemera_client.private_key import PrivateKey

LIFETIME = 30
TYPE = "client-authentication+jwt"

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_JTI_BYTES = 16


def build(key: PrivateKey, *, client_id: str, issuer: str, jti: str, now: float) -> str:
    """Return the assertion for one request; `now` is Unix seconds.

    Its audience is the issuer identifier alone: one that named an endpoint could be made for
    another server's (draft-ietf-oauth-rfc7523bis).
    """
    issued_at = math.floor(now)
    header = {"alg": key.alg, "typ": TYPE, "kid": key.kid}
    claims = {
        "iss": client_id,
        "sub": client_id,
        "aud": issuer,
        "iat": issued_at,
        "exp": issued_at + LIFETIME,
        "jti": jti,
    }
    return compact.write(header, claims, sign=key.sign)


class PrivateKeyJWT:
    """A private key, by which each request is signed anew (`private_key_jwt`).

    The issuer holds the public key alone. The key shows in no repr and cannot be pickled or copied.

    Args:
        key: PEM (PKCS#8, SEC 1, PKCS#1), or a private JWK as JSON or a mapping.
        algorithm: what the key must be for: `ES256`, `EdDSA` or `RS256`.
        kid: the key's name at the issuer; without it the JWK's own, or its RFC 7638 thumbprint.
        clock: reads both clocks.

    Raises:
        ConfigurationError: the key cannot be used.
    """

    __slots__ = ("_clock", "_key")

    method: Literal["private_key_jwt"] = "private_key_jwt"

    def __init__(
        self,
        key: str | bytes | Mapping[str, Any],
        *,
        algorithm: str | None = None,
        kid: str | None = None,
        clock: Clock = instant.read,
    ) -> None:
        self._key: PrivateKey | KeyFile = PrivateKey.load(_data(key), algorithm=algorithm, kid=kid)
        self._clock = clock

    @classmethod
    def from_file(
        cls,
        path: str | os.PathLike[str],
        *,
        algorithm: str | None = None,
        kid: str | None = None,
        clock: Clock = instant.read,
    ) -> Self:
        """Read the key from a file, and again whenever the file has changed.

        Looked at before each request. A changed file that cannot be used, such as one that is half
        written, leaves the last good key in use and is logged, once, as a warning of the logger
        `ephemera_client`.

        Raises:
            ConfigurationError: the file cannot be read now, or holds no usable key.
        """
        self = cls.__new__(cls)
        self._key = KeyFile(Path(path), algorithm=algorithm, kid=kid)
        self._clock = clock
        return self

    def prove(self, client_id: str, *, issuer: str) -> Proof:
        """Return a new assertion, good for one request and 30 seconds."""
        key = self._key.current() if isinstance(self._key, KeyFile) else self._key
        assertion = build(
            key,
            client_id=client_id,
            issuer=issuer,
            jti=secrets.token_urlsafe(_JTI_BYTES),
            now=self._clock().wall,
        )
        return Proof({}, {"client_assertion_type": ASSERTION_TYPE, "client_assertion": assertion})

    def __repr__(self) -> str:
        return f"PrivateKeyJWT({self._key!r})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a private key is not pickled or copied")


def _data(key: object) -> bytes:
    match key:
        case bytes():
            return key
        case str():
            with suppress(UnicodeError):
                return key.encode()
        case Mapping():
            with suppress(TypeError, ValueError, RecursionError):
                return json.dumps(dict(key)).encode()
    raise ConfigurationError("key must be PEM or a JWK; from_file is for a file")
