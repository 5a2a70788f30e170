"""The values of the registry in JSON: checked by what checks them in registry files.

A schema beside each check says the same, as far as a schema can.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import PlainValidator, WithJsonSchema

from ephemera_client.errors import JwkInvalid
from ephemera_issuer.form import MINIMUM_LIFETIME
from ephemera_issuer.policy import MAXIMUM_LIFETIME
from ephemera_issuer.registry import syntax
from ephemera_issuer.registry.declarations import Place
from ephemera_issuer.registry.entries import MOST_CREDENTIALS, ClientKey
from ephemera_issuer.registry.jwks_file import parse_keys

if TYPE_CHECKING:
    from collections.abc import Callable

CLIENT_ID: dict[str, Any] = {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$"}
AUDIENCE_ID: dict[str, Any] = {
    "type": "string",
    "maxLength": 255,
    "pattern": "^[a-z][a-z0-9+.-]*:",
    "description": "An absolute URI in its one spelling: lower case, no default port, no final "
    "slash, no query. In a path its slashes may be written as %2F.",
}
SCOPE: dict[str, Any] = {"type": "string", "pattern": r"^[\x21\x23-\x5b\x5d-\x7e]{1,128}$"}
JWK: dict[str, Any] = {
    "type": "object",
    "required": ["kty", "kid"],
    "properties": {"kty": {"enum": ["EC", "OKP", "RSA"]}, "kid": {"type": "string"}},
    "description": "A public key for ES256, EdDSA or RS256 (RFC 7517 §4), with a kid.",
}
EXAMPLE_JWK: dict[str, Any] = {
    "kty": "EC",
    "crv": "P-256",
    "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
    "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
    "kid": "2026-01",
}


def _rule(check: Callable[[object], Any], schema: dict[str, Any]) -> Any:
    return Annotated[Any, PlainValidator(check), WithJsonSchema(schema)]


def _seconds(value: object) -> int:
    if isinstance(value, str):
        raise ValueError("must be a whole number of seconds")  # noqa: TRY004 - a wrong value
    return syntax.lifetime(value)


def _jwk(value: object) -> ClientKey:
    if not isinstance(value, dict):
        raise ValueError("must be a JWK")  # noqa: TRY004 - a wrong value
    try:
        return ClientKey.parse(value)
    except JwkInvalid as error:
        raise ValueError(str(error)) from None


ClientId = _rule(syntax.client_id, CLIENT_ID)
AudienceId = _rule(syntax.audience_id, AUDIENCE_ID)
Scopes = _rule(syntax.scopes, {"type": "array", "items": SCOPE, "minItems": 1, "uniqueItems": True})
Lifetime = _rule(
    _seconds, {"type": "integer", "minimum": MINIMUM_LIFETIME, "maximum": MAXIMUM_LIFETIME}
)
Flag = _rule(syntax.flag, {"type": "boolean"})
Clients = _rule(syntax.clients, {"type": "array", "items": CLIENT_ID, "uniqueItems": True})
Binding = _rule(syntax.dpop, {"enum": ["required", "optional"]})
Identities = _rule(
    syntax.identities,
    {
        "type": "array",
        "minItems": 1,
        "maxItems": 16,
        "uniqueItems": True,
        "items": {
            "type": "object",
            "required": ["issuer"],
            "properties": {
                "issuer": {"type": "string", "pattern": "^(https?|spiffe)://"},
                "subject": {"type": "string", "minLength": 1, "maxLength": 1024},
                "subject_prefix": {"type": "string", "minLength": 1, "maxLength": 1024},
                "claims": {
                    "type": "object",
                    "additionalProperties": {"type": ["string", "integer", "boolean"]},
                },
            },
            "additionalProperties": False,
        },
    },
)
Secret = _rule(syntax.secret, {"const": "generate"})
JwksUri = _rule(syntax.jwks_uri, {"type": "string", "maxLength": 1024, "pattern": "^https?://"})
Jwk = _rule(_jwk, JWK)
Jwks = _rule(
    parse_keys,
    {
        "type": "object",
        "required": ["keys"],
        "properties": {
            "keys": {
                "type": "array",
                "items": JWK,
                "minItems": 1,
                "maxItems": MOST_CREDENTIALS,
            }
        },
    },
)

PLACE = Place("the request", "body", {})
"""Where a problem stands that was found in the body of a request."""
PATH = Place("the request", "path", {})
"""Or in its path."""
