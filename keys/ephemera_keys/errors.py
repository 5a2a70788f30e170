"""Everything that this package raises.

::

    KeysError
    ├── AlgorithmUnsupported      a key or a name that none of our algorithms fits
    ├── KeyFileInvalid            a PEM file that holds no usable private key
    ├── JWKInvalid                a JWK that is not a public signing key of ours
    ├── RingInvalid               records that cannot stand together, or a moment that is none
    ├── UnknownKid                no record of that name in the ring
    ├── TransitionRefused         a step that the ring's state does not allow
    │   └── RotationRefused       the pending key is not yet in every cache
    ├── SealingKeyInvalid         a sealing key or its file that is malformed, missing or exposed
    ├── SealBroken                a sealed key that does not open
    └── SecretNotPicklable        an attempt to pickle or copy what holds a secret

No message holds key material, sealed bytes or a line of a file. Messages do name what is public:
kids, fingerprints, paths, algorithms.
"""

import math
from datetime import UTC, datetime


class KeysError(Exception):
    """The root of the tree: catch it to catch them all."""


class AlgorithmUnsupported(KeysError):
    """The name is not one of ours, or the key fits none of them or another one than was named."""


class KeyFileInvalid(KeysError):
    """The PEM does not hold exactly one private key that we sign with; the sentence says why."""


class JWKInvalid(KeysError):
    """The JWK lacks a member, has one too many (a private one, say) or contradicts itself."""


class RingInvalid(KeysError):
    """The records do not make a ring: see `KeyRing` and `KeyRecord` for what holds in each."""


class UnknownKid(KeysError):
    """The ring has no record of this kid. A retired key's record goes when it is overdue."""

    def __init__(self, kid: str, held: tuple[str, ...]) -> None:
        super().__init__(kid, held)
        self.kid = kid
        self.held = held

    def __str__(self) -> str:
        return f"the key ring has no key {self.kid!r}; it has {', '.join(self.held)}"


class TransitionRefused(KeysError):
    """The ring is as it was; the sentence says which rule stood in the way."""


class RotationRefused(TransitionRefused):
    """The pending key has not been published for long enough to be in every verifier's cache.

    Attributes:
        earliest: The first safe moment, Unix seconds.
    """

    def __init__(self, earliest: float) -> None:
        super().__init__(earliest)
        self.earliest = earliest

    def __str__(self) -> str:
        moment = datetime.fromtimestamp(math.ceil(self.earliest), UTC)
        return (
            "the pending key has not been published for long enough: verifiers may not know it "
            f"yet; rotate from {moment:%Y-%m-%dT%H:%M:%SZ} on, or as an emergency"
        )


class SealingKeyInvalid(KeysError):
    """The sealing key or its file is malformed, missing, exposed to others or already there."""


class SealBroken(KeysError):
    """Nothing was opened.

    Attributes:
        wanted: Fingerprint of the sealing key that is needed; None where the bytes do not say.
        held: Fingerprints of the sealing keys that were tried from.
    """

    def __init__(self, reason: str, wanted: str | None, held: tuple[str, ...]) -> None:
        super().__init__(reason, wanted, held)
        self.reason = reason
        self.wanted = wanted
        self.held = held

    def __str__(self) -> str:
        return self.reason


class SecretNotPicklable(KeysError, TypeError):
    """A pickle or a copy would carry the secret to where nobody guards it. Also a TypeError."""
