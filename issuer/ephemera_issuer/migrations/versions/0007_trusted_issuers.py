"""Issuers whose tokens clients may prove themselves with, and whom those tokens must speak of."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

NUMBER = sa.Integer().with_variant(sa.BigInteger(), "postgresql")


def upgrade() -> None:
    """Add the table and the column; until files are applied, no other issuer is trusted."""
    op.create_table(
        "issuers",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("jwks", sa.Text, nullable=False),
        sa.Column("jwks_uri", sa.Text, nullable=True),
        sa.Column("audience", sa.Text, nullable=True),
        sa.Column("max_lifetime", sa.Integer, nullable=False),
        sa.Column("reusable", sa.Boolean, nullable=False),
        sa.Column("removed", sa.Boolean, nullable=False),
        sa.Column("version", NUMBER, nullable=False),
        sa.PrimaryKeyConstraint("id", name="issuers_pkey"),
    )
    op.create_index("issuers_version", "issuers", ["version"])
    op.add_column("clients", sa.Column("identities", sa.Text, nullable=False, server_default=""))
