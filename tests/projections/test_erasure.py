"""Who is forgotten is gone from every read model, now and in the past, and a rebuild says the same."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import msgspec
import psycopg
import pytest

from domain.decider import ERASED, Event, Rejected
from eventstore import log
from eventstore.db import Connection, Database, Unavailable
from eventstore.log import POSITION_MAX, Recorded
from eventstore.settings import StoreSettings
from eventstore.transact import Store
from eventstore.vault import FORM
from projections import access, activity_log, rebuild
from projections.inline import InlineModels
from projections.registry import INLINE
from tests import keys
from tests.projections.commands import command, member
from tests.projections.conftest import Company, World

NOW = POSITION_MAX


async def forget(company: Company, *members: UUID) -> int:
    """Removes and forgets members; the position before that."""
    position = 0
    for each in members:
        position = position or (await company.send("membership", each, command("membership", "remove-member"))).position
        await company.send("membership", each, command("membership", "forget-member", reason="requested"))
    return position - 1


async def sealed_texts(company: Company) -> list[str]:
    """What the read models' tables hold about members."""
    statements = (b"select name || ' ' || email from access_members", b"select name from activity_log_names")
    async with company.reading() as reader:
        return [row[0] for statement in statements for row in await reader.tuples(statement, {})]


async def test_an_erased_member_is_erased_now_and_then(world: World, company: Company) -> None:
    ada = await member(company, "ada@northern.example", "owner")
    bert = await member(company, "bert@northern.example", "owner")
    await (await world.engine()).advance(company.tenant)
    assert all(text.startswith(FORM) for text in await sealed_texts(company))
    before = await forget(company, bert)
    await (await world.engine()).advance(company.tenant)
    for at in (before, NOW):
        async with company.reading() as reader:
            told = {
                each.member_id: (each.name, each.email)
                for each in await access.members(reader, world.vault, at=at, include_removed=True)
            }
            entries = await activity_log.entries(reader, world.vault, at=at, limit=9, entity_id=bert)
        assert told == {ada: ("ada", "ada@northern.example"), bert: (ERASED, ERASED)}
        assert {entry.entity_name for entry in entries} == {ERASED}
        added = entries[-1]
        assert (added.type, added.now["name"], added.now["email"]) == ("membership.added", ERASED, ERASED)
    assert not any("bert" in repr(entry) for entry in entries)


async def test_the_leaves_stay_and_hold_what_was_hashed(company: Company) -> None:
    await member(company, "ada@northern.example", "owner")
    bert = await member(company, "bert@northern.example")
    async with company.reading() as reader:
        before = [stored.row for stored in await log.read_log(reader)]
    await forget(company, bert)
    async with company.reading() as reader:
        assert [stored.row for stored in await log.read_log(reader)][: len(before)] == before
        statement = b"""select count(*) from cairn.events e where e.leaf <> cairn.leaf_1(
          e.tenant, e.position, e.event_id, e.stream_id, e.stream_version, e.type, e.schema_version,
          (extract(epoch from e.recorded_at) * 1000000)::bigint,
          e.actor, e.command_id, e.salt, e.payload, e.metadata)"""
        assert await reader.tuples(statement, {}) == [(0,)]


@pytest.mark.parametrize("model", ["access", "activity_log"])
async def test_a_rebuild_after_an_erasure_is_the_same(world: World, company: Company, model: str) -> None:
    await member(company, "ada@northern.example", "owner")
    await (await world.engine()).advance(company.tenant)
    await forget(company, await member(company, "bert@northern.example"))
    await (await world.engine()).advance(company.tenant)
    done = await rebuild.rebuild(world.projector, model)  # its role can see no key
    assert done.compared > 0
    assert done.differences == []


async def test_an_address_is_free_again_and_leaves_nothing(world: World, company: Company) -> None:
    await member(company, "ada@northern.example", "owner")
    bert = await member(company, "bert@northern.example")
    with pytest.raises(Rejected, match="email-taken"):
        await member(company, "BERT@northern.example")
    await forget(company, bert)
    later = await member(company, "Bert@northern.example")
    with psycopg.connect(world.writer.conninfo) as connection:
        connection.execute("select set_config('cairn.tenant', %s, false)", [str(company.tenant)])
        rows = connection.execute("select subject, octet_length(digest) from cairn.unique_digests").fetchall()
    assert (later, 32) in rows
    assert bert not in {subject for subject, _ in rows}


