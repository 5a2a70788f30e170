"""`/explain`: what a client would get, and the rule that decides it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from ephemera_issuer.admin import explanation
from ephemera_issuer.admin.api.call import Answer, Answering, Operation, Query, number

if TYPE_CHECKING:
    from ephemera_issuer.admin.api.call import Call

_LONGEST = 4096


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("must be printable text")
    return text


Text = Annotated[
    str,
    Field(max_length=_LONGEST, json_schema_extra={"pattern": "^[\\x20-\\x7e]*$"}),
    AfterValidator(_printable),
]


class ExplainQuery(Query):
    """What would be asked for, by whom; scopes with spaces between them, all granted without."""

    client: Text
    audience: Text
    scope: Text = ""
    lifetime: Annotated[int, Field(ge=0, le=999_999_999), BeforeValidator(number)] | None = None


class Explanation(Answering):
    """What it would get, and why; where it is refused, what it would be answered."""

    client: str
    audience: str
    granted: bool
    rule: str
    because: str
    registry_version: int
    scopes: list[str] | None = None
    lifetime: int | None = None
    single_use: bool | None = None
    dpop: Literal["required", "optional"] | None = None
    error: str | None = None
    error_description: str | None = None


def _explain(call: Call) -> Answer:
    asked: ExplainQuery = call.query
    document = explanation.explain(
        call.issuer.database,
        client=asked.client,
        audience=asked.audience,
        scopes=asked.scope.split(" ") if asked.scope else [],
        lifetime=asked.lifetime,
        clock=call.issuer.clock,
    )
    return Answer(Explanation(**document))


OPERATIONS = (
    Operation(
        method="GET",
        path="/explain",
        name="explain",
        summary="Say what a token request would get, and the rule that decides it.",
        do=_explain,
        query=ExplainQuery,
        answer=Explanation,
        refusals=frozenset({404}),
    ),
)
