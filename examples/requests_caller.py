"""Call an API with requests: each attempt, and each hop of a redirect, carries a token of its own.

    EPHEMERA_CLIENT_ISSUER=http://127.0.0.1:8700 EPHEMERA_CLIENT_ID=orders \
        EPHEMERA_CLIENT_SECRET_FILE=orders.secret \
        python examples/requests_caller.py http://127.0.0.1:8080 /invoices

AUDIENCE is the name of the API, as its tokens have it. An `auth=` of requests is asked once, above
redirects; an adapter sends each hop, so the token is put on there.
"""

import os
import sys
from typing import Any

import requests
from requests.adapters import HTTPAdapter

from ephemera_client import ClientSecret, IssuedToken, Target, TokenClient


class TokenAdapter(HTTPAdapter):
    """Sends each request with a fresh token; retries of its own would send one twice."""

    def __init__(self, tokens: TokenClient, target: Target) -> None:
        super().__init__(max_retries=0)
        self._tokens, self._target = tokens, target

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> Any:
        """Send it, and once more if the token was refused for its age."""
        token = self._token()
        response = self._attempt(token, request, *args, **kwargs)
        told = response.headers.get("WWW-Authenticate", "")
        refused = response.status_code == requests.codes.unauthorized and "invalid_token" in told
        in_memory = request.body is None or isinstance(request.body, (bytes, str))
        if refused and in_memory and "token_replayed" not in told:
            response.close()
            response = self._attempt(self._token(instead_of=token), request, *args, **kwargs)
        return response

    def _token(self, instead_of: IssuedToken | None = None) -> IssuedToken:
        target = self._target
        return self._tokens.get(target.audience, scopes=target.scopes, instead_of=instead_of)

    def _attempt(
        self, token: IssuedToken, request: requests.PreparedRequest, *args: Any, **kwargs: Any
    ) -> requests.Response:
        sent = request.copy()
        sent.headers["Authorization"] = f"Bearer {token}"
        response = super().send(sent, *args, **kwargs)
        response.request = request  # without the token, which would reach logs by it
        return response


def session(tokens: TokenClient, origin: str, target: Target) -> requests.Session:
    """A session for this origin alone: a redirect elsewhere raises InvalidSchema."""
    made = requests.Session()
    made.trust_env = False  # a netrc would put another Authorization on the request
    made.adapters.clear()
    # The slash ends the host: without it, https://billing.internal.evil.example would match too.
    made.mount(f"{origin}/", TokenAdapter(tokens, target))
    return made


if __name__ == "__main__":
    origin, *paths = sys.argv[1:]
    billing = Target(os.environ.get("AUDIENCE", "https://billing.internal"), {"invoices:read"})
    with (
        TokenClient(
            os.environ.get("EPHEMERA_CLIENT_ISSUER", "http://127.0.0.1:8700"),
            client_id=os.environ["EPHEMERA_CLIENT_ID"],
            credential=ClientSecret.from_file(os.environ["EPHEMERA_CLIENT_SECRET_FILE"]),
        ) as tokens,
        session(tokens, origin, billing) as api,
    ):
        for path in paths:
            response = api.get(f"{origin}{path}", timeout=10)
            print(response.status_code, response.text)
