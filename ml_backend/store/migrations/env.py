"""Entry point of alembic: runs the revisions on the connection that database.py hands over."""

from alembic import context

from ml_backend.store import crowd_tables, dashboard_tables  # noqa: F401  they join Base
from ml_backend.store.tables import Base

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=Base.metadata, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
