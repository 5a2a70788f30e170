"""One operation of the admin API: what it takes, what it does, what it answers."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, Protocol, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict

from ephemera_issuer.edge import Current
from ephemera_issuer.registry.store import read_registry
from ephemera_issuer.rotation import require_ring

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ephemera_client.instant import Clock
    from ephemera_issuer.admin.api.conditions import Condition
    from ephemera_issuer.database import Database
    from ephemera_issuer.registry.entries import Admin, Registry
    from ephemera_issuer.rotation import SigningKeys, StoredRing
    from ephemera_issuer.snapshot import Snapshot
    from ephemera_keys import Algorithm


_DIGITS = re.compile(r"[0-9]{1,9}")


class Keeping(Current, Protocol):
    """Keeps the snapshot, and what it is taken of; `SnapshotKeeper` does."""

    database: Database
    keys: SigningKeys

    def refresh(self) -> Snapshot:
        """Look at the database at once."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Administered:
    """The issuer that is administered: its keeper, and what its signing keys are to be."""

    keeper: Keeping
    issuer: str
    algorithm: Algorithm
    rotate_every: float | None
    clock: Clock

    @property
    def database(self) -> Database:
        """Where it keeps everything."""
        return self.keeper.database

    def registry(self) -> Registry:
        """The registry as it is now."""
        with self.database.read() as connection:
            return read_registry(connection)

    def ring(self) -> StoredRing:
        """The signing keys as they are now."""
        with self.database.read() as connection:
            return require_ring(connection, self.keeper.keys.timing)


def flag(value: object) -> object:
    """A truth value as a parameter spells it."""
    if isinstance(value, bool):
        return value
    if value not in {"true", "false"}:
        raise ValueError("must be true or false")
    return value == "true"


def number(value: object) -> object:
    """A number as a parameter spells it."""
    if isinstance(value, str):
        if not _DIGITS.fullmatch(value):
            raise ValueError("must be a whole number")
        return int(value)
    return value


class Query(BaseModel):
    """The parameters after the question mark: none."""

    model_config = ConfigDict(extra="forbid")


class Trying(Query):
    """Those of a change."""

    dry_run: Annotated[bool, BeforeValidator(flag)] = False
    """Change nothing, and answer as if it had been done."""


class Body(BaseModel):
    """The JSON object that a request carries."""

    model_config = ConfigDict(extra="forbid")


class Answering(BaseModel):
    """The JSON object that an answer carries."""

    model_config = ConfigDict(json_schema_extra={"additionalProperties": False})


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A request of an administrator, all of it read and checked."""

    issuer: Administered
    admin: Admin
    path: Mapping[str, str]
    query: Any
    body: Any
    condition: Condition


class Answer(NamedTuple):
    """What comes of a request; `changed` says whether the issuer is another than before."""

    document: BaseModel
    status: int = 200
    tag: str | None = None
    changed: bool = False


Conditional: TypeAlias = Literal["no", "may", "must"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """An operation, as it is routed and as it is documented.

    Attributes:
        path: With its parameters in braces; `:path` after the last one lets it hold slashes.
        do: Runs on a thread of its own.
        example: A body.
        answers: The status and the meaning of each good answer.
        refusals: The statuses of refusals besides those that every operation has.
        conditional: Whether it heeds preconditions, and whether it demands them.
        tagged: Whether good answers have an ETag.
    """

    method: Literal["GET", "PUT", "POST", "DELETE"]
    path: str
    name: str
    summary: str
    do: Callable[[Call], Answer]
    answer: type[BaseModel]
    query: type[Query] = Query
    body: type[Body] | Any = None
    example: Any = None
    answers: Mapping[int, str] = field(default_factory=lambda: {200: "As asked."})
    refusals: frozenset[int] = frozenset()
    conditional: Conditional = "no"
    tagged: bool = False
