"""Administrators of the issuer."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

NUMBER = sa.Integer().with_variant(sa.BigInteger(), "postgresql")


def upgrade() -> None:
    """Add the table; until a file is applied that declares one, nobody administers over HTTP."""
    op.create_table(
        "admins",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("jwks", sa.Text, nullable=False),
        sa.Column("removed", sa.Boolean, nullable=False),
        sa.Column("version", NUMBER, nullable=False),
    )
    op.create_index("admins_version", "admins", ["version"])
