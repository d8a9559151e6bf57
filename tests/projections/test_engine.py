"""The engine's promises: exactly once, one owner, poison parked, delivery proven, companies apart."""

import asyncio
from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from eventstore import log
from eventstore.log import POSITION_MAX
from projections import delivery, parking, positions
from projections import engine as engine_module
from projections.engine import Engine, Fenced
from projections.folding import read_one
from projections.leases import SLICES, Leases
from projections.parking import NotParked
from projections.projection import EVERYTHING
from projections.registry import FOLLOWED
from tests.projections import models
from tests.projections.commands import command, edit, estimate, line, member, project
from tests.projections.conftest import Company, World, least_position


@pytest.fixture(autouse=True)
def nothing_fails() -> Iterator[None]:
    models.fails_on.clear()
    yield
    models.fails_on.clear()


async def _rename(company: Company, project_id: UUID, name: str) -> int:
    receipt = await company.send("project", project_id, command("project", "rename-project", name=name))
    return receipt.position


async def _names(company: Company, at: int = POSITION_MAX) -> dict[UUID, tuple[str, int]]:
    statement = (
        b"select project_id, name, renamed from read.names_seen where valid_from <= %(at)s and valid_to > %(at)s"
    )
    async with company.reading() as reader:
        return {row[0]: (row[1], row[2]) for row in await reader.tuples(statement, {"at": at})}


async def _names_engine(world: World, **settings: Any) -> Engine:
    return await world.engine([models.model()], **settings)


async def test_case_13_of_two_owners_exactly_one_commits(world: World, company: Company) -> None:
    await project(company)
    one, other = await _names_engine(world), await _names_engine(world)
    [target] = one.targets.values()
    position = await one.claim(target.build, company.tenant)
    async with world.projector.bound(company.tenant) as reader:
        events = [read_one(stored) for stored in await log.read_log(reader)]
    await other.advance(company.tenant)
    with pytest.raises(Fenced):
        await one.apply(target, company.tenant, position, events)
    with pytest.raises(Fenced):  # the other one asks for the same again, as if its first answer had been lost
        await other.apply(target, company.tenant, position, events)
    async with company.reading() as reader:
        assert await delivery.verify(reader, "names_seen") == []
    assert len(await _names(company)) == 1


async def test_case_13_two_owners_at_once_commit_each_batch_once(world: World, company: Company) -> None:
    for number in range(40):
        await project(company, f"P {number}")
    engines = [await _names_engine(world, projection_batch_events_max=3) for _ in range(2)]
    ends = await asyncio.gather(*(engine.advance(company.tenant) for engine in engines), return_exceptions=True)
    assert all(end is None or isinstance(end, Fenced) for end in ends)
    assert any(end is None for end in ends)
    async with company.reading() as reader:
        assert await delivery.verify(reader, "names_seen") == []
    assert len(await _names(company)) == 40


async def test_a_poison_event_parks_its_key_and_nothing_else(world: World, company: Company) -> None:
    good, bad = await project(company, "good"), await project(company, "bad")
    models.fails_on.add("poison")
    await _rename(company, bad, "poison")
    await _rename(company, good, "better")
    after = await _rename(company, bad, "later")
    engine = await _names_engine(world)
    await engine.advance(company.tenant)
    assert await _names(company) == {good: ("better", 1), bad: ("bad", 0)}
    async with company.reading() as reader:
        [parked] = await parking.waiting(reader)
        assert (parked.key, parked.events, parked.first_position, parked.type) == (str(bad), 2, 3, "project.renamed")
        assert parked.error == "ValueError: no poison"
        assert await positions.position_of(reader, "project_list") == 0
        assert await delivery.verify(reader, "names_seen") == []
    await _rename(company, bad, "last")
    await engine.advance(company.tenant)
    again = await parking.replay(engine, company.tenant, "names_seen", str(bad))
    assert (again.handled, again.waiting, again.error) == (0, 3, "ValueError: no poison")
    models.fails_on.clear()
    healed = await parking.replay(engine, company.tenant, "names_seen", str(bad))
    assert (healed.handled, healed.waiting) == (3, 0)
    assert (await _names(company))[bad] == ("last", 3)
    assert (await _names(company, at=3))[bad] == ("poison", 1)
    assert (await _names(company, at=after))[bad] == ("later", 2)
    async with company.reading() as reader:
        assert await parking.waiting(reader) == []
        assert await delivery.verify(reader, "names_seen") == []
    with pytest.raises(NotParked):
        await parking.replay(engine, company.tenant, "names_seen", str(bad))


