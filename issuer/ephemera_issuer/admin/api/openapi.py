"""The admin API as an OpenAPI 3.1 document, made of what routes and checks the requests."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter
from pydantic.json_schema import models_json_schema

from ephemera_issuer.admin.api.problems import MEDIA_TYPE, Problem
from ephemera_issuer.admin.api.rules import AUDIENCE_ID, CLIENT_ID

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ephemera_issuer.admin.api.call import Operation

_REFERENCE = "#/components/schemas/{model}"
_PARAMETER = re.compile(r"\{(\w+)(:path)?\}")
_WHICH = {"enum": ["oldest", "newest"]}
_NAMES: dict[str, dict[str, Any]] = {
    "client": CLIENT_ID,
    "audience": AUDIENCE_ID,
    "kid": {"type": "string", "minLength": 1, "maxLength": 256},
    "which": _WHICH,
}
_EXAMPLES = {
    "client": "orders",
    "audience": "https://billing.internal",
    "kid": "0S9w3jyp9QW3pZH7qMJGzYWVdR_lCqk66Mdbljr59Uc",
    "which": "oldest",
}
_MEANINGS = {
    400: "The request cannot be read.",
    401: "No administrator has proved to send it, or an assertion was used twice.",
    404: "There is nothing of that name.",
    409: "It does not go with what is there.",
    412: "What is there is not what the precondition says.",
    413: "The body is too large.",
    415: "The body is not JSON.",
    422: "Values are wrong; the fields say which.",
    428: "A precondition is needed.",
    503: "It cannot be known or done just now.",
}
_ALWAYS = frozenset({400, 401, 422, 503})
_RETRY = {"Retry-After": {"schema": {"type": "string"}, "description": "Seconds to wait."}}
_CHALLENGE = {"WWW-Authenticate": {"schema": {"type": "string"}}}
_TAG = {"ETag": {"schema": {"type": "string"}, "description": "For If-Match."}}


def document(operations: Sequence[Operation], *, issuer: str, version: str) -> dict[str, Any]:
    """Describe the operations of an issuer's admin API."""
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        path = _PARAMETER.sub(r"{\1}", operation.path)
        paths.setdefault(path, {})[operation.method.lower()] = _operation(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Ephemera admin API",
            "version": version,
            "description": "Each request carries a JWT of its own, signed by an administrator, "
            f"whose audience is {issuer}/admin (RFC 7523).",
        },
        "servers": [{"url": "/admin/v1"}],
        "security": [{"assertion": []}],
        "paths": paths,
        "components": {
            "schemas": _schemas(operations),
            "securitySchemes": {
                "assertion": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "JWT",
                    "description": "iss and sub: the administrator's id. aud: the issuer "
                    "identifier with /admin. iat, jti, and exp at most 60 seconds ahead. Good for "
                    "one request.",
                }
            },
        },
    }


def _operation(operation: Operation) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "parameters": [
            *_path_parameters(operation),
            *_query_parameters(operation),
            *_preconditions(operation),
        ],
        "responses": {
            **{str(status): _good(operation, status) for status in operation.answers},
            **{str(status): _bad(status) for status in sorted(_refusals(operation))},
        },
    }
    if operation.tagged and operation.method == "GET":
        described["responses"]["304"] = {"description": "It is as it was.", "headers": _TAG}
    if operation.body is not None:
        described["requestBody"] = {
            "required": True,
            "content": {
                "application/json": {
                    "schema": _reference(operation.body),
                    "examples": {"usual": {"value": operation.example}},
                }
            },
        }
    return described


def _refusals(operation: Operation) -> frozenset[int]:
    refusals = _ALWAYS | operation.refusals
    if operation.body is not None:
        refusals |= {413, 415}
    if "{" in operation.path:
        refusals |= {404}
    if operation.conditional != "no":
        refusals |= {412}
    if operation.conditional == "must":
        refusals |= {428}
    return refusals


def _path_parameters(operation: Operation) -> Iterator[dict[str, Any]]:
    for name, _ in _PARAMETER.findall(operation.path):
        yield {
            "name": name,
            "in": "path",
            "required": True,
            "schema": _NAMES[name],
            "examples": {"usual": {"value": _EXAMPLES[name]}},
        }


def _query_parameters(operation: Operation) -> Iterator[dict[str, Any]]:
    schema = TypeAdapter(operation.query).json_schema()
    for name, described in schema.get("properties", {}).items():
        parameter = {
            "name": name,
            "in": "query",
            "required": name in schema.get("required", ()),
            "schema": _present(described),
        }
        if parameter["required"]:
            parameter["examples"] = {"usual": {"value": _EXAMPLES[name]}}
        yield parameter


def _present(described: dict[str, Any]) -> dict[str, Any]:
    """The schema of a parameter that is there; one that is not is left out, never null."""
    shown = {name: value for name, value in described.items() if name not in {"title", "default"}}
    given = [one for one in shown.pop("anyOf", ()) if one != {"type": "null"}]
    return shown | (given[0] if given else {})


def _preconditions(operation: Operation) -> Iterator[dict[str, Any]]:
    tags = {"type": "string", "pattern": '^(\\*|"[\\x21\\x23-\\x7e]+")$'}
    if operation.conditional != "no":
        yield {
            "name": "If-Match",
            "in": "header",
            "required": False,
            "schema": tags,
            "examples": {"whatever": {"value": "*"}},
            "description": "The ETag that was seen.",
        }
    if operation.method == "PUT" and operation.conditional == "must":
        yield {
            "name": "If-None-Match",
            "in": "header",
            "required": False,
            "schema": {"const": "*"},
            "description": "To make what is not there yet.",
        }


def _good(operation: Operation, status: int) -> dict[str, Any]:
    return {
        "description": operation.answers[status],
        "headers": _TAG if operation.tagged and operation.method == "GET" else {},
        "content": {"application/json": {"schema": _reference(operation.answer)}},
    }


def _bad(status: int) -> dict[str, Any]:
    headers = {401: _CHALLENGE, 503: _RETRY}.get(status, {})
    return {
        "description": _MEANINGS[status],
        "headers": headers,
        "content": {MEDIA_TYPE: {"schema": _reference(Problem)}},
    }


def _reference(model: Any) -> dict[str, str]:
    return {"$ref": _REFERENCE.format(model=model.__name__)}


def _schemas(operations: Sequence[Operation]) -> dict[str, Any]:
    bodies = {operation.body for operation in operations if operation.body is not None}
    answers = {operation.answer for operation in operations} | {Problem}
    wanted = [
        *((model, "validation") for model in sorted(bodies, key=_name)),
        *((model, "serialization") for model in sorted(answers, key=_name)),
    ]
    _, schema = models_json_schema(wanted, ref_template=_REFERENCE)  # type: ignore[arg-type]
    definitions: dict[str, Any] = schema["$defs"]
    return definitions


def _name(model: Any) -> str:
    name: str = model.__name__
    return name
