"""The SQL kind of upstream, against a real database of somebody else's."""

import json
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from ipaddress import ip_network
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from domain.mapping import MappingInput
from domain.typed_rows import Identities, RecordKey, as_upstream, typed
from domain.upstreams import SqlUpstream, upstream_of
from tests.workers.forwarding import forwarding
from workers.upstreams.egress import Egress
from workers.upstreams.opening import opened
from workers.upstreams.over_sql import SqlKind
from workers.upstreams.upstream import (
    Batch,
    Broken,
    Change,
    Credentials,
    Denied,
    Outcome,
    PushResult,
    Scope,
    Unavailable,
)

LOOPBACK = Egress([ip_network("127.0.0.0/8"), ip_network("::1/128")])
TABLE = """
create schema erp;
create table erp."Phases" (
    no integer, part text, cost numeric(12, 2) check (cost >= 0), ends_on date, "what%for" text,
    version bigint not null default 1, changed_at timestamptz not null default '2025-06-30 12:00:00+00',
    primary key (no, part)
);
insert into erp."Phases" (no, part, cost, ends_on, "what%for")
select n, 'a', n * 1.5, date '2025-01-01' + n, 'x' from generate_series(1, 2500) as n
"""
COLUMNS = frozenset({"no", "part", "cost", "ends_on", "what%for"})


@pytest.fixture
def url(bare_database_url: str) -> Iterator[str]:
    """A database with a table of an ERP in it, over TCP."""
    with psycopg.connect(bare_database_url, autocommit=True) as connection:
        connection.execute(TABLE)
    with forwarding(bare_database_url) as port:
        yield make_conninfo("", **conninfo_to_dict(bare_database_url) | {"host": "127.0.0.1", "port": port})


def kind(
    url: str, *, columns: frozenset[str] = COLUMNS, egress: Egress = LOOPBACK, user: str | None = None, **other: Any
) -> SqlKind:
    known = conninfo_to_dict(url)
    place = {"host": "127.0.0.1", "port": int(str(known["port"])), "database": known["dbname"]}
    sent = {
        "kind": "sql", "schema_name": "erp", "table": "Phases", "key": ["no", "part"], "version_column": "version",
        "tls": False,
    }  # fmt: skip
    config = upstream_of(json.dumps(sent | place | other))
    assert isinstance(config, SqlUpstream)
    return SqlKind(config, Credentials(user or str(known["user"]), str(known.get("password", ""))), columns, egress)


async def fetched(upstream: SqlKind, since: str | None = None) -> list[Batch]:
    return [batch async for batch in upstream.fetch(since)]


def run(url: str, statement: str) -> list[Any]:
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


async def test_every_row_comes_once_in_the_order_of_its_key(url: str) -> None:
    batches = await fetched(kind(url))
    rows = [row for batch in batches for row in batch.rows]
    assert [len(batch.rows) for batch in batches] == [1_000, 1_000, 500]
    assert [row["no"] for row in rows] == [*range(1, 2_501)]
    assert [number for batch in batches for number in batch.numbers] == [*range(1, 2_501)]
    assert rows[0] == {"no": 1, "part": "a", "cost": Decimal("1.50"), "ends_on": date(2025, 1, 2), "what%for": "x",
                       "version": 1}  # fmt: skip
    assert {batch.scope for batch in batches} == {Scope.FULL}
    for place in (1, 2):
        assert await fetched(kind(url), batches[place - 1].cursor) == batches[place:]
    assert batches[-1].last


async def test_an_empty_table_is_an_empty_listing(url: str) -> None:
    run(url, 'delete from erp."Phases"')
    (batch,) = await fetched(kind(url))
    assert (batch.rows, batch.last) == ((), True)


async def test_a_fetch_shows_one_moment(url: str) -> None:
    batches = kind(url).fetch()
    await anext(batches)
    run(url, 'update erp."Phases" set cost = 0')
    rest = [row async for batch in batches for row in batch.rows]
    assert {row["cost"] == 0 for row in rest} == {False}


async def test_later_fetches_read_what_changed_since(url: str) -> None:
    upstream = kind(url, modified_column="changed_at")
    first = await fetched(upstream)
    run(url, "update erp.\"Phases\" set changed_at = '2025-06-30 12:00:00.5+00' where no = 7")
    (again,) = await fetched(upstream, first[-1].cursor.replace("12:00:00+00", "12:00:00.25+00"))
    assert (again.scope, [row["no"] for row in again.rows]) == (Scope.CHANGES, [7])
    with pytest.raises(Broken, match="went-back"):
        await fetched(upstream, again.cursor.replace("12:00:00.5", "12:00:01"))
    with pytest.raises(Broken, match="cursor-unknown"):
        await fetched(upstream, '{"of": "folder"}')


async def test_reading_cannot_write(url: str) -> None:
    run(url, "create function erp.sly() returns integer language sql as 'delete from erp.\"Phases\" returning 1'")
    run(url, "create view erp.trap as select erp.sly() as no, 'a' as part")
    with pytest.raises(Denied, match="read-only transaction"):
        await fetched(kind(url, table="trap", columns=frozenset(), version_column=None))
    assert run(url, 'select count(*) from erp."Phases"') == [(2_500,)]