async def test_a_skipped_event_is_left_out_and_remembered(world: World, company: Company) -> None:
    bad = await project(company, "bad")
    models.fails_on.add("poison")
    await _rename(company, bad, "poison")
    await _rename(company, bad, "later")
    engine = await _names_engine(world)
    await engine.advance(company.tenant)
    actor = uuid4()
    done = await parking.skip(engine, company.tenant, "names_seen", str(bad), "entered by mistake", actor)
    assert (done.handled, done.waiting) == (1, 0)
    assert await _names(company) == {bad: ("later", 1)}
    async with company.reading() as reader:
        [skipped] = await parking.skipped(reader)
        assert (skipped.position, skipped.reason, skipped.skipped_by) == (2, "entered by mistake", actor)
        assert await delivery.verify(reader, "names_seen") == []


async def test_a_value_the_database_refuses_is_found_by_halving(world: World, company: Company) -> None:
    ids = [await project(company, f"P {number}") for number in range(9)]
    await _rename(company, ids[4], "too many")
    for number, project_id in enumerate(ids):
        await _rename(company, project_id, f"Q {number}")
    engine = await _names_engine(world)
    await engine.advance(company.tenant)
    names = await _names(company)
    assert names.pop(ids[4]) == ("P 4", 0)
    assert names == {project_id: (f"Q {n}", 1) for n, project_id in enumerate(ids) if n != 4}
    async with company.reading() as reader:
        [parked] = await parking.waiting(reader)
    assert (parked.key, parked.events, parked.first_position) == (str(ids[4]), 2, 10)
    assert "smallint" in parked.error or "Unwritable" in parked.error
    again = await parking.replay(engine, company.tenant, "names_seen", str(ids[4]))
    assert (again.handled, again.waiting) == (0, 1) or again.error is not None
    done = await parking.skip(engine, company.tenant, "names_seen", str(ids[4]), "no such number", UUID(int=1))
    assert done.handled == 1
    assert (await _names(company))[ids[4]] == ("Q 4", 1)


@pytest.mark.parametrize("size", [1, 2, 3, 7])
@pytest.mark.parametrize("bad", ["poison", "too many"])
async def test_pages_folded_ahead_give_the_same_when_one_of_them_fails(
    world: World, company: Company, size: int, bad: str
) -> None:
    models.fails_on.add("poison")
    one, other = await project(company, "one"), await project(company, "other")
    for number in range(12):
        await _rename(company, one, f"one {number}")
        await _rename(company, other, bad if number == 6 else f"other {number}")
    engine = await _names_engine(world, projection_batch_events_max=size)
    await engine.advance(company.tenant, others_wait=lambda: size > 2)  # if nobody waits, it looks again at the end
    assert await _names(company) == {one: ("one 11", 12), other: ("other 5", 6)}
    for number in range(12):
        assert (await _names(company, at=3 + 2 * number))[one] == (f"one {number}", number + 1)
    async with company.reading() as reader:
        [parked] = await parking.waiting(reader)
        assert (parked.key, parked.events, parked.first_position) == (str(other), 6, 16)
        assert await delivery.verify(reader, "names_seen") == []
    if bad == "too many":
        await parking.skip(engine, company.tenant, "names_seen", str(other), "no such number", UUID(int=1))
    else:
        models.fails_on.clear()
        await parking.replay(engine, company.tenant, "names_seen", str(other))
    for number in range(8):
        await _rename(company, other, f"again {number}")
    await engine.advance(company.tenant)
    assert (await _names(company))[other][0] == "again 7"
    async with company.reading() as reader:
        assert await parking.waiting(reader) == []
        assert await delivery.verify(reader, "names_seen") == []


async def test_large_events_are_decoded_once_for_all(
    world: World, company: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "LARGE_BYTES", 0)
    project_id = await project(company, "one")
    head = await _rename(company, project_id, "two")
    engine = await world.engine(FOLLOWED)
    prompt = [target for target in engine.targets.values() if target.projection.prompt]
    await engine.advance(company.tenant, targets=prompt)
    monkeypatch.setattr(engine_module, "read_one", None)
    others = [target for target in engine.targets.values() if not target.projection.prompt]
    await engine.advance(company.tenant, targets=others)
    async with company.reading() as reader:
        assert [await positions.position_of(reader, each.name) for each in FOLLOWED] == [head] * len(FOLLOWED)
        assert await delivery.verify(reader, "project_list") == await delivery.verify(reader, "activity_log") == []


