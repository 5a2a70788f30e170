"""GitHub Actions: a job with `permissions: id-token: write` asks for tokens of its own."""

import os
from collections.abc import Mapping
from contextlib import closing
from urllib.parse import quote

from ephemera_client.compact import strict_json
from ephemera_client.errors import ConfigurationError, IdentityUnavailable
from ephemera_client.http import CaFile, Http, HttpFailed
from ephemera_client.url import check_url

URL, TOKEN = "ACTIONS_ID_TOKEN_REQUEST_URL", "ACTIONS_ID_TOKEN_REQUEST_TOKEN"

_TIMEOUT = 10.0
_MOST_BYTES = 65_536
_OK = 200


class GitHubActions:
    """The token service of GitHub Actions.

    Raises:
        ConfigurationError: this is no job that may ask for tokens.
    """

    __slots__ = ("_ca_file", "_token", "_url")

    def __init__(self, environ: Mapping[str, str] = os.environ, *, ca_file: CaFile = None) -> None:
        url, token = environ.get(URL), environ.get(TOKEN)
        if not url or not token:
            raise ConfigurationError(
                f"{URL} and {TOKEN} are not set: the job needs `permissions: id-token: write`"
            )
        if not token.isascii() or not token.isprintable():
            raise ConfigurationError(f"{TOKEN} is no token")
        check_url(url, unencrypted_hosts=(), what=URL)
        self._url = url
        self._token = token
        self._ca_file = ca_file

    def token(self, audience: str) -> str:
        """Ask for a token for this audience.

        Raises:
            IdentityUnavailable: there is no answer, or one without a token.
        """
        separator = "&" if "?" in self._url else "?"
        # Asked once for many tokens of ours: no connection is kept meanwhile.
        with closing(Http(ca_file=self._ca_file, timeout=_TIMEOUT, max_bytes=_MOST_BYTES)) as http:
            try:
                answer = http.get(
                    f"{self._url}{separator}audience={quote(audience, safe='')}",
                    {"accept": "application/json", "authorization": f"Bearer {self._token}"},
                )
            except HttpFailed as failure:
                raise IdentityUnavailable(f"GitHub Actions: {failure}") from failure
        if answer.status != _OK:
            raise IdentityUnavailable(f"GitHub Actions answered with status {answer.status}")
        try:
            document = strict_json(answer.body)
        except ValueError:
            document = None
        value = document.get("value") if isinstance(document, dict) else None
        if not isinstance(value, str):
            raise IdentityUnavailable("GitHub Actions answered without a token")
        return value

    def __repr__(self) -> str:
        return "GitHubActions()"