async def test_what_does_not_fit_has_a_clear_error(url: str) -> None:
    with pytest.raises(Broken) as caught:
        await fetched(kind(url, columns=frozenset({"price"})))
    assert (caught.value.code, caught.value.facts["missing"]) == ("upstream.schema-changed", ["price"])
    with pytest.raises(Broken, match="schema-changed"):
        await fetched(kind(url, table="gone"))
    with pytest.raises(Broken, match="rows_max"):
        await fetched(kind(url, rows_max=1_000))
    run(url, "create view erp.slow as select pg_sleep(5)::text as pg_sleep, 1 as no, 'a' as part")
    with pytest.raises(Unavailable, match="unreachable"):
        await fetched(kind(url, table="slow", columns=frozenset({"pg_sleep"}), version_column=None,
                           statement_seconds_max=1))  # fmt: skip


async def test_connections_that_are_refused(url: str) -> None:
    with pytest.raises(Denied, match="unauthorised"):
        await fetched(kind(url, database="nobody_has_this"))
    with pytest.raises(Denied, match="address-refused"):
        await fetched(kind(url, egress=Egress()))
    with pytest.raises(Denied, match="without TLS"):
        await fetched(kind(url, host="8.8.8.8"))
    with pytest.raises(Denied, match="tls-refused"):
        await fetched(kind(url, tls=True))
    with pytest.raises(Unavailable, match="unreachable"):
        await fetched(kind(url, port=1))
    with pytest.raises(Denied, match="permission denied"):
        await fetched(kind(url, user="cairn_writer"))


def change(no: int, version: str = "1", **fields: object) -> Change:
    return Change(record=f"ours {no}", identity={"no": str(no), "part": "a"}, version=version, fields=fields)


async def test_a_change_is_written_where_the_version_still_is_the_one_it_is_based_on(url: str) -> None:
    run(url, 'update erp."Phases" set cost = 99, version = 2 where no = 2')
    changes = [
        change(1, cost="7.50", ends_on="2026-01-01", **{"what%for": "50 % y"}), change(2, cost="8"),
        change(3, cost="-1"), change(4, cost="much"), change(9_999, cost="1"), change(5, price="1"),
    ]  # fmt: skip
    upstream = kind(url)
    found = await upstream.push(changes, "key")
    assert [(each.record, each.outcome, each.version, each.code) for each in found] == [
        ("ours 1", Outcome.CONFIRMED, "2", None),
        ("ours 2", Outcome.CONFLICT, "2", None),
        ("ours 3", Outcome.REFUSED, None, "23514"),
        ("ours 4", Outcome.REFUSED, None, "22P02"),
        ("ours 9999", Outcome.REFUSED, None, "missing"),
        ("ours 5", Outcome.REFUSED, None, "42703"),
    ]
    assert found[0].theirs == {"no": 1, "part": "a", "cost": Decimal("7.50"), "ends_on": date(2026, 1, 1),
                               "what%for": "50 % y", "version": 2}  # fmt: skip
    assert found[1].theirs is not None
    assert found[1].theirs["cost"] == 99
    assert await upstream.push(changes, "key") == found
    assert run(url, 'select no, version from erp."Phases" where version > 1 order by no') == [(1, 2), (2, 2)]


async def test_a_version_that_the_database_keeps_itself(url: str) -> None:
    run(url, """
        create function erp.moved() returns trigger language plpgsql as
        'begin new.version := old.version + 10; return new; end';
        create trigger moved before update on erp."Phases" for each row execute function erp.moved()
    """)  # fmt: skip
    found = await kind(url, version_is_kept="by-upstream").push([change(1, cost="3")], "key")
    assert [(each.outcome, each.version) for each in found] == [(Outcome.CONFIRMED, "11")]


async def test_without_versions_nothing_is_written(url: str) -> None:
    upstream = kind(url, version_column=None)
    assert (kind(url).pushes, upstream.pushes) == (True, False)
    with pytest.raises(Denied, match="not-supported"):
        await upstream.push([change(1, cost="1")], "key")


async def test_from_a_row_to_a_record_and_back(url: str) -> None:
    sent = {
        "fields": [
            {"upstream": "cost", "name": "forecast_cost", "feeds": "forecast_cost", "type": "money", "unit": "USD"},
            {"upstream": "ends_on", "name": "forecast_end", "feeds": "forecast_end", "type": "date"},
        ],
        "identity": ["no", "part"],
        "version_column": "version",
    }
    mapping = MappingInput.model_validate_json(json.dumps(sent)).as_mapping(1)
    base = kind(url)
    upstream = opened(base._config, base._credentials, mapping, egress=LOOPBACK, folders=[])
    row = (await anext(upstream.fetch())).rows[0]
    record, faults = typed(row, mapping)
    key = Identities(mapping, UUID(int=1)).of(row)
    assert isinstance(key, RecordKey)
    assert (faults, record.values) == ((), {"forecast_cost": Decimal("1.50"), "forecast_end": date(2025, 1, 2)})
    wanted = as_upstream({"forecast_cost": Decimal("12.34")}, mapping)
    identity: dict[str, object] = dict(zip(mapping.identity, key.cells, strict=True))
    sending = Change(record=str(key.id), identity=identity, version=record.upstream_version, fields=wanted)
    (result,) = await upstream.push([sending], "key")
    assert isinstance(result, PushResult)
    assert (result.outcome, result.version) == (Outcome.CONFIRMED, "2")
    assert result.theirs is not None
    assert typed(result.theirs, mapping)[0].values["forecast_cost"] == Decimal("12.34")
