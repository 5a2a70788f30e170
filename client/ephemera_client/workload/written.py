"""Tokens that the platform has written down: in a file that it renews, or in a variable."""

import os
from collections.abc import Mapping
from pathlib import Path

from ephemera_client.errors import ConfigurationError, IdentityUnavailable

_LONGEST = 16_384


class TokenFile:
    """A file that the platform keeps fresh, such as a projected token of Kubernetes.

    Read before each token request. The token's audience was chosen when the file was asked for.
    """

    __slots__ = ("_path",)

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)

    def token(self, audience: str) -> str:  # noqa: ARG002 - chosen by who wrote it
        """Return what the file holds.

        Raises:
            IdentityUnavailable: it cannot be read.
        """
        try:
            with self._path.open("rb") as file:
                content = file.read(_LONGEST)
        except OSError as error:
            raise IdentityUnavailable(f"{self._path}: {error.strerror}") from error
        # What is no ASCII is no JWT either, and is refused as such.
        return content.decode("ascii", "replace").strip()

    def __repr__(self) -> str:
        return f"TokenFile({str(self._path)!r})"


class TokenVariable:
    """An environment variable, such as one of GitLab's `id_tokens`.

    Read when this is made: a job's token does not change.

    Raises:
        ConfigurationError: it is not set.
    """

    __slots__ = ("_name", "_token")

    def __init__(self, name: str, environ: Mapping[str, str] = os.environ) -> None:
        if not environ.get(name):
            raise ConfigurationError(f"the variable {name} is not set")
        self._name = name
        self._token = environ[name].strip()

    def token(self, audience: str) -> str:  # noqa: ARG002 - chosen by who set it
        """Return what the variable held."""
        return self._token

    def __repr__(self) -> str:
        return f"TokenVariable({self._name!r})"
