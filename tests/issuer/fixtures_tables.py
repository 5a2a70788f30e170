"""The tables that there are, beside those that the code knows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from ephemera_issuer.registry.tables import PARTIAL_INDEXES, metadata

if TYPE_CHECKING:
    from sqlalchemy import Connection


def assert_current(connection: Connection) -> None:
    """The migrations make the tables that the code uses, and the indexes that it only names."""
    steps = compare_metadata(MigrationContext.configure(connection), metadata)
    assert {step[0] for step in steps} <= {"remove_index"}
    assert tuple(sorted(step[1].name for step in steps)) == PARTIAL_INDEXES
