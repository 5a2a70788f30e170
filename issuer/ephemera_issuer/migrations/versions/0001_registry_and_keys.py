"""The registry and the signing keys."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

NUMBER = sa.Integer().with_variant(sa.BigInteger(), "postgresql")


def upgrade() -> None:
    """Make the first tables and the one row of `state`."""
    state = op.create_table(
        "state",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("registry_version", NUMBER, nullable=False),
        sa.Column("keys_version", NUMBER, nullable=False),
        sa.Column("issuer", sa.Text, nullable=True),
        sa.CheckConstraint("id = 1", name="state_single_row"),
    )
    op.bulk_insert(state, [{"id": 1, "registry_version": 0, "keys_version": 0, "issuer": None}])
    op.create_table(
        "audiences",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("scopes", sa.Text, nullable=False),
        sa.Column("max_lifetime", sa.Integer, nullable=False),
        sa.Column("single_use", sa.Boolean, nullable=False),
        sa.Column("disabled", sa.Boolean, nullable=False),
        sa.Column("removed", sa.Boolean, nullable=False),
        sa.Column("version", NUMBER, nullable=False),
    )
    op.create_index("audiences_version", "audiences", ["version"])
    op.create_table(
        "clients",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("secret_hashes", sa.Text, nullable=False),
        sa.Column("disabled", sa.Boolean, nullable=False),
        sa.Column("removed", sa.Boolean, nullable=False),
        sa.Column("version", NUMBER, nullable=False),
    )
    op.create_index("clients_version", "clients", ["version"])
    op.create_table(
        "grants",
        sa.Column("client", sa.Text, sa.ForeignKey("clients.id"), primary_key=True),
        sa.Column("audience", sa.Text, sa.ForeignKey("audiences.id"), primary_key=True),
        sa.Column("scopes", sa.Text, nullable=False),
        sa.Column("max_lifetime", sa.Integer, nullable=False),
        sa.Column("removed", sa.Boolean, nullable=False),
        sa.Column("version", NUMBER, nullable=False),
    )
    op.create_index("grants_version", "grants", ["version"])
    op.create_table(
        "signing_keys",
        sa.Column("kid", sa.Text, primary_key=True),
        sa.Column("alg", sa.Text, nullable=False),
        sa.Column("jwk", sa.Text, nullable=False),
        sa.Column("sealed", sa.LargeBinary, nullable=True),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("published_at", sa.Double, nullable=False),
        sa.Column("activated_at", sa.Double, nullable=True),
        sa.Column("retired_at", sa.Double, nullable=True),
        sa.Column("revoked_at", sa.Double, nullable=True),
    )
    for name in ("active", "pending"):
        op.create_index(
            f"signing_keys_one_{name}",
            "signing_keys",
            ["state"],
            unique=True,
            sqlite_where=sa.text(f"state = '{name}'"),
            postgresql_where=sa.text(f"state = '{name}'"),
        )
