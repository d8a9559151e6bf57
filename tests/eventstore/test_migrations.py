"""Migrations go up, down and up again, and the dumped schema is what they make."""

import hashlib

import psycopg
import pytest
from alembic.script import ScriptDirectory
from procrastinate.schema import SchemaManager

from migrations import run
from tests.eventstore.units import as_role


def objects(database_url: str) -> list[tuple[str, ...]]:
    """Everything in the schemas of ours: relations, functions, policies, rights."""
    with psycopg.connect(database_url) as connection:
        return [
            *connection.execute(
                "select 'relation', c.oid::regclass::text, c.relkind::text, coalesce(c.relacl::text, '') "
                "from pg_class c where c.relnamespace = 'cairn'::regnamespace order by 2"
            ),
            *connection.execute(
                "select 'function', p.oid::regprocedure::text, md5(pg_get_functiondef(p.oid)), "
                "coalesce(p.proacl::text, '') from pg_proc p where p.pronamespace = 'cairn'::regnamespace order by 2"
            ),
            *connection.execute(
                "select 'policy', tablename, policyname, coalesce(qual, '') from pg_policies order by 2, 3"
            ),
        ]


def test_up_down_up(bare_database_url: str) -> None:
    first = objects(bare_database_url)
    run.downgrade(bare_database_url)
    with psycopg.connect(bare_database_url) as connection:
        assert connection.execute("select count(*) from pg_namespace where nspname = 'cairn'").fetchone() == (0,)
    run.upgrade(bare_database_url)
    assert objects(bare_database_url) == first


def test_every_tenant_table_forces_row_level_security(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        loose = connection.execute(
            "select c.oid::regclass::text from pg_class c join pg_attribute a on a.attrelid = c.oid "
            "where a.attname = 'tenant' and c.relkind in ('r', 'p') and c.relnamespace <> 'pg_catalog'::regnamespace "
            "and not (c.relrowsecurity and c.relforcerowsecurity)"
        ).fetchall()
    assert loose == []


@pytest.mark.parametrize("role", run.ROLES)
def test_roles_are_weak(database_url: str, role: str) -> None:
    with psycopg.connect(as_role(database_url, role)) as connection:
        assert connection.execute(
            "select rolsuper, rolbypassrls, rolcreaterole, rolcreatedb from pg_roles where rolname = current_user"
        ).fetchone() == (False, False, False, False)


def test_the_queue_of_jobs_is_the_librarys() -> None:
    """A release of it with another schema needs a migration of ours, which runs its own."""
    migration = ScriptDirectory.from_config(run.config("")).get_revision("0010").module
    assert hashlib.sha256(SchemaManager.get_schema().encode()).hexdigest() == migration.LIBRARYS


def test_the_role_of_jobs_owns_nothing_and_sees_no_data(database_url: str) -> None:
    with psycopg.connect(as_role(database_url, "cairn_jobs")) as connection:
        owned = "select count(*) from pg_class where relowner = 'cairn_jobs'::regrole"
        assert connection.execute(owned).fetchone() == (0,)
        readable = (
            "select c.oid::regclass::text from pg_class c where c.relkind in ('r', 'p', 'v') "
            "and has_table_privilege(c.oid, 'select') and has_schema_privilege(c.relnamespace, 'usage') "
            "and c.relnamespace not in ('pg_catalog'::regnamespace, 'information_schema'::regnamespace, "
            "'jobs'::regnamespace)"
        )
        assert connection.execute(readable).fetchall() == []
