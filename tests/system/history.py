"""What writes to the database did, told by the processes that make them, and whether it fits.

Writes take turns. So each sees what the one before it left, and those that were committed make one
row of them, from what the database held at first to what it holds in the end. A write that was
acknowledged and is not in that row was lost.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import uuid
from collections import defaultdict
from contextvars import ContextVar
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Any, NamedTuple
from unittest import mock

from ephemera_issuer.database import Database
from ephemera_issuer.registry.tables import metadata
from ephemera_issuer.rotation import SigningKeys

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from sqlalchemy import Connection

ROTATION = "rotation"
KEY_REVOCATION = "revocation of a key"
REMOVAL = "removal of a key"
REGISTRY = "change of the registry"
TOKEN_REVOCATION = "revocation of a token"

_doing: ContextVar[str] = ContextVar("doing", default=TOKEN_REVOCATION)


class Stage(IntEnum):
    """How far a write has come."""

    OPEN = 1  # its turn has come, and its transaction has begun
    COMMITTING = 2  # every row is written, none is committed
    DONE = 3  # it is committed, and acknowledged
    UNDONE = 4  # it failed before it was to be committed
    UNKNOWN = 5  # its commit failed, and nobody knows what became of it


class Told(NamedTuple):
    """What a process says of a write; `held` is what the database holds, as the write sees it."""

    write: str
    stage: Stage
    doing: str
    held: str = ""


@dataclass
class Write:
    """One write as far as it was told: what it found, what it was to leave, how far it came."""

    doing: str
    stage: Stage
    before: str
    after: str = ""


def fingerprint(connection: Connection) -> str:
    """What the database holds, to the last column, in 64 characters."""
    held = hashlib.sha256()
    for table in metadata.sorted_tables:
        rows = sorted(map(repr, connection.execute(table.select())))
        held.update(repr((table.name, rows)).encode())
    return held.hexdigest()


@contextlib.contextmanager
def doing(what: str) -> Iterator[None]:
    """Name the writes of this block."""
    token = _doing.set(what)
    try:
        yield
    finally:
        _doing.reset(token)


def tell_writes(tell: Callable[[Told], object]) -> None:
    """From now on tell of every write of this process and of those that it forks."""
    write = Database.write

    @contextlib.contextmanager
    def told(database: Database) -> Iterator[Connection]:
        number, what, stage = uuid.uuid4().hex, _doing.get(), Stage.UNDONE
        try:
            with write(database) as connection:
                tell(Told(number, Stage.OPEN, what, fingerprint(connection)))
                yield connection
                tell(Told(number, Stage.COMMITTING, what, fingerprint(connection)))
                stage = Stage.UNKNOWN
            stage = Stage.DONE
        finally:
            tell(Told(number, stage, what))

    mock.patch.object(Database, "write", told).start()
    for name, what in {
        "rotate": ROTATION,
        "revoke": KEY_REVOCATION,
        "remove_overdue": REMOVAL,
    }.items():
        mock.patch.object(SigningKeys, name, _named(getattr(SigningKeys, name), what)).start()


def _named(method: Callable[..., Any], what: str) -> Callable[..., Any]:
    @functools.wraps(method)
    def named(*arguments: Any, **options: Any) -> Any:
        with doing(what):
            return method(*arguments, **options)

    return named


def writes_of(told: Iterable[Told]) -> list[Write]:
    """Put together what one process said, in its order."""
    writes: dict[str, Write] = {}
    for word in told:
        if word.stage is Stage.OPEN:
            writes[word.write] = Write(word.doing, word.stage, word.held)
        elif word.write in writes:  # else its turn never came
            writes[word.write].stage = word.stage
            if word.stage is Stage.COMMITTING:
                writes[word.write].after = word.held
    return list(writes.values())


def committed(writes: Iterable[Write], *, first: str, last: str) -> list[Write]:
    """The row of writes that leads from what was held at first to what is held in the end.

    Raises:
        AssertionError: There is none, or one that was acknowledged is not in it, or one that was
            not yet to be committed must have been.
    """
    following = defaultdict[str, list[Write]](list)
    for write in writes:
        if write.after and write.after != write.before:
            following[write.before].append(write)
    acknowledged = sum(write.stage is Stage.DONE for found in following.values() for write in found)
    row: list[Write] = []
    held = first
    while held != last:
        after = [
            write for write in following[held] if write.after in following or write.after == last
        ]
        # Two would leave the same where one was killed and another then did what it had not.
        assert len({write.after for write in after}) == 1, f"{len(after)} come after {len(row)}"
        done = [write for write in after if write.stage is Stage.DONE]
        assert len(done) < 2, f"{len(done)} were both acknowledged after {len(row)}"
        row += done or after[:1]
        held = after[0].after
    lost = acknowledged - sum(write.stage is Stage.DONE for write in row)
    assert lost == 0, f"{lost} acknowledged writes were lost"
    return row
