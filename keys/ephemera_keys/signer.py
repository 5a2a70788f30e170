"""What signs: a protocol, and the signer whose key is in this process."""

from typing import NoReturn, Protocol

from ephemera_keys.algorithm import JOSE, Algorithm, PrivateKey
from ephemera_keys.errors import SecretNotPicklable
from ephemera_keys.jwk import public_jwk


class Signer(Protocol):
    """One signing key, wherever it is kept: in memory, on a PKCS#11 token, in a KMS."""

    @property
    def alg(self) -> Algorithm:
        """The JWS `alg` of every signature."""
        ...

    @property
    def kid(self) -> str:
        """The key's RFC 7638 thumbprint."""
        ...

    def sign(self, message: bytes) -> bytes:
        """Sign in JWS form: for ES256 R and S side by side, 64 bytes, not DER (RFC 7518 §3.4)."""
        ...


class LocalSigner:
    """Signs with a private key in memory; safe from any number of threads.

    The key is in no repr, pickle or copy.

    Raises:
        AlgorithmUnsupported: The key does not sign with `algorithm`.
    """

    __slots__ = ("_jose", "_key", "alg", "kid")

    def __init__(self, private_key: PrivateKey, algorithm: Algorithm) -> None:
        self.kid = public_jwk(private_key, alg=algorithm)["kid"]
        self.alg: Algorithm = algorithm
        self._jose = JOSE[algorithm]
        self._key = private_key

    def sign(self, message: bytes) -> bytes:
        """Sign in JWS form; see `Signer.sign`."""
        return self._jose.sign(message, self._key)

    def __repr__(self) -> str:
        return f"LocalSigner(alg={self.alg!r}, kid={self.kid!r})"

    def __reduce__(self) -> NoReturn:
        raise SecretNotPicklable(
            "a signer holds a private key, so it is neither pickled nor copied"
        )
