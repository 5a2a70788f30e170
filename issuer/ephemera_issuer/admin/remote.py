"""Administration through the admin API of a running issuer."""

from __future__ import annotations

import json
from collections import defaultdict
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

import httpx

from ephemera_client import PrivateKeyJWT
from ephemera_client.errors import ConfigurationError
from ephemera_client.http import tls_context
from ephemera_issuer.admin import PATH, documents
from ephemera_issuer.admin.documents import moment
from ephemera_issuer.authentication.assertion import administration
from ephemera_issuer.errors import AdministrationRefused
from ephemera_issuer.registry.secrets import SecretsDirectory
from ephemera_issuer.settings import Settings, is_loopback

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from ephemera_issuer.admin.documents import Document

_SECONDS = 30
_UNCHANGED = 412
_AGAIN = 3


class ServerAdministration:
    """Asks an issuer, as one of its administrators: each request with an assertion of its own.

    Args:
        http: Leads to the private listener.
        admin_id: Who asks.
        key: Its private key.
        issuer: The issuer identifier, which the assertions are for whatever server they reach.
    """

    def __init__(
        self, http: httpx.Client, *, admin_id: str, key: PrivateKeyJWT, issuer: str
    ) -> None:
        self._http = http
        self._admin_id = admin_id
        self._key = key
        self._audience = administration(issuer)

    def clients(self) -> Document:
        """All clients with their grants."""
        version, listed = self._all("/clients")
        granted: dict[str, list[Document]] = defaultdict(list)
        for grant in self._all("/grants")[1]:
            granted[grant["client"]].append(grant)
        clients = [documents.client_of(client, granted[client["id"]]) for client in listed]
        return {"registry_version": version, "clients": clients}

    def client(self, client: str) -> Document:
        """One client with its grants."""
        found = self._ask("GET", _client(client)).json()
        version, grants = self._all("/grants", client=client)
        return {"registry_version": version, "client": documents.client_of(found, grants)}

    def set_disabled(self, client: str, *, disabled: bool) -> bool:
        """Disable or enable a client, and tell whether that changed anything."""
        path = f"{_client(client)}/disabled"
        return bool(self._ask("PUT", path, body={"disabled": disabled}).json()["changes"])

    def roll_secret(self, client: str, secrets_dir: Path) -> Path:
        """Give a client a second secret, and return the file that holds it."""
        # Room first: a secret that is made and cannot be kept is lost.
        with SecretsDirectory(secrets_dir, reuse=False).receiving(client) as write:
            made = self._conditionally("POST", f"{_client(client)}/secrets", seen=_client(client))
            secret: str = made.json()["client_secret"]
            return write(secret)

    def drop_secret(self, client: str, *, oldest: bool) -> None:
        """Take one of a client's two secrets away."""
        which = "oldest" if oldest else "newest"
        path = f"{_client(client)}/secrets/{which}"
        self._conditionally("DELETE", path, seen=_client(client))

    def keys(self) -> Document:
        """The signing keys."""
        return self._document("GET", "/keys")

    def rotate(self, *, emergency: bool) -> Document:
        """Let the pending key sign; the signing keys after that."""
        body = {"emergency": emergency}
        document: Document = self._conditionally(
            "POST", "/keys/rotations", seen="/keys", body=body
        ).json()
        return document["keys"]  # type: ignore[no-any-return]

    def timeline(self) -> Document:
        """What a rotation would do, and when."""
        return self._document("GET", "/keys/timeline")

    def revoke_key(self, kid: str) -> Document:
        """Withdraw a key for good; the signing keys after that."""
        document = self._document("PUT", f"/keys/{quote(kid, safe='')}/revocation")
        return document["keys"]  # type: ignore[no-any-return]

    def revoke_token(self, jti: str) -> Document:
        """Revoke one token."""
        return self._revoke({"jti": jti})

    def revoke_tokens(
        self, *, client: str | None, audience: str | None, until: int | None
    ) -> Document:
        """Revoke all tokens of a client, for an audience, or of the one for the other."""
        named = {"client": client, "audience": audience}
        body = {name: value for name, value in named.items() if value is not None}
        if until is not None:
            body["issued_before"] = str(moment(until + 1))
        return named | self._revoke(body)

    def explain(
        self, *, client: str, audience: str, scopes: Sequence[str], lifetime: int | None
    ) -> Document:
        """Say what a request would get."""
        asked = {"client": client, "audience": audience, "scope": " ".join(scopes)}
        if lifetime is not None:
            asked["lifetime"] = str(lifetime)
        return self._document("GET", "/explain", **asked)

    def _revoke(self, body: Document) -> Document:
        document: Document = self._ask("POST", "/revocations", body=body).json()
        return document["revocation"]  # type: ignore[no-any-return]

    def _all(self, path: str, **query: str) -> tuple[int, list[Document]]:
        """Every page of a list, and the registry version of the last."""
        items: list[Document] = []
        after: dict[str, str] = {}
        while True:
            page = self._document("GET", path, limit="500", **query, **after)
            items += page["items"]
            if page["next"] is None:
                return page["registry_version"], items
            after = {"after": page["next"]}

    def _document(self, method: str, path: str, **query: str) -> Document:
        document: Document = self._ask(method, path, query=query).json()
        return document

    def _conditionally(
        self, method: str, path: str, *, seen: str, body: Document | None = None
    ) -> httpx.Response:
        """Do something to what is at `seen` as it is now, once, whoever changes it meanwhile."""
        for _ in range(_AGAIN):
            tag = self._ask("GET", seen).headers["etag"]
            answer = self._ask(method, path, body=body, tag=tag, expected={_UNCHANGED})
            if answer.status_code != _UNCHANGED:
                return answer
        raise AdministrationRefused("others keep changing it: look again")

    def _ask(  # noqa: PLR0913 - what a request is made of
        self,
        method: str,
        path: str,
        *,
        query: dict[str, str] | None = None,
        body: Document | None = None,
        tag: str | None = None,
        expected: set[int] | None = None,
    ) -> httpx.Response:
        assertion = self._key.prove(self._admin_id, issuer=self._audience).form["client_assertion"]
        headers = {"authorization": f"Bearer {assertion}"}
        if tag is not None:
            headers["if-match"] = tag
        failure = ""
        try:
            answer = self._http.request(
                method, PATH + path, params=query or None, json=body, headers=headers
            )
        except httpx.HTTPError as error:
            failure = type(error).__name__
        if failure:
            # Raised out here, so that no request goes along, which carries an assertion.
            raise AdministrationRefused(
                f"{self._http.base_url} does not answer ({failure}); what was asked may have been "
                "done or not"
            )
        if not answer.is_success and answer.status_code not in (expected or ()):
            raise AdministrationRefused(_why(answer))
        return answer


