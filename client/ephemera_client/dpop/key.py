"""The key that a calling service binds its tokens to, and the proofs that it makes with it."""

import math
import os
import secrets
from pathlib import Path
from typing import NoReturn, Self

from ephemera_client import compact
from ephemera_client.dpop.proof import TYPE, token_hash
from ephemera_client.dpop.target import target
from ephemera_client.errors import ConfigurationError
from ephemera_client.jwk import thumbprint
from ephemera_client.private_key import MAX_BYTES, PrivateKey

_JTI_BYTES = 16
_MEMBERS = frozenset({"kty", "crv", "x", "y", "n", "e"})


class DPoPKey:
    """A private key that tokens are bound to; made by `generate`, or read by `from_file`.

    Safe from any number of threads. It shows in no repr and cannot be pickled or copied.
    """

    __slots__ = ("_header", "_key", "thumbprint")

    def __init__(self, key: PrivateKey) -> None:
        self._key = key
        public = {name: value for name, value in key.public_jwk().items() if name in _MEMBERS}
        self._header = {"typ": TYPE, "alg": key.alg, "jwk": public}
        self.thumbprint = thumbprint(public)

    @classmethod
    def generate(cls, algorithm: str = "ES256") -> Self:
        """Make a key that is never written anywhere and ends with the process: the usual case.

        Raises:
            ConfigurationError: the algorithm is not ES256, EdDSA or RS256.
        """
        return cls(PrivateKey.generate(algorithm))

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> Self:
        """Read a PEM (PKCS#8, SEC 1, PKCS#1) or JWK file, once.

        A file that is replaced later changes nothing, for the tokens at hand are bound to the key
        that was there.

        Raises:
            ConfigurationError: the file cannot be read, or holds no usable key.
        """
        try:
            with Path(path).open("rb") as file:
                data = file.read(MAX_BYTES + 1)
        except OSError as error:
            raise ConfigurationError(f"DPoP key file {path}: {error.strerror}") from error
        try:
            return cls(PrivateKey.load(data))
        except ConfigurationError as error:
            reason = str(error)
        raise ConfigurationError(f"DPoP key file {path}: {reason}")

    def proof(
        self, method: str, url: str, *, token: str | None, nonce: str | None, now: float
    ) -> str:
        """Return the proof for one request: the value of its DPoP header.

        Args:
            method: of the request, as it is sent.
            url: of the request; its query is left out.
            token: the access token that goes along; None for a token request.
            nonce: what the server gave last, if anything.
            now: Unix seconds.

        Raises:
            ConfigurationError: the URL is none that a request can be sent to.
        """
        try:
            claims: dict[str, object] = {"htm": method, "htu": target(url)}
        except ValueError:
            raise ConfigurationError("a proof is for an absolute http or https URL") from None
        claims |= {"iat": math.floor(now), "jti": secrets.token_urlsafe(_JTI_BYTES)}
        if token is not None:
            claims["ath"] = token_hash(token)
        if nonce is not None:
            claims["nonce"] = nonce
        return compact.write(self._header, claims, sign=self._key.sign)

    def __repr__(self) -> str:
        return f"DPoPKey(alg={self._key.alg!r}, thumbprint={self.thumbprint!r})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a private key is not pickled or copied")
