"""What a fake issuer answers over HTTP: metadata, keys and tokens, without any I/O.

It is lax where a real one is strict, but for what its grants say: the credential is anybody's.
"""

import base64
import json
import re
import threading
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qsl, unquote_plus

from ephemera_client import compact
from ephemera_client.dpop import proof
from ephemera_client.errors import ProofRefused, TokenRefused
from ephemera_client.expected import RFC9068
from ephemera_client.http import Response

if TYPE_CHECKING:
    from ephemera_client.testing.issuer import FakeIssuer

METADATA = "/.well-known/oauth-authorization-server"
JWKS = "/.well-known/jwks.json"
TOKEN = "/oauth2/token"  # noqa: S105 - a path

MAX_COUNT = 100
_USUAL_LIFETIME = 120


class Asked(NamedTuple):
    """A token request; `scopes` are None where it named none."""

    client_id: str
    audience: str
    scopes: frozenset[str] | None
    lifetime: int | None
    number: int


class _Refused(Exception):
    """The answer to a request that is refused (RFC 6749 §5.2)."""

    def __init__(self, error: str, description: str | None = None, status: int = 400) -> None:
        super().__init__(error)
        self.answer = _json({"error": error, "error_description": description}, status=status)


class Endpoints:
    """Answers for `issuer`."""

    def __init__(self, issuer: "FakeIssuer", grants: Mapping[str, Collection[str]] | None) -> None:
        self._issuer = issuer
        self._grants = grants
        self._lock = threading.Lock()
        self._refusals: list[_Refused] = []
        self.asked: list[Asked] = []

    def refuse_next(self, error: str, *, description: str | None, status: int) -> None:
        """Refuse one more request."""
        self._refusals.append(_Refused(error, description, status))

    def answer(self, path: str, headers: Mapping[str, str], body: bytes | None) -> Response:
        """Answer one request; without a body it is a GET."""
        if self._issuer.keys.away:
            return _json({}, status=503)
        if path == TOKEN and body is not None:
            try:
                with self._lock:
                    return self._token(headers, body)
            except _Refused as refused:
                return refused.answer
        documents = {METADATA: self._metadata, JWKS: self._issuer.keys.jwks}
        if body is not None or path not in documents:
            return _json({}, status=404)
        return _json(documents[path]())

    def _metadata(self) -> dict[str, Any]:
        issuer = self._issuer.issuer
        return {
            "issuer": issuer,
            "jwks_uri": issuer + JWKS,
            "token_endpoint": issuer + TOKEN,
            "grant_types_supported": ["client_credentials"],
            "dpop_signing_alg_values_supported": list(proof.ALGORITHMS),
            "ephemera_max_count": MAX_COUNT,
        }

    def _token(self, headers: Mapping[str, str], body: bytes) -> Response:
        form = dict(parse_qsl(body.decode("ascii", "replace")))
        audience = form.get("resource") or form.get("audience")
        if form.get("grant_type") != "client_credentials":
            raise _Refused("unsupported_grant_type")
        if audience is None:
            raise _Refused("invalid_target", "resource must name one API")
        scopes = frozenset(form["scope"].split()) if "scope" in form else None
        lifetime = _number(form, "lifetime", 999_999_999)
        number = _number(form, "count", MAX_COUNT) or 1
        asked = Asked(_client_id(headers, form), audience, scopes, lifetime, number)
        self.asked.append(asked)
        if self._refusals:
            raise self._refusals.pop(0)
        granted = self._granted(asked)
        bound = self._binding(headers)
        lifetime = min(lifetime or _USUAL_LIFETIME, RFC9068.longest_lifetime)
        first, *others = (
            self._issuer.mint(
                audience,
                scopes=granted,
                client_id=asked.client_id,
                lifetime=lifetime,
                claims=bound,
            )
            for _ in range(number)
        )
        return _json(
            {
                "access_token": first,
                "token_type": "DPoP" if bound else "Bearer",
                "expires_in": lifetime,
                "scope": " ".join(sorted(granted)),
                "single_use": True,
                "additional_tokens": others or None,
            }
        )

    def _binding(self, headers: Mapping[str, str]) -> dict[str, Any]:
        """Return the claim that binds to the key of a proof, as a real issuer checks it."""
        if "dpop" not in headers:
            return {}
        try:
            proven = proof.check(
                headers["dpop"],
                method="POST",
                url=self._issuer.issuer + TOKEN,
                token=None,
                thumbprint=None,
                nonces=None,
                now=self._issuer.clock().wall,
                known=proof.KnownKeys(),
            )
        except ProofRefused as error:
            raise _Refused("invalid_dpop_proof", str(error).replace('"', "'")) from None
        return {"cnf": {"jkt": proven.thumbprint}}

    def _granted(self, asked: Asked) -> frozenset[str]:
        if self._grants is None:
            return asked.scopes or frozenset()
        if asked.audience not in self._grants:
            raise _Refused("invalid_target", "no grant names this audience")
        granted = frozenset(self._grants[asked.audience])
        if asked.scopes is None:
            return granted
        if not asked.scopes <= granted:
            raise _Refused("invalid_scope", "not every scope is granted")
        return asked.scopes


def _client_id(headers: Mapping[str, str], form: Mapping[str, str]) -> str:
    """Return who says to ask, by any of the methods; who really asks is not looked at."""
    scheme, _, basic = headers.get("authorization", "").partition(" ")
    try:
        if scheme.lower() == "basic":
            said = base64.b64decode(basic, validate=True).decode()
            name: object = unquote_plus(said.partition(":")[0])
        elif "client_assertion" in form:
            name = compact.parse(form["client_assertion"]).claims.get("sub")
        else:
            name = form.get("client_id")
    except (ValueError, TokenRefused):
        name = None
    if not isinstance(name, str) or not name:
        raise _Refused("invalid_client", "the request names no client", 401)
    return name


def _number(form: Mapping[str, str], name: str, most: int) -> int | None:
    value = form.get(name)
    if value is None:
        return None
    if not re.fullmatch(r"[0-9]{1,9}", value) or not 0 < int(value) <= most:
        raise _Refused("invalid_request", f"{name} is not a number from 1 to {most}")
    return int(value)


def _json(members: Mapping[str, Any], *, status: int = 200) -> Response:
    said = {name: value for name, value in members.items() if value is not None}
    headers = {"content-type": "application/json", "cache-control": "no-store"}
    return Response(status, headers, json.dumps(said).encode())
