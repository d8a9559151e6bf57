"""Migrations go up, down and up again, and the dumped schema is what they make."""

import psycopg
import pytest

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
