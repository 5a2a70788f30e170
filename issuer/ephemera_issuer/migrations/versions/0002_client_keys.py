"""Clients that authenticate with keys, and clients that may introspect."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the columns; until files are applied, clients have no keys and nobody introspects."""
    op.add_column(
        "audiences", sa.Column("introspected_by", sa.Text, nullable=False, server_default="")
    )
    op.add_column("clients", sa.Column("jwks", sa.Text, nullable=False, server_default=""))
    op.add_column("clients", sa.Column("jwks_uri", sa.Text, nullable=True))
