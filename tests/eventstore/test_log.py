"""The log's own promises: per-unit outcomes, positions, leaves, rights."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import msgspec
import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventstore import log
from eventstore.codec import Undecodable
from eventstore.db import Connection, Database, Reader, Unsafe
from eventstore.log import SQL, Appended, Conflict, DoneBefore, Misused, Unit
from tests.eventstore.units import PAYLOAD, appended, as_role, reader, unit, waits_for_lock, writer


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[Connection]:
    async with await writer(database_url) as opened:
        yield opened


@pytest.fixture
async def query(database_url: str) -> AsyncIterator[Database]:
    database = reader(database_url)
    await database.open()
    yield database
    await database.close()


async def test_units_of_a_batch_have_outcomes_of_their_own(connection: Connection, tenant: UUID) -> None:
    one, other, third = uuid4(), uuid4(), uuid4()
    done = unit((one, 0, 1))
    await appended(connection, tenant, done)
    outcomes = await log.append(
        connection,
        tenant,
        [
            unit((one, 1, 2)),
            done,
            unit((one, 1, 1)),
            unit((other, 0, 1), command_id=done.command_id, request=b"another!"),
            unit((one, 3, 1), (third, 0, 1)),
            unit((other, 0, 1), (one, 3, 0)),
        ],
    )
    kinds = [type(outcome) for outcome in outcomes]
    assert kinds == [Appended, DoneBefore, Conflict, Misused, Appended, Conflict]
    assert isinstance(outcomes[0], Appended)
    assert outcomes[0].first == 2
    assert isinstance(outcomes[4], Appended)
    assert outcomes[4].first == 4
    assert outcomes[2] == Conflict(one, 3)
    assert outcomes[5] == Conflict(one, 4)


@pytest.mark.parametrize("others", [0, 2], ids=["one", "many"])
async def test_streams_only_read_are_checked_too(connection: Connection, tenant: UUID, others: int) -> None:
    read, written = uuid4(), uuid4()
    await appended(connection, tenant, unit((read, 0, 1)))
    for version in (0, 2):
        batch = [unit((written, 0, 1), (read, version, 0)), *(unit((uuid4(), 0, 1)) for _ in range(others))]
        outcome, *rest = await log.append(connection, tenant, batch)
        assert outcome == Conflict(read, 1)
        assert len([each for each in rest if isinstance(each, Appended)]) == others
    await appended(connection, tenant, unit((written, 0, 1), (read, 1, 0)))


async def test_every_way_of_appending_keeps_the_same_rules(
    connection: Connection, query: Database, tenant: UUID
) -> None:
    """A unit of one event, units of several, a unit that reads: each takes a way of its own to the same rows."""
    one, other, third = uuid4(), uuid4(), uuid4()
    batches = [
        [unit((one, 0, 1))],  # opens the log
        [unit((one, 1, 1))],
        [unit((one, 2, 3)), unit((other, 0, 2), (one, 5, 1)), unit((third, 0, 1))],
        [unit((third, 1, 2), (other, 2, 0))],
        [unit((third, 3, 1), (other, 2, 0))],
        [unit((third, 4, 1), (other, 2, 0)), unit((one, 6, 1), (other, 2, 0), (uuid4(), 0, 0))],
        [unit((other, 2, 1)), unit((third, 5, 1), (other, 3, 0))],  # read where it was written just before
    ]
    sent = [each for batch in batches for each in batch]
    outcomes = [outcome for batch in batches for outcome in await appended(connection, tenant, *batch)]
    assert [outcome.first for outcome in outcomes] == [1, 2, 3, 6, 9, 10, 12, 13, 14, 15, 16]
    async with query.bound(tenant) as bound:
        rows = await bound.tuples(ROWS, {})
        stored = [each.decoded() for each in await log.read_log(bound)]
    assert [row[0] for row in rows] == [leaf for outcome in outcomes for leaf in outcome.leaves]
    assert all(leaf == computed for leaf, computed, _ in rows)
    assert [row[2] for row in rows] == [
        each.request_hash if at == 0 else None for each in sent for at in range(len(each.events))
    ]
    assert [(each.stream_id, each.stream_version, each.event_id, each.command_id, each.actor) for each in stored] == [
        (event.stream_id, event.version, event.event_id, each.command_id, each.actor)
        for each in sent
        for event in each.events
    ]
    assert [each.recorded_at for each in stored] == [
        outcome.recorded_at for outcome in outcomes for _ in outcome.leaves
    ]


ROWS = b"""
select leaf, cairn.leaf_1(tenant, position, event_id, stream_id, stream_version, type, schema_version,
  (extract(epoch from recorded_at) * 1000000)::bigint, actor, command_id, salt, payload, metadata), request_hash
