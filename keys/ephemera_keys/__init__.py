"""Signing keys for a token issuer: make them, publish them, rotate them, seal them at rest.

`generate` and `pem` make private keys, `LocalSigner` signs with one, `KeyRing` decides which key
signs and which are published, `jwks.document` publishes, and `SealingKeys` guards them in a store.
"""

from ephemera_keys import jwks, pem
from ephemera_keys.algorithm import Algorithm, PrivateKey
from ephemera_keys.errors import (
    AlgorithmUnsupported,
    JWKInvalid,
    KeyFileInvalid,
    KeysError,
    RingInvalid,
    RotationRefused,
    SealBroken,
    SealingKeyInvalid,
    SecretNotPicklable,
    TransitionRefused,
    UnknownKid,
)
from ephemera_keys.generate import generate
from ephemera_keys.jwk import public_jwk, thumbprint
from ephemera_keys.record import KeyRecord, State
from ephemera_keys.ring import KeyRing, Timing
from ephemera_keys.sealing import SealingKeys
from ephemera_keys.sealing_key import SealingKey
from ephemera_keys.signer import LocalSigner, Signer

__all__ = [
    "Algorithm",
    "AlgorithmUnsupported",
    "JWKInvalid",
    "KeyFileInvalid",
    "KeyRecord",
    "KeyRing",
    "KeysError",
    "LocalSigner",
    "PrivateKey",
    "RingInvalid",
    "RotationRefused",
    "SealBroken",
    "SealingKey",
    "SealingKeyInvalid",
    "SealingKeys",
    "SecretNotPicklable",
    "Signer",
    "State",
    "Timing",
    "TransitionRefused",
    "UnknownKid",
    "generate",
    "jwks",
    "pem",
    "public_jwk",
    "thumbprint",
]