class Killed(InlineModels):
    """The models; the first append that forgets somebody loses its server process once it did all but commit."""

    killed = 0

    def __init__(self, superuser_url: str) -> None:
        super().__init__(INLINE, keys.vault())
        self._url = superuser_url

    async def apply(self, connection: Connection, tenant: UUID, events: Sequence[Recorded[Event]]) -> None:
        await super().apply(connection, tenant, events)
        if not self.killed and any(event.type == "membership.forgotten" for event in events):
            self.killed += 1
            with psycopg.connect(self._url, autocommit=True) as superuser:
                superuser.execute("select pg_terminate_backend(%s)", [connection.info.backend_pid])


class Ended(InlineModels):
    """The models of a process that ends before it could commit."""

    async def apply(self, connection: Connection, tenant: UUID, events: Sequence[Recorded[Event]]) -> None:
        await super().apply(connection, tenant, events)
        raise Unavailable("the process ends here")


async def state(company: Company, member_id: UUID) -> tuple[int, bool]:
    """How often a member was forgotten, and whether the key is gone."""
    async with company.reading() as reader:
        events = [stored for stored in await log.read_log(reader) if stored.row[8] == "membership.forgotten"]
        rows = await reader.tuples(
            b"select wrapped is null from cairn.subject_keys where subject = %(m)s", {"m": member_id}
        )
    return len(events), rows[0][0]


async def test_a_server_that_dies_between_the_event_and_the_key(
    world: World, company: Company, database_url: str
) -> None:
    await member(company, "ada@northern.example", "owner")
    bert = await member(company, "bert@northern.example")
    models = Killed(database_url)
    writer = Database(world.writer.conninfo, name="killed")
    store = Store(writer, StoreSettings(), vault=keys.vault(), inline=models)
    await store.open()
    await forget(Company(with_store(world, store), company.tenant), bert)
    await store.close()
    assert models.killed == 1
    assert await state(company, bert) == (1, True)


async def test_a_process_that_ends_between_the_event_and_the_key(world: World, company: Company) -> None:
    await member(company, "ada@northern.example", "owner")
    bert = await member(company, "bert@northern.example")
    await company.send("membership", bert, command("membership", "remove-member"))
    writer = Database(world.writer.conninfo, name="ended")
    store = Store(writer, StoreSettings(), vault=keys.vault(), inline=Ended(INLINE, keys.vault()))
    await store.open()
    forgetting = command("membership", "forget-member", reason="requested")
    with pytest.raises(Unavailable, match="ends here"):
        await Company(with_store(world, store), company.tenant).send("membership", bert, forgetting)
    await store.close()
    assert await state(company, bert) == (0, False)
    await company.send("membership", bert, forgetting)
    assert await state(company, bert) == (1, True)


def with_store(world: World, store: Store) -> World:
    return World(world.writer, world.projector, world.reader, store, world.vault)


async def test_text_that_looks_sealed_is_not_opened_elsewhere(world: World, company: Company) -> None:
    """A sealed name, seen on the broker, put where others read it: it stays what it is."""
    ada = await member(company, "ada@northern.example", "owner")
    async with company.reading() as reader:
        (stored,) = await log.read_log(reader)
    sealed = msgspec.json.decode(stored.row[11], type=dict[str, Any])["name"]
    await company.send("project", UUID(int=5), command("project", "create-project", name=sealed))
    other = await member(company, "bert@northern.example")
    await (await world.engine()).advance(company.tenant)
    async with company.reading() as reader:
        [entry] = await activity_log.entries(reader, world.vault, at=NOW, limit=9, category="project")
        found = {each.member_id: each.name for each in await access.members(reader, world.vault, at=NOW)}
    assert (entry.entity_name, entry.now["name"]) == (sealed, sealed)
    assert found == {ada: "ada", other: "bert"}