def _client(client: str) -> str:
    return f"/clients/{quote(client, safe='')}"


def _why(answer: httpx.Response) -> str:
    """What the issuer says of a refusal, a line for each field that it names."""
    try:
        problem: Any = json.loads(answer.content)
    except ValueError:
        problem = None
    if not isinstance(problem, dict) or not isinstance(problem.get("detail"), str):
        return f"answered with status {answer.status_code}: no admin API is there"
    fields = problem.get("fields") or ()
    lines = [f"{field['field']}: {field['message']}" for field in fields]
    return "\n".join(lines or [problem["detail"]])


@contextmanager
def remote_administration(
    url: str, *, admin_id: str, key_file: Path, ca_file: Path | None
) -> Iterator[ServerAdministration]:
    """Lead to the issuer whose private listener is at `url`.

    EPHEMERA_ISSUER says for which issuer the assertions are: a server that is another one's can do
    nothing with them.

    Raises:
        AdministrationRefused: The URL, the key or the authority cannot be used.
    """
    settings = Settings()
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme not in {"https", "http"} or not host or parts.path.strip("/") or parts.query:
        raise AdministrationRefused("--server must be https://HOST:PORT, without a path")
    if parts.scheme == "http" and not is_loopback(host) and host not in settings.unencrypted_hosts:
        raise AdministrationRefused(
            "--server must be https: new secrets come back over it. http is for loopback, and for "
            "hosts that EPHEMERA_UNENCRYPTED_HOSTS names"
        )
    try:
        key = PrivateKeyJWT.from_file(key_file)
        tls = tls_context(ca_file)
    except ConfigurationError as error:
        raise AdministrationRefused(str(error)) from error
    with httpx.Client(
        base_url=f"{parts.scheme}://{parts.netloc}",
        verify=tls,
        trust_env=False,
        follow_redirects=False,
        timeout=_SECONDS,
    ) as http:
        issuer = settings.issuer_at(settings.address.port)
        yield ServerAdministration(http, admin_id=admin_id, key=key, issuer=issuer)
