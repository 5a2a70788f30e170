"""Runs the revisions on the connection, and in the transaction, that `database` hands over."""

from alembic import context

from ephemera_issuer.registry.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,
)
context.run_migrations()