from cairn.events where tenant = cairn.bound_tenant() order by position"""


@pytest.mark.parametrize("again", [False, True], ids=["stream moved", "same command"])
@pytest.mark.parametrize("others", [0, 2], ids=["one", "many"])
async def test_what_was_appended_while_waiting_for_the_lock_is_seen(
    database_url: str, connection: Connection, tenant: UUID, others: int, again: bool
) -> None:
    stream = uuid4()
    before = unit((stream, 0, 1))
    await appended(connection, tenant, unit((uuid4(), 0, 1)))
    async with await writer(database_url) as later:
        async with connection.transaction():
            await appended(connection, tenant, before)
            batch = [before if again else unit((stream, 0, 1)), *(unit((uuid4(), 0, 1)) for _ in range(others))]
            waiting = asyncio.create_task(log.append(later, tenant, batch))
            await waits_for_lock(database_url, later.info.backend_pid)
        outcome, *rest = await waiting
    assert outcome == (DoneBefore(2) if again else Conflict(stream, 1))
    assert [each.first for each in rest if isinstance(each, Appended)] == [3, 4][:others]


@pytest.mark.parametrize("version", [1, 3], ids=["taken", "hole"])
@pytest.mark.parametrize("others", [0, 2], ids=["one", "many"])
async def test_a_version_that_is_not_the_next_is_a_conflict(
    connection: Connection, tenant: UUID, version: int, others: int
) -> None:
    stream = uuid4()
    await appended(connection, tenant, unit((stream, 0, 1)))
    batch = [unit((stream, version - 1, 1)), *(unit((uuid4(), 0, 1)) for _ in range(others))]
    outcomes = await log.append(connection, tenant, batch)
    assert outcomes[0] == Conflict(stream, 1)
    (after,) = await appended(connection, tenant, unit((stream, 1, 1)))
    assert after.first == 2 + others


async def test_a_failed_unit_takes_no_position(connection: Connection, tenant: UUID) -> None:
    stream = uuid4()
    await appended(connection, tenant, unit((stream, 0, 1)))
    await log.append(connection, tenant, [unit((stream, 5, 3)), unit((stream, 0, 1))])
    (after,) = await appended(connection, tenant, unit((stream, 1, 1)))
    assert after.first == 2


async def test_the_leaf_is_what_the_documented_layout_gives(
    connection: Connection, query: Database, tenant: UUID
) -> None:
    stream = uuid4()
    sent = unit((stream, 0, 1))
    (outcome,) = await appended(connection, tenant, sent)
    async with query.bound(tenant) as bound:
        (stored,) = await log.read_log(bound)
        recorded = stored.decoded()
    since_1970 = outcome.recorded_at - datetime(1970, 1, 1, tzinfo=UTC)
    salt = sent.salts[0]
    salted = [
        hashlib.sha256(hashlib.sha256(salt + mark).digest()[:16] + body).digest()
        for mark, body in ((b"\x01", PAYLOAD), (b"\x02", b"{}"))
    ]
    kind = b"project.renamed"
    entry = (
        b"\x00\x01"
        + tenant.bytes
        + (1).to_bytes(8)
        + sent.events[0].event_id.bytes
        + stream.bytes
        + (1).to_bytes(4)
        + len(kind).to_bytes(2)
        + kind
        + (1).to_bytes(2)
        + (since_1970 // timedelta(microseconds=1)).to_bytes(8)
        + sent.actor.bytes
        + sent.command_id.bytes
        + b"".join(salted)
    )
    assert recorded.leaf == outcome.leaves[0] == hashlib.sha256(entry).digest()
    assert recorded.payload == PAYLOAD


async def test_recorded_at_never_falls_and_names_positions(
    connection: Connection, query: Database, tenant: UUID
) -> None:
    stream = uuid4()
    times = [(await appended(connection, tenant, unit((stream, at, 1))))[0].recorded_at for at in range(5)]
    assert times == sorted(times)
    async with query.bound(tenant) as bound:
        found = [await log.position_at(bound, time) for time in times]
        assert [times[position - 1] for position in found] == times
        assert await log.position_at(bound, times[0] - timedelta(microseconds=1)) == 0
        assert await log.position_at(bound, times[-1] + timedelta(days=1)) == 5


async def test_pages_filters_and_ranges(connection: Connection, query: Database, tenant: UUID) -> None:
    stream = uuid4()
    await appended(connection, tenant, unit((stream, 0, 9)))
    async with query.bound(tenant) as bound:
        assert [each.position for each in await log.read_log(bound, after=3, limit=4)] == [4, 5, 6, 7]
        assert await log.read_log(bound, types=["project.created"]) == []
        assert len(await log.read_log(bound, types=["project.renamed"])) == 9
        page = await log.read_stream(bound, stream, after_version=2, to_version=4)
        assert [each.decoded().stream_version for each in page] == [3, 4]


async def test_the_whole_log_is_read_ahead_in_order(connection: Connection, query: Database, tenant: UUID) -> None:
    stream = uuid4()
    for start in range(0, 1_200, 300):
        await appended(connection, tenant, unit((stream, start, 300)))
    async with query.bound(tenant) as bound:
        seen = [each.position async for page in log.read_all(bound, after=7, to=1_150) for each in page]
        assert seen == list(range(8, 1_151))
        async for page in log.read_all(bound):  # whoever leaves early leaves the connection usable
            assert page[0].position == 1
            break
        assert len(await log.read_log(bound, limit=3)) == 3


BODIES: tuple[tuple[str, int, bytes], ...] = (
    ("project.renamed", 1, PAYLOAD),
    ("project.deleted", 1, b'{"type":"project.deleted"}'),
    ("project.renamed", 1, b'{ "type": "project.renamed",\n"was": "a", "now": "},\\n{" }'),
    ("project.renamed", 1, PAYLOAD.replace(b"a", b"a" * log.LARGE_BYTES)),
)
STRANGE: tuple[tuple[str, int, bytes], ...] = (
    ("project.renamed", 9, PAYLOAD),
    ("project.deleted", 1, PAYLOAD),
    ("project.unheard-of", 1, b'{"type":"project.unheard-of"}'),
    ("project.deleted", 1, b'{"type":"project.deleted"},{"type":"project.deleted"}'),
    ("project.deleted", 1, b"not JSON"),
    ("two\nlines", 1, b"{}"),
)


def _outcome(read: Callable[[], Any]) -> Any:
    try:
        return read()
    except (Undecodable, msgspec.MsgspecError) as error:
        return type(error)


def _told(seen: log.Recorded[Any]) -> Any:
    columns = [seen.recorded_at, seen.stream_version, seen.schema_version, seen.leaf, seen.raw_metadata, seen.payload]
    ids = [seen.tenant, seen.raw_stream_id, seen.raw_event_id, seen.raw_actor, seen.raw_command_id]
    return [seen.position, seen.type, seen.event, *columns, *ids]


async def _same_as_row_by_row(bound: Reader, limit: int) -> None:
    runs: list[log.Run] = []
    while page := await log.read_page(bound, after=runs[-1].position if runs else 0, limit=limit):
        runs += page
    assert [each for run in runs for each in run.stored()] == await log.read_log(bound, limit=10_000)
    for run in runs:
        alone = [_outcome(each.decoded) for each in run.stored()]
        together = _outcome(run.decoded)
        if isinstance(together, list):
            assert list(map(_told, together)) == list(map(_told, alone))
        else:
            assert together in alone


@pytest.mark.parametrize("strange", [(), STRANGE])
def test_a_page_holds_what_its_rows_hold(database_url: str, strange: tuple[Any, ...]) -> None:
    """Whatever was stored: today's events, others' spelling of them, large ones, and what cannot be read."""
    with asyncio.Runner() as runner:
        connection, query = runner.run(writer(database_url)), reader(database_url)
        runner.run(query.open())

        async def check(bodies: list[tuple[str, int, bytes]], limit: int) -> None:
            tenant, stream = uuid4(), uuid4()
            units = [unit((stream, version, 1)) for version in range(len(bodies))]
            filled = [
                msgspec.structs.replace(
                    each, events=[each.events[0]._replace(type=kind, schema_version=version, payload=payload)]
                )
                for each, (kind, version, payload) in zip(units, bodies, strict=True)
            ]
            await appended(connection, tenant, *filled)
            async with query.bound(tenant) as bound:
                await _same_as_row_by_row(bound, limit)

        @settings(max_examples=12, deadline=None)
        @given(st.lists(st.sampled_from(BODIES + strange), min_size=1, max_size=300), st.integers(1, 400))
        def agrees(bodies: list[tuple[str, int, bytes]], limit: int) -> None:
            runner.run(check(bodies, limit))

        agrees()
        runner.run(query.close())
        runner.run(connection.close())


async def test_a_page_of_large_events_ends_early(connection: Connection, query: Database, tenant: UUID) -> None:
    """Small ones beside them come along; one that is larger than a page comes alone."""
    half = b'"' + b"a" * (log.LARGE_PAGE_BYTES // 2 - 2) + b'"'
    payloads = [PAYLOAD] * 200 + [half, half, PAYLOAD, half, half + half + half, PAYLOAD, *[PAYLOAD] * 200]
    stream = uuid4()
    units = [unit((stream, version, 1)) for version in range(len(payloads))]
    filled = [
        msgspec.structs.replace(each, events=[each.events[0]._replace(payload=payload)])
        for each, payload in zip(units, payloads, strict=True)
    ]
    await appended(connection, tenant, *filled)
    pages: list[list[log.Run]] = []
    async with query.bound(tenant) as bound:
        while page := await log.read_page(bound, after=pages[-1][-1].position if pages else 0):
            pages.append(page)
        assert [each for page in pages for run in page for each in run.stored()] == await log.read_log(bound)
    assert [sum(map(len, page)) for page in pages] == [201, 2, 1, 1, 201]


async def test_large_events_of_no_interest_come_without_their_payload(
    connection: Connection, query: Database, tenant: UUID
) -> None:
    """They cost neither the way nor a page's room; small ones beside them come as they are."""
    large = b'"' + b"a" * (log.LARGE_PAGE_BYTES // 2) + b'"'
    stream = uuid4()
    units = [unit((stream, version, 1)) for version in range(5)]
    filled = [msgspec.structs.replace(each, events=[each.events[0]._replace(payload=large)]) for each in units]
    await appended(connection, tenant, *filled)
    async with query.bound(tenant) as bound:
        [run] = await log.read_page(bound, types=["project.created"])
        wanted = await log.read_page(bound, types=["project.renamed"])
    assert [(stored.position, stored.type, stored.size) for stored in run.stored()] == [
        (position, "project.renamed", 0) for position in range(1, 6)
    ]
    assert sum(map(len, wanted)) == 1


async def test_an_empty_unit_stands_where_its_batch_had_come(connection: Connection, tenant: UUID) -> None:
    one, other = uuid4(), uuid4()
    empty = unit((other, 0, 0))
    batch = await log.append(connection, tenant, [unit((one, 0, 3)), empty, unit((one, 3, 1))])
    assert [outcome.first for outcome in batch if isinstance(outcome, Appended)] == [1, 4, 4]
    assert await log.append(connection, tenant, [empty]) == [DoneBefore(3)]


FORBIDDEN = [
    "update cairn.events set actor = actor",
    "delete from cairn.events",
    "truncate cairn.events",
    "insert into cairn.heads values (gen_random_uuid(), 1, 1, now())",
    "update cairn.heads set position = 0",
    "delete from cairn.empty_commands",
    "alter table cairn.events disable trigger all",
    "alter table cairn.events no force row level security",
    "set role cairn_owner",
]


@pytest.mark.parametrize("role", ["cairn_writer", "cairn_projector", "cairn_reader"])
@pytest.mark.parametrize("statement", FORBIDDEN)
def test_no_application_role_changes_the_log(database_url: str, role: str, statement: str) -> None:
    with psycopg.connect(as_role(database_url, role), autocommit=True) as connection:
        connection.execute("select set_config('cairn.tenant', %s, false)", [str(uuid4())])
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(statement.encode())


@pytest.mark.parametrize("table", ["events", "empty_commands"])
@pytest.mark.parametrize(
    "verb", ["update cairn.{} set command_id = command_id", "delete from cairn.{}", "truncate cairn.{}"]
)
def test_even_the_owner_meets_a_trigger(database_url: str, table: str, verb: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("set role cairn_owner")
        with pytest.raises(psycopg.DatabaseError) as caught:
            connection.execute(verb.format(table).encode())
        assert caught.value.sqlstate == "CA001"


async def test_a_company_sees_nothing_of_another(
    database_url: str, connection: Connection, query: Database, tenant: UUID
) -> None:
    await appended(connection, tenant, unit((uuid4(), 0, 3)))
    async with query.bound(uuid4()) as bound:
        assert await log.read_log(bound) == []
        assert await log.head(bound) is None
        assert await bound.tuples(b"select * from cairn.log", {}) == []
    async with query.connection() as unbound:
        cursor = await unbound.execute(b"select count(*) from cairn.events")
        assert await cursor.fetchone() == (0,)


async def test_only_the_projector_sees_every_head(database_url: str, connection: Connection, tenant: UUID) -> None:
    await appended(connection, tenant, unit((uuid4(), 0, 1)))
    other = uuid4()
    await appended(connection, other, unit((uuid4(), 0, 2)))
    seen = {}
    for role in ("cairn_projector", "cairn_reader", "cairn_writer"):
        async with await psycopg.AsyncConnection.connect(as_role(database_url, role)) as asked:
            seen[role] = {(head.tenant, head.position) for head in await log.heads(asked)}
    assert seen == {"cairn_projector": {(tenant, 1), (other, 2)}, "cairn_reader": set(), "cairn_writer": set()}


async def test_a_role_that_could_bypass_is_refused(database_url: str) -> None:
    database = Database(database_url, name="superuser")
    await database.open()
    try:
        with pytest.raises(Unsafe, match="row-level security"):
            await database.refuse_if_unsafe()
    finally:
        await database.close()


async def test_every_statement_prepares(database_url: str) -> None:
    async with await writer(database_url) as connection:
        for statement in SQL.values():
            await connection.execute(b"prepare checked as " + _numbered(statement))
            await connection.execute(b"deallocate checked")


def _numbered(statement: bytes) -> bytes:
    """`%(name)s` as Postgres numbers them."""
    from_name: dict[bytes, int] = {}
    parts = statement.split(b"%(")
    text = parts[0]
    for part in parts[1:]:
        name, rest = part.split(b")s", 1)
        text += b"$%d" % from_name.setdefault(name, len(from_name) + 1) + rest
    return text


Step = tuple[int, int, int, bool]
scripts = st.lists(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 4), st.integers(0, 3), st.booleans()), min_size=1, max_size=6),
    max_size=6,
)