async def test_an_event_that_the_log_has_not_any_more_is_read_again(
    world: World, company: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a database took over that lacks the last moments of the one before."""
    monkeypatch.setattr(log, "LARGE_BYTES", 0)
    project_id = await project(company, "one")
    lost = await _rename(company, project_id, "lost")
    engine = await _names_engine(world)
    await engine.advance(company.tenant)
    events = engine._shared._events
    events[company.tenant, lost + 1] = events[company.tenant, lost]
    await _rename(company, project_id, "kept")
    await engine.advance(company.tenant)
    assert await _names(company) == {project_id: ("kept", 2)}


async def test_what_is_replayed_meanwhile_is_seen_by_pages_folded_ahead(world: World, company: Company) -> None:
    """Keys that wait when a page is to be written void what was folded ahead: it is done again, in order."""
    models.fails_on.add("poison")
    project_id = await project(company, "fine")
    await _rename(company, project_id, "poison")
    engine = await _names_engine(world)
    await engine.advance(company.tenant)
    for number in range(9):
        await _rename(company, project_id, f"later {number}")
    models.fails_on.clear()
    other = await _names_engine(world, projection_batch_events_max=2)
    await other.advance(company.tenant)
    async with company.reading() as reader:
        [parked] = await parking.waiting(reader)
    assert parked.events == 10
    await parking.replay(other, company.tenant, "names_seen", str(project_id))
    assert await _names(company) == {project_id: ("later 8", 10)}
    async with company.reading() as reader:
        assert await delivery.verify(reader, "names_seen") == []


async def test_rows_of_prompt_models_are_kept_and_not_asked_for(world: World, company: Company) -> None:
    engine = await world.engine([models.model(prompt=True)])
    project_id = await project(company)
    await engine.advance(company.tenant)
    await _rename(company, project_id, "second")
    await engine.advance(company.tenant)
    [target] = engine.targets.values()
    async with world.projector.bound(company.tenant) as reader:  # nobody does that: it shows that nobody looks
        await reader.connection.execute(f"delete from {target.build.schema}.names_seen where valid_to > %s", [2**62])
    position = await _rename(company, project_id, "third")
    await engine.advance(company.tenant)
    assert await _names(company) == {project_id: ("third", 2)}
    assert (await _names(company, at=position - 1))[project_id] == ("second", 1)


@pytest.mark.parametrize("rows_max", [0, 1, 3])
async def test_however_few_rows_are_kept_the_outcome_is_the_same(
    world: World, company: Company, monkeypatch: pytest.MonkeyPatch, rows_max: int
) -> None:
    monkeypatch.setattr(engine_module, "ROWS_KEPT_MAX", rows_max)
    engine = await world.engine([models.model(prompt=True, summed=True)])
    ids = [await project(company, f"P {number}") for number in range(4)]
    await engine.advance(company.tenant)
    for turn in range(3):
        for each in ids:
            await _rename(company, each, f"{'long ' * turn}{each}")
            await engine.advance(company.tenant)
    assert await _names(company) == {each: (f"long long {each}", 3) for each in ids}
    assert await _lengths(company) == {len(f"long long {ids[0]}"): (4, 12)}


async def test_rows_kept_are_void_after_a_take_over(world: World, company: Company) -> None:
    engine = await world.engine([models.model(prompt=True)])
    other = await world.engine([models.model(prompt=True)])
    project_id = await project(company)
    await engine.advance(company.tenant)
    await _rename(company, project_id, "second")
    await other.advance(company.tenant)
    await _rename(company, project_id, "third")
    with pytest.raises(Fenced):
        await engine.advance(company.tenant)
    await engine.advance(company.tenant)
    assert await _names(company) == {project_id: ("third", 2)}
    async with company.reading() as reader:
        assert await delivery.verify(reader, "names_seen") == []


async def test_what_a_crash_set_back_is_brought_on_again_though_nothing_new_happens(
    world: World, company: Company
) -> None:
    engine = await world.engine([models.model(prompt=True)])
    project_id = await project(company, "P")
    await engine.advance(company.tenant)
    [target] = engine.targets.values()
    async with world.projector.bound(company.tenant) as reader:  # the database crashed before it had that on disk
        for statement in (
            f"delete from {target.build.schema}.names_seen",
            "delete from cairn.deliveries",
            "update cairn.checkpoints set position = 0",
        ):
            await reader.connection.execute(statement)
    assert [each.position for each in await engine.behind()] == [0]
    await engine.advance(company.tenant)
    assert await _names(company) == {project_id: ("P", 0)}
    assert await engine.behind() == []


async def test_what_ends_is_taken_out_where_it_lies_whatever_the_statistics_say(
    world: World, company: Company, database_url: str
) -> None:
    """Of a company that came after the last ANALYZE the planner expects no row, and would read all of them a key."""
    engine = await world.engine([models.model()])
    [target] = engine.targets.values()
    table = f"{target.build.schema}.names_seen"
    with psycopg.connect(database_url, autocommit=True) as owner:
        owner.execute(
            f"insert into {table} (tenant, project_id, name, renamed, valid_from, valid_to) "
            "select %s, gen_random_uuid(), 'P', 0, 1, 9223372036854775807 from generate_series(1, 20000)",
            [company.tenant],
        )
        owner.execute(f"analyze {table}")
    *before, closing, _ = target.tables.by_name["names_seen"].closing([(uuid4(),)])
    async with world.projector.bound(uuid4()) as reader:
        for statement in before:
            await reader.connection.execute(statement.text, statement.values)
        plan = "\n".join(row[0] for row in await reader.tuples(b"explain " + closing.text, {}))
    assert "Tid Scan" in plan
    assert "Index" not in plan


async def test_rows_kept_are_void_while_keys_wait(world: World, company: Company) -> None:
    engine = await world.engine([models.model(prompt=True)])
    project_id = await project(company)
    await engine.advance(company.tenant)
    models.fails_on.add("poison")
    await _rename(company, project_id, "poison")
    await engine.advance(company.tenant)
    await _rename(company, project_id, "behind")
    await engine.advance(company.tenant)
    models.fails_on.clear()
    await parking.replay(await _names_engine(world), company.tenant, "names_seen", str(project_id))
    await _rename(company, project_id, "last")
    await engine.advance(company.tenant)
    assert await _names(company) == {project_id: ("last", 3)}
    async with company.reading() as reader:
        assert await delivery.verify(reader, "names_seen") == []


@pytest.mark.parametrize("one_by_one", [True, False])
async def test_what_a_model_wrongly_says_is_new_is_looked_up(world: World, company: Company, one_by_one: bool) -> None:
    engine = await world.engine([models.model(lying=True)])
    stays, goes = await project(company, "stays"), await project(company, "goes")
    await engine.advance(company.tenant)
    positions_reached = [
        await _rename(company, stays, "stays on"),
        await _rename(company, goes, "goes on"),
        (await company.send("project", goes, command("project", "change-status", status="lost"))).position,
    ]
    for to in positions_reached if one_by_one else positions_reached[-1:]:
        await engine.advance(company.tenant, to=to)
    assert await _names(company) == {stays: ("stays on", 1)}
    assert (await _names(company, at=positions_reached[1]))[goes] == ("goes on", 1)
    async with company.reading() as reader:
        assert await delivery.verify(reader, "names_seen") == []
        assert await parking.waiting(reader) == []


async def test_live_models_move_in_one_transaction(world: World, company: Company) -> None:
    engine = await world.engine([models.model(), *FOLLOWED])
    project_id = await project(company)
    await engine.advance(company.tenant)
    reached = await _rename(company, project_id, "later")
    await engine.advance(company.tenant)
    statement = b"select count(*), count(distinct xmin::text), min(position) from cairn.checkpoints"
    async with company.reading() as reader:
        assert await reader.tuples(statement, {}) == [(len(FOLLOWED) + 1, 1, reached)]


async def test_what_one_model_refuses_holds_no_other_back(world: World, company: Company) -> None:
    engine = await world.engine([models.model(), *FOLLOWED])
    project_id = await project(company)
    await engine.advance(company.tenant)
    reached = await _rename(company, project_id, "too many")
    await engine.advance(company.tenant)
    async with company.reading() as reader:
        assert {parked.model for parked in await parking.waiting(reader)} == {"names_seen"}
        assert await least_position(reader, [each.name for each in FOLLOWED]) == reached
        assert await delivery.verify(reader, "names_seen") == []
        assert await delivery.verify(reader, "project_list") == []


async def test_a_model_that_was_taken_over_holds_no_other_back(world: World, company: Company) -> None:
    engine = await world.engine([models.model(), *FOLLOWED])
    project_id = await project(company)
    await engine.advance(company.tenant)
    other = await _names_engine(world)
    [target] = other.targets.values()
    await other.claim(target.build, company.tenant)
    reached = await _rename(company, project_id, "later")
    with pytest.raises(Fenced):
        await engine.advance(company.tenant)
    async with company.reading() as reader:
        assert await least_position(reader, [each.name for each in FOLLOWED]) == reached
    assert (await _names(company))[project_id][1] == 0
    await other.advance(company.tenant)
    assert (await _names(company))[project_id] == ("later", 1)


async def test_an_unreadable_event_is_parked(world: World, company: Company) -> None:
    project_id = await project(company, "readable")
    unknown = log.NewEvent(project_id, 2, "project.renamed", 9, uuid4(), b'{"type":"project.renamed"}')
    unit = log.Unit(uuid4(), b"request1", UUID(int=7), b"{}", [log.Check(project_id, 1, 1)], [unknown], [b"s" * 16])
    async with world.writer.connection() as connection:
        await log.append(connection, company.tenant, [unit])
    await (await _names_engine(world)).advance(company.tenant)
    async with company.reading() as reader:
        [parked] = await parking.waiting(reader)
    assert parked.key == str(project_id)
    assert "not known to this release" in parked.error


async def test_the_delivery_proof_names_the_range(world: World, company: Company) -> None:
    for number in range(3):
        await project(company, f"P {number}")
    await (await _names_engine(world)).advance(company.tenant)
    async with world.projector.bound(company.tenant) as reader:
        await reader.connection.execute("update cairn.deliveries set handled_xor = handled_xor # 1")
    async with company.reading() as reader:
        [fault] = await delivery.verify(reader, "names_seen")
    assert (fault.first_position, fault.last_position, fault.in_log, fault.delivered) == (1, 3, 3, 3)
    async with world.projector.bound(company.tenant) as reader:
        await reader.connection.execute("delete from cairn.deliveries")
    async with company.reading() as reader:
        [fault] = await delivery.verify(reader, "names_seen")
    assert (fault.in_log, fault.delivered) == (3, 0)


async def test_a_reader_sees_nothing_of_another_company(world: World, company: Company) -> None:
    other = world.company()
    estimate_id = await estimate(other, await project(other))
    await edit(other, estimate_id, "add-line", **line(1))
    await edit(other, estimate_id, "add-line", **line(2))
    await member(other, "ada@northern.example", "owner")
    await (await world.engine()).advance(other.tenant)
    tables = (
        "select format('%I.%I', n.nspname, c.relname), c.relrowsecurity and c.relforcerowsecurity from pg_class c "
        "join pg_namespace n on n.oid = c.relnamespace join cairn.builds b on b.schema_name = n.nspname "
        "where c.relkind in ('r', 'p')"
    )
    async with world.projector.connection() as connection:
        found = await (await connection.execute(tables)).fetchall()
    assert len(found) > 20
    assert all(row[1] for row in found)
    parents = [row[0] for row in found if not row[0].endswith(("_now", "_past"))]
    visible = []
    for name in parents:
        count = f"select count(*) from {name}".encode()
        async with company.reading() as reader:
            visible.append((await reader.tuples(count, {}))[0][0])
        async with other.reading() as reader:
            assert (await reader.tuples(count, {}))[0][0] >= 0
        async with world.reader.connection() as connection:
            assert await (await connection.execute(count)).fetchone() == (0,)
    assert visible == [0] * len(parents)


async def test_leases_are_shared_evenly_and_taken_over(world: World) -> None:
    scopes = ["a/1", "b/1"]
    first, second, third = (Leases(world.projector, uuid4(), scopes, 0.5) for _ in range(3))
    assert len(await first.renew()) == SLICES * 2
    assert len(await second.renew()) == 0
    assert len(await first.renew()) == SLICES
    assert len(await second.renew()) == SLICES
    held = {name: await each.renew() for name, each in (("first", first), ("second", second))}
    assert not held["first"] & held["second"]
    await first.release()
    assert len(await second.renew()) == SLICES * 2
    tenant = uuid4()
    assert second.holds("a/1", tenant)
    deadline = asyncio.get_running_loop().time() + 5
    while len(await third.renew()) < SLICES * 2:  # the second never renews again: as good as killed
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.05)
    assert not second.holds("a/1", tenant)


async def test_rows_and_checkpoint_are_one_transaction(
    world: World, company: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    await project(company)
    engine = await _names_engine(world)
    [target] = engine.targets.values()
    position = await engine.claim(target.build, company.tenant)
    async with world.projector.bound(company.tenant) as reader:
        events = [read_one(stored) for stored in await log.read_log(reader)]

    async def broken(*_: object) -> None:
        raise ConnectionError

    monkeypatch.setattr(engine, "_record", broken)  # the process dies between rows and checkpoint
    with pytest.raises(ConnectionError):
        await engine.apply(target, company.tenant, position, events)
    assert await _names(company) == {}
    await (await _names_engine(world)).advance(company.tenant)
    assert len(await _names(company)) == 1


async def test_unchanged_rows_write_nothing(world: World, company: Company) -> None:
    project_id = await project(company, "P")
    await company.send("project", project_id, command("project", "change-status", status="lost"))
    await (await _names_engine(world)).advance(company.tenant)
    async with company.reading() as reader:
        versions = await reader.tuples(b"select valid_from, valid_to from read.names_seen", {})
    assert versions == [(1, 2**63 - 1)]


async def _lengths(company: Company, at: int = POSITION_MAX) -> dict[int, tuple[int, int]]:
    statement = (
        b"select length, names, renamed from read.names_by_length where valid_from <= %(at)s and valid_to > %(at)s"
    )
    async with company.reading() as reader:
        return {row[0]: (row[1], row[2]) for row in await reader.tuples(statement, {"at": at})}


async def test_sums_follow_every_event_and_vanish_at_nothing(world: World, company: Company) -> None:
    engine = await world.engine([models.model(summed=True)])
    first, _ = await project(company, "one"), await project(company, "two")
    renamed = await _rename(company, first, "three")
    again = await _rename(company, first, "seven")
    await engine.advance(company.tenant)
    assert await _lengths(company, 1) == {3: (1, 0)}
    assert await _lengths(company, 2) == {3: (2, 0)}
    assert await _lengths(company, renamed) == {3: (1, 0), 5: (1, 1)}
    assert await _lengths(company, again) == {3: (1, 0), 5: (1, 2)}
    await _rename(company, first, "6 long")
    await engine.advance(company.tenant)  # now from stored rows
    assert await _lengths(company) == {3: (1, 0), 6: (1, 3)}
    assert await _lengths(company, again) == {3: (1, 0), 5: (1, 2)}


async def test_what_fails_in_a_model_with_sums_parks_all_that_follows(world: World, company: Company) -> None:
    """Things share rows there, so the sums would not be those of any moment."""
    engine = await world.engine([models.model(summed=True)])
    good, bad = await project(company, "good"), await project(company, "bad")
    models.fails_on.add("poison")
    await _rename(company, bad, "poison")
    last = await _rename(company, good, "better")
    await engine.advance(company.tenant)
    assert await _lengths(company) == {4: (1, 0), 3: (1, 0)}
    async with company.reading() as reader:
        [parked] = await parking.waiting(reader)
        assert (parked.key, parked.events) == (EVERYTHING, 2)
    models.fails_on.clear()
    healed = await parking.replay(engine, company.tenant, "names_seen", EVERYTHING)
    assert (healed.handled, healed.waiting) == (2, 0)
    assert await _lengths(company, last - 1) == {4: (1, 0), 6: (1, 1)}
    assert await _lengths(company) == {6: (2, 2)}
    async with company.reading() as reader:
        assert await delivery.verify(reader, "names_seen") == []


async def test_a_value_that_a_sum_cannot_hold_is_parked_too(world: World, company: Company) -> None:
    engine = await world.engine([models.model(summed=True)])
    first = await project(company, "first")
    await _rename(company, first, "too many")  # more renames than a smallint holds
    await engine.advance(company.tenant)
    assert await _lengths(company) == {5: (1, 0)}
    async with company.reading() as reader:
        [parked] = await parking.waiting(reader)
        assert (parked.key, parked.events) == (EVERYTHING, 1)
