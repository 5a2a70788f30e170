"""Audiences whose tokens must be bound to their sender's key."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Leave every audience as it was: a bound token is optional there."""
    op.add_column(
        "audiences",
        sa.Column("dpop_required", sa.Boolean, nullable=False, server_default=sa.false()),
    )
