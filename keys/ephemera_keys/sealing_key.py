"""The key that private keys are sealed under, and its text form."""

import hmac
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Final, NoReturn, Self

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ephemera_keys.errors import SealingKeyInvalid, SecretNotPicklable

PREFIX: Final = "ephemera-sealing-key-1:"
SECRET_BYTES: Final = 32
FINGERPRINT_BYTES: Final = 8


class SealingKey:
    """256 random bits for AES-256-GCM, in no repr, pickle or copy.

    Attributes:
        fingerprint: Names the key in public, 16 hexadecimal digits. Nothing follows from it about
            the key, of which it is a keyed digest.
    """

    __slots__ = ("_secret", "cipher", "fingerprint")

    def __init__(self, secret: bytes) -> None:
        if len(secret) != SECRET_BYTES:
            raise SealingKeyInvalid(f"a sealing key is {SECRET_BYTES} bytes")
        self._secret = secret
        self.cipher = AESGCM(secret)
        digest = hmac.digest(secret, b"ephemera sealing key fingerprint", "sha256")
        self.fingerprint = digest[:FINGERPRINT_BYTES].hex()

    @classmethod
    def generate(cls) -> Self:
        """Make a key from the operating system's randomness."""
        return cls(secrets.token_bytes(SECRET_BYTES))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the text form; the inverse of `reveal`.

        Raises:
            SealingKeyInvalid: It is anything but the prefix and 43 base64url characters of 32
                bytes, written in the one canonical way.
        """
        try:
            key = cls(urlsafe_b64decode(text.removeprefix(PREFIX).encode("ascii") + b"="))
        except (ValueError, SealingKeyInvalid):
            key = None
        if key is None or not hmac.compare_digest(key.reveal().encode(), text.encode()):
            raise SealingKeyInvalid(
                f"a sealing key is written {PREFIX} and {SECRET_BYTES} bytes in unpadded base64url"
            )
        return key

    def derive(self, purpose: bytes) -> bytes:
        """Return 32 secret bytes that are for one purpose, and say nothing of the key itself."""
        return hmac.digest(self._secret, b"ephemera derived " + purpose, "sha256")

    def reveal(self) -> str:
        """Write the secret as text, for the one file that keeps it."""
        return PREFIX + urlsafe_b64encode(self._secret).rstrip(b"=").decode()

    def __repr__(self) -> str:
        return f"SealingKey(fingerprint={self.fingerprint!r})"

    def __reduce__(self) -> NoReturn:
        raise SecretNotPicklable("a sealing key is neither pickled nor copied")
