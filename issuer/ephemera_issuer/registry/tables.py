"""The tables of the registry database.

`state` is one row: the version of the registry and of the key ring, the issuer that the keys are
sealed for, and the epoch and last sequence number of the revocations. Every registry row carries
the registry version that last changed it, and a removed entry stays as a row marked so: what
happened after a version is then one comparison.
Scopes, clients and digests (hexadecimal) are words separated by single spaces, JWKs and identities
(JSON) are lines.
Times are Unix seconds.
Of the signing keys only the active and the pending one have their private half, sealed.
A revocation has a `jti`, a `cut_off` or a `kid`; its `expires_at` is when all that it revokes has
expired.
`audit` has the lines of the audit's one chain, where the database keeps it.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Double,
    ForeignKey,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    false,
)

metadata = MetaData(
    naming_convention={
        "pk": "%(table_name)s_pkey",
        "uq": "%(table_name)s_%(column_0_name)s_key",
        "fk": "%(table_name)s_%(column_0_name)s_fkey",
        "ix": "%(table_name)s_%(column_0_name)s",
        "ck": "%(table_name)s_%(constraint_name)s",
    }
)

# SQLite's are of 64 bits anyway, and a moment in Unix seconds needs more than 32.
_Number = Integer().with_variant(BigInteger(), "postgresql")

state = Table(
    "state",
    metadata,
    Column("id", Integer, CheckConstraint("id = 1", name="single_row"), primary_key=True),
    Column("registry_version", _Number, nullable=False),
    Column("keys_version", _Number, nullable=False),
    Column("issuer", Text, nullable=True),
    Column("epoch", Text, nullable=False, server_default=""),
    Column("revocation_sequence", _Number, nullable=False, server_default="0"),
)

audiences = Table(
    "audiences",
    metadata,
    Column("id", Text, primary_key=True),
    Column("scopes", Text, nullable=False),
    Column("max_lifetime", Integer, nullable=False),
    Column("single_use", Boolean, nullable=False),
    Column("introspected_by", Text, nullable=False, server_default=""),
    Column("dpop_required", Boolean, nullable=False, server_default=false()),
    Column("disabled", Boolean, nullable=False),
    Column("removed", Boolean, nullable=False),
    Column("version", _Number, nullable=False, index=True),
)

issuers = Table(
    "issuers",
    metadata,
    Column("id", Text, primary_key=True),
    Column("jwks", Text, nullable=False),
    Column("jwks_uri", Text, nullable=True),
    Column("audience", Text, nullable=True),
    Column("max_lifetime", Integer, nullable=False),
    Column("reusable", Boolean, nullable=False),
    Column("removed", Boolean, nullable=False),
    Column("version", _Number, nullable=False, index=True),
)

clients = Table(
    "clients",
    metadata,
    Column("id", Text, primary_key=True),
    Column("secret_hashes", Text, nullable=False),
    Column("jwks", Text, nullable=False, server_default=""),
    Column("jwks_uri", Text, nullable=True),
    Column("identities", Text, nullable=False, server_default=""),
    Column("disabled", Boolean, nullable=False),
    Column("removed", Boolean, nullable=False),
    Column("version", _Number, nullable=False, index=True),
)

grants = Table(
    "grants",
    metadata,
    Column("client", Text, ForeignKey("clients.id"), primary_key=True),
    Column("audience", Text, ForeignKey("audiences.id"), primary_key=True),
    Column("scopes", Text, nullable=False),
    Column("max_lifetime", Integer, nullable=False),
    Column("removed", Boolean, nullable=False),
    Column("version", _Number, nullable=False, index=True),
)

admins = Table(
    "admins",
    metadata,
    Column("id", Text, primary_key=True),
    Column("jwks", Text, nullable=False),
    Column("removed", Boolean, nullable=False),
    Column("version", _Number, nullable=False, index=True),
)

signing_keys = Table(
    "signing_keys",
    metadata,
    Column("kid", Text, primary_key=True),
    Column("alg", Text, nullable=False),
    Column("jwk", Text, nullable=False),
    Column("sealed", LargeBinary, nullable=True),
    Column("state", Text, nullable=False),
    Column("published_at", Double, nullable=False),
    Column("activated_at", Double, nullable=True),
    Column("retired_at", Double, nullable=True),
    Column("revoked_at", Double, nullable=True),
)
# The ring already holds that there is one of each; here a defect cannot write a second. The
# migrations make these indexes; to name their conditions here would load PostgreSQL's dialect,
# a tenth of what `serve` loads.
PARTIAL_INDEXES = ("signing_keys_one_active", "signing_keys_one_pending")

revocations = Table(
    "revocations",
    metadata,
    Column("sequence", _Number, primary_key=True, autoincrement=False),
    Column("client", Text, nullable=True, index=True),
    Column("audience", Text, nullable=True),
    Column("jti", Text, nullable=True, unique=True),
    Column("issued_at", _Number, nullable=True),
    Column("cut_off", _Number, nullable=True, index=True),
    Column("kid", Text, nullable=True, unique=True),
    Column("expires_at", _Number, nullable=True, index=True),
    Column("created_at", Double, nullable=False),
)

# Its lines are for `audit.chain` to read; no column says twice what a line says.
audit = Table(
    "audit",
    metadata,
    Column("sequence", _Number, primary_key=True, autoincrement=False),
    Column("line", Text, nullable=False),
)
