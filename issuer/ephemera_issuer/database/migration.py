"""The revisions of the tables: which there are, which one a database has, and the steps between."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import inspect, text

from ephemera_issuer.database.transactions import note
from ephemera_issuer.errors import DatabaseTooNew, DatabaseUnusable

if TYPE_CHECKING:
    from collections.abc import Collection

    from alembic.script import ScriptDirectory
    from sqlalchemy import Connection

_SCRIPTS = Path(__file__).parent.parent / "migrations"
_OURS = {"alembic_version", "state"}
_KEPT = {"audit"}
"""What stays while a backup takes the place of everything else."""


class Tables(NamedTuple):
    """What was found in a database: the names of its tables, and the revisions noted there."""

    names: Collection[str]
    revisions: Collection[str]


class Migrated(NamedTuple):
    """The revision that tables were of, None where there were none, and that they are of now."""

    before: str | None
    after: str


class Step(NamedTuple):
    """One revision, and what it is about."""

    revision: str
    summary: str


def head() -> str:
    """The revision of this version's tables."""
    return _revisions()[-1]


def is_current(revision: str) -> bool:
    """Whether tables of this revision are those of this version."""
    return revision == head()


def is_known(revision: object) -> bool:
    """Whether this version has heard of the revision."""
    return revision in _revisions()


def steps(revision: str | None) -> list[Step]:
    """The revisions that a database still lacks, in the order of their application."""
    between = _scripts().iterate_revisions("head", revision or "base")
    return [Step(script.revision, script.doc) for script in reversed(list(between))]


def tables(connection: Connection) -> Tables:
    """What is in the schema that the connection works in."""
    names = set(inspect(connection).get_table_names())
    if not names >= _OURS:
        return Tables(names, ())
    return Tables(names, connection.scalars(text("SELECT version_num FROM alembic_version")).all())


def revision_of(found: Tables, *, location: str) -> str | None:
    """Which revision the tables are of; None where there are none.

    Raises:
        DatabaseTooNew: It is none that this version knows.
        DatabaseUnusable: They are not Ephemera's.
    """
    if not set(found.names) - _KEPT:
        return None
    if not set(found.names) >= _OURS:
        raise DatabaseUnusable(f"{location}: holds tables of another program")
    revision = next(iter(found.revisions), None)
    if revision is None or not is_known(revision):
        raise DatabaseTooNew(
            f"{location}: a newer version of Ephemera wrote this database (its tables are of "
            f"revision {revision}, this version knows up to {head()}); "
            "it was left untouched: upgrade Ephemera, or restore a backup made before"
        )
    return revision


def upgrade(connection: Connection, *, location: str, to: str = "head") -> None:
    """Apply what is missing, in the write transaction of the connection.

    Raises:
        DatabaseTooNew: A newer version did so meanwhile.
    """
    before = revision_of(tables(connection), location=location)
    if before and connection.dialect.name != "sqlite":
        # Readers begin with this table. Whoever has it has all of them, so none waits in a circle.
        connection.execute(text("LOCK TABLE state IN ACCESS EXCLUSIVE MODE"))
    from alembic import command  # noqa: PLC0415 - as in _scripts
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, to)
    after = head() if to == "head" else to
    if before != after:
        note(connection, Migrated(before, after))


@cache
def _revisions() -> list[str]:
    # By the names of their files, which begin with them: a database that is up to date, as at
    # nearly every start, is then known to be so without Alembic.
    return sorted(file.name.partition("_")[0] for file in (_SCRIPTS / "versions").glob("[0-9]*.py"))


def _scripts() -> ScriptDirectory:
    # It takes as long to load as all of the database.
    from alembic.script import ScriptDirectory  # noqa: PLC0415

    return ScriptDirectory(str(_SCRIPTS))
