"""Revocations, and where they are in their sequence."""

import secrets

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

NUMBER = sa.Integer().with_variant(sa.BigInteger(), "postgresql")


def upgrade() -> None:
    """Begin an epoch, with the keys that have been revoked already as its first entries."""
    op.add_column("state", sa.Column("epoch", sa.Text, nullable=False, server_default=""))
    op.add_column(
        "state", sa.Column("revocation_sequence", NUMBER, nullable=False, server_default="0")
    )
    revocations = op.create_table(
        "revocations",
        sa.Column("sequence", NUMBER, primary_key=True, autoincrement=False),
        sa.Column("client", sa.Text, nullable=True),
        sa.Column("audience", sa.Text, nullable=True),
        sa.Column("jti", sa.Text, nullable=True),
        sa.Column("issued_at", NUMBER, nullable=True),
        sa.Column("cut_off", NUMBER, nullable=True),
        sa.Column("kid", sa.Text, nullable=True),
        sa.Column("expires_at", NUMBER, nullable=True),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.UniqueConstraint("jti", name="revocations_jti_key"),
        sa.UniqueConstraint("kid", name="revocations_kid_key"),
    )
    for column in ("client", "cut_off", "expires_at"):
        op.create_index(f"revocations_{column}", "revocations", [column])
    keys = sa.table("signing_keys", sa.column("kid"), sa.column("revoked_at"))
    revoked = op.get_bind().execute(
        sa.select(keys).where(keys.c.revoked_at.is_not(None)).order_by(keys.c.revoked_at)
    )
    entries = [
        {"sequence": sequence, "kid": key.kid, "created_at": key.revoked_at}
        for sequence, key in enumerate(revoked, 1)
    ]
    if entries:
        op.bulk_insert(revocations, entries)
    state = sa.table("state", sa.column("epoch"), sa.column("revocation_sequence"))
    op.execute(
        state.update().values(epoch=secrets.token_urlsafe(16), revocation_sequence=len(entries))
    )
