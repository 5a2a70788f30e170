"""How a calling service proves to the issuer who it is."""

import base64
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, NamedTuple, NoReturn, Protocol, Self
from urllib.parse import quote_plus

from ephemera_client.errors import ConfigurationError

_VISIBLE = re.compile(r"[\x20-\x7e]+")


class Proof(NamedTuple):
    """What one token request carries of it: headers, and parameters of the form."""

    headers: Mapping[str, str]
    form: Mapping[str, str]

    def __repr__(self) -> str:
        return "Proof(...)"


class Credential(Protocol):
    """A client authentication method."""

    @property
    def method(self) -> str:
        """Its registered name, such as `client_secret_basic`; errors say which was tried."""
        ...

    def prove(self, client_id: str, *, issuer: str) -> Proof:
        """Return the proof for one request to this issuer; called anew for each."""
        ...


class ClientSecret:
    """A shared secret, sent by HTTP Basic (`client_secret_basic`).

    It shows in no repr and cannot be pickled or copied.
    """

    __slots__ = ("_secret",)

    method: Literal["client_secret_basic"] = "client_secret_basic"

    def __init__(self, secret: str) -> None:
        if not isinstance(secret, str) or not _VISIBLE.fullmatch(secret):
            raise ConfigurationError("a client secret must be a str of printable ASCII characters")
        self._secret = secret

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> Self:
        """Read the secret that is the file's one line.

        Raises:
            ConfigurationError: the file cannot be read, or holds something else.
        """
        try:
            lines = Path(path).read_text(encoding="ascii").splitlines()
        except OSError as error:
            raise ConfigurationError(f"client secret file {path}: {error.strerror}") from error
        except ValueError:
            lines = []
        if len(lines) != 1 or not _VISIBLE.fullmatch(lines[0]):
            # No cause: a decoding error would quote the secret.
            raise ConfigurationError(f"client secret file {path}: not one line of printable ASCII")
        return cls(lines[0])

    def prove(self, client_id: str, *, issuer: str) -> Proof:  # noqa: ARG002 - the same for all
        """Return the Basic header; both parts are form-encoded first (RFC 6749 section 2.3.1)."""
        pair = f"{quote_plus(client_id)}:{quote_plus(self._secret)}"
        encoded = base64.b64encode(pair.encode()).decode()
        return Proof({"authorization": f"Basic {encoded}"}, {})

    def __repr__(self) -> str:
        return "ClientSecret(...)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a client secret is not pickled")
