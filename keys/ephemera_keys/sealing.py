"""Private keys at rest: AES-256-GCM under a sealing key that is kept elsewhere.

A sealed key is one format byte, the 8-byte fingerprint of the sealing key, a 12-byte random nonce
and the ciphertext with its 16-byte tag. The issuer, kid and alg that it was sealed for are
authenticated with it, so a sealed key moved to another row or another issuer does not open.
"""

import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import Final, Self

from cryptography.exceptions import InvalidTag

from ephemera_keys import sealing_file
from ephemera_keys.errors import SealBroken, SealingKeyInvalid
from ephemera_keys.sealing_key import FINGERPRINT_BYTES, SealingKey

FORMAT: Final = b"\x01"
NONCE_BYTES: Final = 12
TAG_BYTES: Final = 16


class SealingKeys:
    """One or more sealing keys: the first seals, all open. Safe from any number of threads.

    To change the sealing key, put the new one first and keep the old one until nothing is sealed
    under it any more.

    Raises:
        SealingKeyInvalid: There is no key, or one twice.
    """

    __slots__ = ("_keys",)

    def __init__(self, keys: Iterable[SealingKey]) -> None:
        held = tuple(keys)
        self._keys = {key.fingerprint: key for key in held}
        if not held:
            raise SealingKeyInvalid("there is no sealing key")
        if len(self._keys) != len(held):
            raise SealingKeyInvalid("a sealing key is there twice")

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a file of sealing keys, one a line; blank lines and lines that begin with # apart.

        Raises:
            SealingKeyInvalid: The file cannot be read, is open to others, or holds no key, a
                malformed one or one twice. The message names the file and the line.
        """
        keys = sealing_file.read(Path(path))
        try:
            return cls(keys)
        except SealingKeyInvalid as error:
            raise SealingKeyInvalid(f"{path}: {error}") from error

    @classmethod
    def create(cls, path: str | Path) -> Self:
        """Make a file with one new key, readable by its owner alone, and flush it to the disk.

        Raises:
            SealingKeyInvalid: The file is there already, or cannot be written.
        """
        key = SealingKey.generate()
        sealing_file.write(Path(path), key)
        return cls([key])

    @property
    def fingerprints(self) -> tuple[str, ...]:
        """The fingerprints of the keys held, the one that seals first."""
        return tuple(self._keys)

    def seal(self, plaintext: bytes, *, issuer: str, kid: str, alg: str) -> bytes:
        """Encrypt under the first key, for this issuer, kid and alg only."""
        key = next(iter(self._keys.values()))
        nonce = secrets.token_bytes(NONCE_BYTES)
        ciphertext = key.cipher.encrypt(nonce, plaintext, _bound_to(issuer, kid, alg))
        return FORMAT + bytes.fromhex(key.fingerprint) + nonce + ciphertext

    def derive(self, purpose: bytes) -> tuple[bytes, ...]:
        """Return a secret for one purpose, 32 bytes, of each key held: the one that seals first."""
        return tuple(key.derive(purpose) for key in self._keys.values())

    def open(self, sealed: bytes, *, issuer: str, kid: str, alg: str) -> bytearray:
        """Decrypt with whichever key sealed it, into a buffer that the caller should overwrite.

        Raises:
            SealBroken: That key is not here (`wanted` names it), the bytes are of another format,
                or they were altered or sealed for another issuer, kid or alg.
        """
        held = self.fingerprints
        header = len(FORMAT) + FINGERPRINT_BYTES
        if not sealed.startswith(FORMAT) or len(sealed) < header + NONCE_BYTES + TAG_BYTES:
            raise SealBroken("these bytes are not a sealed key of a known format", None, held)
        wanted = sealed[len(FORMAT) : header].hex()
        if wanted not in self._keys:
            raise SealBroken(
                f"key {kid} is sealed under the sealing key {wanted}, "
                f"and only {', '.join(held)} can be had",
                wanted,
                held,
            )
        nonce, ciphertext = sealed[header : header + NONCE_BYTES], sealed[header + NONCE_BYTES :]
        opened = bytearray(len(ciphertext) - TAG_BYTES)
        bound_to = _bound_to(issuer, kid, alg)
        try:
            self._keys[wanted].cipher.decrypt_into(nonce, ciphertext, bound_to, opened)
        except InvalidTag:
            raise SealBroken(
                f"key {kid} does not open under {wanted}: it was altered, or sealed for another "
                "issuer, kid or algorithm",
                wanted,
                held,
            ) from None
        return opened

    def __repr__(self) -> str:
        return f"SealingKeys(fingerprints={self.fingerprints!r})"


def _bound_to(issuer: str, kid: str, alg: str) -> bytes:
    """The associated data; with lengths before the parts, so that no two triples read the same."""
    parts = (FORMAT, issuer.encode(), kid.encode(), alg.encode())
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)