def test_any_script_of_batches_agrees_with_a_plain_model(database_url: str) -> None:
    """Against a list of versions: outcomes, positions and versions are as one would work out by hand."""
    with asyncio.Runner() as runner:
        connection = runner.run(writer(database_url))

        @settings(max_examples=60, deadline=None)
        @given(script=scripts)
        def agrees(script: list[list[Step]]) -> None:
            runner.run(_check_script(connection, script))

        agrees()
        runner.run(connection.close())


async def _check_script(connection: Connection, script: list[list[Step]]) -> None:
    tenant, streams, versions = uuid4(), [uuid4() for _ in range(3)], [0, 0, 0]
    position = 0
    sent: list[Unit] = []
    for batch in script:
        units: list[Unit] = []
        expected: list[type[log.Outcome]] = []
        for stream, version, adds, again in batch:
            if again and sent and sent[-1] not in units:
                units.append(sent[-1])
                expected.append(DoneBefore)
                continue
            units.append(unit((streams[stream], version, adds)))
            good = versions[stream] == version
            expected.append(Appended if good else Conflict)
            versions[stream] += adds if good else 0
            position += adds if good else 0
        outcomes = await log.append(connection, tenant, units)
        assert [type(outcome) for outcome in outcomes] == expected
        sent += [each for each, outcome in zip(units, outcomes, strict=True) if isinstance(outcome, Appended)]
    await _check_log(connection, tenant, position, dict(zip(streams, versions, strict=True)))


async def _check_log(connection: Connection, tenant: UUID, position: int, versions: dict[UUID, int]) -> None:
    async with connection.transaction():
        await connection.execute(b"select set_config('cairn.tenant', %s, true)", [str(tenant)])
        cursor = await connection.execute(
            b"select position, stream_id, stream_version from cairn.events order by position"
        )
        rows = await cursor.fetchall()
    assert [row[0] for row in rows] == list(range(1, position + 1))
    for stream, version in versions.items():
        assert [row[2] for row in rows if row[1] == stream] == list(range(1, version + 1))
