"""The audit's chain of records."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

NUMBER = sa.Integer().with_variant(sa.BigInteger(), "postgresql")


def upgrade() -> None:
    """Make room for it; where a backup was restored, it is there already and stays."""
    op.create_table(
        "audit",
        sa.Column("sequence", NUMBER, primary_key=True, autoincrement=False),
        sa.Column("line", sa.Text, nullable=False),
        if_not_exists=True,
    )
