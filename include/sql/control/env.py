"""Alembic's environment: migrations run on the connection that the caller gives, in its transaction."""

from alembic import context

attributes = context.config.attributes
context.configure(
    connection=attributes["connection"],
    version_table=attributes["version_table"],
    version_table_schema=attributes["version_table_schema"],
)
with context.begin_transaction():
    context.run_migrations()
