"""Private keys as PEM, the form in which they are handed in and sealed."""

import re
from typing import Final

from cryptography.exceptions import InternalError, UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from ephemera_keys.algorithm import PrivateKey, fitting
from ephemera_keys.errors import AlgorithmUnsupported, KeyFileInvalid

MOST_BYTES: Final = 65536
_LABEL = re.compile(rb"-----BEGIN ([A-Z0-9 ]{0,64})-----")
_TO_PKCS8 = "`openssl pkcs8 -topk8 -nocrypt` writes it in the form needed"


def load(pem: bytes | bytearray) -> PrivateKey:
    """Read the one private key of a PEM file: PKCS#8, or the older SEC 1 and PKCS#1 forms.

    Raises:
        KeyFileInvalid: There is no private key, or more than one, or it is encrypted, damaged or
            of a kind that we do not sign with. The sentence says which, and quotes nothing.
    """
    _require_one_private_key(pem)
    try:
        key = load_pem_private_key(pem, password=None)
        fitting(key)
    except AlgorithmUnsupported as error:
        raise KeyFileInvalid(str(error)) from error
    except TypeError:  # cryptography's word for a key that needs a password
        raise KeyFileInvalid(f"the private key is encrypted; {_TO_PKCS8}") from None
    except (ValueError, UnsupportedAlgorithm, InternalError):
        raise KeyFileInvalid("the private key is damaged or of an unknown kind") from None
    return key  # type: ignore[return-value]


def dump(key: PrivateKey) -> bytes:
    """Write a private key as PKCS#8 PEM, in clear text: seal it before it is stored."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _require_one_private_key(pem: bytes | bytearray) -> None:
    """Tell the usual mistakes apart before the parser calls them all malformed."""
    if not pem or pem.isspace():
        raise KeyFileInvalid("the key file is empty")
    if len(pem) > MOST_BYTES:
        raise KeyFileInvalid(f"the key file is over {MOST_BYTES} bytes: no private key is")
    labels = _LABEL.findall(pem)
    private = [label for label in labels if label.endswith(b"PRIVATE KEY")]
    if not labels:
        raise KeyFileInvalid("the key file is not PEM: it has no -----BEGIN line")
    if not private:
        raise KeyFileInvalid("the key file holds a public key or certificate, not a private key")
    if len(private) > 1:
        raise KeyFileInvalid("the key file holds more than one private key")
    if private == [b"OPENSSH PRIVATE KEY"]:
        raise KeyFileInvalid(
            "the private key is in OpenSSH's form; `ssh-keygen -p -m PKCS8` is needed"
        )
