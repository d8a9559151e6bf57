"""Alembic's entry: one connection, opened by libpq from the URL given, one transaction per revision."""

import psycopg
from alembic import context
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool


def migrate() -> None:
    """Runs the revisions asked for. `sqlalchemy.url` is never used: libpq reads its own URL, sockets and all."""
    database_url = context.config.attributes["database_url"]
    engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(database_url), poolclass=NullPool)
    with engine.connect() as connection:
        context.configure(connection=connection, transaction_per_migration=True)
        with context.begin_transaction():
            context.run_migrations()


migrate()
