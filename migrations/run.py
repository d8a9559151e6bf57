"""Runs migrations: the .sql beside a revision, through the driver itself, in one transaction per revision."""

from collections.abc import Callable
from pathlib import Path

import psycopg
from alembic import command, op
from alembic.config import Config
from alembic.script import ScriptDirectory
from psycopg import sql

ROLES = ("cairn_writer", "cairn_projector", "cairn_reader", "cairn_jobs")
"""The roles the application signs in as. Each may only do its part; none owns anything."""


def beside(revision_file: str) -> tuple[Callable[[], None], Callable[[], None]]:
    """The upgrade and downgrade that run `<revision>.up.sql` and `<revision>.down.sql`."""
    stem = Path(revision_file).with_suffix("")
    return (lambda: _run(stem.with_suffix(".up.sql"))), (lambda: _run(stem.with_suffix(".down.sql")))


def _run(file: Path) -> None:
    execute(file.read_bytes())


def execute(statements: bytes) -> None:
    """Hands the text to the driver untouched: a SQL toolkit would read `%` and `:` in it as placeholders."""
    driver = op.get_bind().connection.driver_connection
    assert isinstance(driver, psycopg.Connection)
    driver.execute(statements)


def config(database_url: str) -> Config:
    """Alembic's settings for this database. The URL is libpq's; its user must be able to create roles."""
    settings = Config()
    settings.set_main_option("script_location", str(Path(__file__).parent))
    settings.attributes["database_url"] = database_url
    return settings


def newest() -> str:
    """The last revision there is."""
    revision = ScriptDirectory.from_config(config("")).get_current_head()
    assert revision is not None
    return revision


def upgrade(database_url: str, revision: str = "head", role_password: str | None = None) -> None:
    """Migrates up. With a password, the application's roles sign in with it (SCRAM); without, the server decides."""
    create_roles(database_url)
    command.upgrade(config(database_url), revision)
    if role_password is not None:
        _set_passwords(database_url, role_password)


def create_roles(database_url: str) -> None:
    """Makes the cluster's roles, if they are not there. A dump can be restored once they are."""
    with psycopg.connect(database_url) as connection:
        connection.execute(Path(__file__).with_name("roles.sql").read_bytes())


def downgrade(database_url: str, revision: str = "base") -> None:
    """Migrates down. Roles stay: they belong to the cluster."""
    command.downgrade(config(database_url), revision)


def _set_passwords(database_url: str, password: str) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute("set password_encryption = 'scram-sha-256'")
        for role in ROLES:
            connection.execute(sql.SQL("alter role {} password {}").format(sql.Identifier(role), sql.Literal(password)))
