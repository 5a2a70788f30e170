"""Finding the platform that a process runs on, by what each leaves in the environment."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ephemera_client.errors import ConfigurationError
from ephemera_client.workload import github, spire
from ephemera_client.workload.github import GitHubActions
from ephemera_client.workload.spire import SpireAgent
from ephemera_client.workload.written import TokenFile, TokenVariable

if TYPE_CHECKING:
    from ephemera_client.workload.credential import IdentitySource

FILE = "EPHEMERA_CLIENT_IDENTITY_TOKEN_FILE"
VARIABLE = "EPHEMERA_CLIENT_IDENTITY_TOKEN"
KUBERNETES = Path("/var/run/secrets/ephemera/token")
"""Where docs/federation.md has a projected token of Kubernetes mounted."""


def find(environ: Mapping[str, str], *, mounted: Path = KUBERNETES) -> "IdentitySource":
    """Return the one source of identity that there is.

    What is named for us comes before what is found: EPHEMERA_CLIENT_IDENTITY_TOKEN_FILE, a file, or
    EPHEMERA_CLIENT_IDENTITY_TOKEN, a token, which GitLab's `id_tokens` may set. Otherwise it is a
    token that Kubernetes mounted, GitHub Actions, or a SPIFFE Workload API.

    Raises:
        ConfigurationError: there is none, or more than one: which is meant is then to be said.
    """
    if environ.get(FILE):
        return TokenFile(environ[FILE])
    if environ.get(VARIABLE):
        return TokenVariable(VARIABLE, environ)
    found: dict[str, Callable[[], IdentitySource]] = {}
    if mounted.is_file():
        found[f"Kubernetes ({mounted})"] = lambda: TokenFile(mounted)
    if environ.get(github.URL) and environ.get(github.TOKEN):
        found["GitHub Actions"] = lambda: GitHubActions(environ)
    if environ.get(spire.SOCKET):
        found[f"a Workload API ({spire.SOCKET})"] = lambda: SpireAgent(environ=environ)
    if len(found) != 1:
        what = f"is both of {' and '.join(found)}" if found else "is none that is known"
        raise ConfigurationError(
            f"the platform here {what}: give the credential, or set {FILE} or {VARIABLE}"
        )
    return next(iter(found.values()))()
