"""Commands become events once: decided, appended, answered, and answered the same when asked again."""

import asyncio
import json
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import msgspec
import psycopg
import pytest
from uuid_utils.compat import uuid7

from domain.company import CodeEditionRegistered, RegisterCompany
from domain.decider import Ref, Rejected
from domain.estimate_commands import AddLine, ImportLines, RemoveLine, ReviseLine, StartEstimate, UndoChange
from domain.project import ChangeStatus, CreateProject, DeleteProject
from eventstore import codec
from eventstore.log import NewEvent
from eventstore.transact import CommandMisused, Store, VersionConflict
from tests.eventstore.conftest import context, open_store, send
from tests.eventstore.units import appended, unit, writer


def a_line(line_id: UUID | None = None, price: str = "2.50") -> AddLine:
    return AddLine.model_validate_json(
        json.dumps(
            {
                "line_id": str(line_id or uuid4()),
                "wbs_path": ["0001"],
                "description": "REMOVE SIGN",
                "quantity": "3",
                "unit": "EACH",
                "unit_price": price,
                "cost_type": "subcontract",
            }
        )
    )


async def an_estimate(store: Store, tenant: UUID) -> UUID:
    project_id, estimate_id = uuid4(), uuid4()
    await send(store, tenant, "project", project_id, CreateProject(name=f"Road {project_id}"))
    await send(store, tenant, "estimate", estimate_id, StartEstimate(project_id=project_id, currency="USD"))
    return estimate_id


async def test_positions_are_gapless_across_streams(store: Store, tenant: UUID) -> None:
    estimate_id = await an_estimate(store, tenant)
    receipts = [await send(store, tenant, "estimate", estimate_id, a_line()) for _ in range(5)]
    assert [receipt.first_position for receipt in receipts] == [4, 5, 6, 7, 8]
    assert [receipt.stream_version for receipt in receipts] == [2, 3, 4, 5, 6]
    assert all(len(receipt.leaves) == 1 and len(receipt.leaves[0]) == 64 for receipt in receipts)


async def test_a_unit_over_two_streams_is_one_atomic_append(store: Store, tenant: UUID) -> None:
    project_id = uuid4()
    await send(store, tenant, "project", project_id, CreateProject(name="Bridge"))
    started = await send(store, tenant, "estimate", uuid4(), StartEstimate(project_id=project_id, currency="USD"))
    assert (started.first_position, started.last_position) == (2, 3)


async def test_a_repeated_command_gets_its_first_receipt(store: Store, tenant: UUID) -> None:
    estimate_id = await an_estimate(store, tenant)
    about = context(tenant)
    line = a_line()
    first = await send(store, tenant, "estimate", estimate_id, line, about=about)
    again = await send(store, tenant, "estimate", estimate_id, line, about=about)
    assert again.replayed
    assert not first.replayed
    assert (again.first_position, again.leaves, again.recorded_at, again.stream_version, again.epoch) == (
        first.first_position,
        first.leaves,
        first.recorded_at,
        first.stream_version,
        first.epoch,
    )


async def test_a_retry_is_answered_even_when_it_could_not_be_decided_now(store: Store, tenant: UUID) -> None:
    project_id = uuid4()
    about = context(tenant)
    await send(store, tenant, "project", project_id, CreateProject(name="Bridge"))
    changed = await send(store, tenant, "project", project_id, ChangeStatus(status="awarded"), about=about)
    await send(store, tenant, "project", project_id, DeleteProject())
    again = await send(store, tenant, "project", project_id, ChangeStatus(status="awarded"), about=about)
    assert again.replayed
    assert again.first_position == changed.first_position


async def test_nothing_to_do_is_remembered_too(store: Store, tenant: UUID) -> None:
    project_id = uuid4()
    await send(store, tenant, "project", project_id, CreateProject(name="Bridge", status="active"))
    about = context(tenant)
    first = await send(store, tenant, "project", project_id, ChangeStatus(status="active"), about=about)
    assert (first.first_position, first.position) == (None, 1)
    await send(store, tenant, "project", project_id, ChangeStatus(status="awarded"))
    late = await send(store, tenant, "project", project_id, ChangeStatus(status="active"), about=about)
    assert late == msgspec.structs.replace(first, replayed=True)


async def test_an_id_used_by_another_request_is_misuse(store: Store, tenant: UUID) -> None:
    estimate_id = await an_estimate(store, tenant)
    command_id = uuid7()
    await send(store, tenant, "estimate", estimate_id, a_line(), about=context(tenant, command_id, b"request1"))
    with pytest.raises(CommandMisused):
        await send(store, tenant, "estimate", estimate_id, a_line(), about=context(tenant, command_id, b"request2"))


async def test_twins_sent_at_once_are_one(store: Store, tenant: UUID) -> None:
    estimate_id = await an_estimate(store, tenant)
    about = context(tenant)
    line = a_line()
    receipts = await asyncio.gather(
        *(send(store, tenant, "estimate", estimate_id, line, about=about) for _ in range(8))
    )
    assert {receipt.first_position for receipt in receipts} == {4}
    assert sum(not receipt.replayed for receipt in receipts) == 1


async def test_many_writers_of_one_stream_conflict_with_nobody(store: Store, tenant: UUID) -> None:
    estimate_id = await an_estimate(store, tenant)
    receipts = await asyncio.gather(*(send(store, tenant, "estimate", estimate_id, a_line()) for _ in range(200)))
    assert sorted(receipt.stream_version for receipt in receipts) == list(range(2, 202))


async def test_two_processes_on_one_stream_decide_again(database_url: str, tenant: UUID) -> None:
    async with open_store(database_url) as one, open_store(database_url) as other:
        estimate_id = await an_estimate(one, tenant)
        receipts = await asyncio.gather(
            *(send(store, tenant, "estimate", estimate_id, a_line()) for _ in range(40) for store in (one, other))
        )
        assert sorted(receipt.stream_version for receipt in receipts) == list(range(2, 82))


async def test_a_refusal_never_rests_on_a_stale_state(database_url: str, tenant: UUID) -> None:
    async with open_store(database_url) as one, open_store(database_url) as other:
        estimate_id = await an_estimate(one, tenant)
        line = a_line()
        with pytest.raises(Rejected, match=r"estimate\.line-unknown"):
            await send(other, tenant, "estimate", estimate_id, RemoveLine(line_id=line.line_id))
        await send(one, tenant, "estimate", estimate_id, line)
        removed = await send(other, tenant, "estimate", estimate_id, RemoveLine(line_id=line.line_id))
        assert removed.stream_version == 3


async def test_a_stale_expected_version_is_refused(store: Store, tenant: UUID) -> None:
    estimate_id = await an_estimate(store, tenant)
    await send(store, tenant, "estimate", estimate_id, a_line(), expected_version=1)
    with pytest.raises(VersionConflict) as caught:
        await send(store, tenant, "estimate", estimate_id, a_line(), expected_version=1)
    assert caught.value.actual == 2


async def test_an_id_names_one_thing_in_a_company(store: Store, tenant: UUID) -> None:
    project_id = uuid4()
    await send(store, tenant, "project", project_id, CreateProject(name="Bridge"))
    with pytest.raises(Rejected, match=r"estimate\.id-in-use"):
        await send(store, tenant, "estimate", project_id, StartEstimate(project_id=project_id, currency="USD"))


async def test_versions_are_numbered_without_gap_or_duplicate_under_concurrency(
    database_url: str, tenant: UUID
) -> None:
    async with open_store(database_url) as one, open_store(database_url) as other:
        project_id = uuid4()
        await send(one, tenant, "project", project_id, CreateProject(name="Bridge"))
        await asyncio.gather(
            *(
                send(store, tenant, "estimate", uuid4(), StartEstimate(project_id=project_id, currency="USD"))
                for _ in range(20)
                for store in (one, other)
            )
        )
    with psycopg.connect(database_url) as connection:
        connection.execute("select set_config('cairn.tenant', %s, false)", [str(tenant)])
        rows = connection.execute(
            "select (payload ->> 'version')::int from cairn.log where type = 'estimate.started' order by 1"
        ).fetchall()
    assert [row[0] for row in rows] == list(range(1, 41))


async def test_a_long_stream_decides_from_its_snapshot(database_url: str, tenant: UUID) -> None:
    settings = {"snapshot_every_events": 50}
    async with open_store(database_url, settings=settings) as store:
        estimate_id = await an_estimate(store, tenant)
        line = a_line()
        await send(store, tenant, "estimate", estimate_id, line)
        for cents in range(120):
            revised = ReviseLine(line_id=line.line_id, unit_price=Decimal(cents + 1) / 100)
            await send(store, tenant, "estimate", estimate_id, revised)
    with psycopg.connect(database_url) as connection:
        saved = connection.execute("select stream_version from cairn.snapshots").fetchone()
    assert saved is not None
    assert saved[0] >= 100
    async with open_store(database_url, settings=settings) as store:
        receipt = await send(store, tenant, "estimate", estimate_id, RemoveLine(line_id=line.line_id))
        assert receipt.stream_version == 123


async def test_a_change_is_taken_back_from_what_the_log_says_of_it(database_url: str, tenant: UUID) -> None:
    async with open_store(database_url) as one, open_store(database_url) as other:
        estimate_id = await an_estimate(one, tenant)
        line = a_line()
        await send(one, tenant, "estimate", estimate_id, line)
        revised = await send(one, tenant, "estimate", estimate_id, ReviseLine(line_id=line.line_id, note="x"))
        await send(other, tenant, "estimate", estimate_id, ReviseLine(line_id=line.line_id, quantity=Decimal(9)))
        undo = UndoChange(stream_version=revised.stream_version)
        about = context(tenant)
        undone = await send(one, tenant, "estimate", estimate_id, undo, about=about)
        assert (undone.stream_version, len(undone.leaves)) == (6, 2)
        again = await send(other, tenant, "estimate", estimate_id, undo, about=about)
        assert (again.replayed, again.leaves) == (True, undone.leaves)
        with pytest.raises(Rejected, match=r"estimate\.change-already-undone"):
            await send(other, tenant, "estimate", estimate_id, undo)
    state = await folded_from_log(database_url, tenant, estimate_id)
    assert (state.lines[line.line_id].note, state.lines[line.line_id].quantity) == (None, 9)


async def test_an_import_is_taken_back_whole(store: Store, tenant: UUID) -> None:
    estimate_id = await an_estimate(store, tenant)
    imported = await send(
        store, tenant, "estimate", estimate_id, ImportLines(lines=tuple(a_line() for _ in range(600)))
    )
    assert imported.stream_version == 3
    undone = await send(store, tenant, "estimate", estimate_id, UndoChange(stream_version=2))
    assert undone.stream_version == 6


async def test_what_has_no_way_back(store: Store, tenant: UUID) -> None:
    estimate_id = await an_estimate(store, tenant)
    with pytest.raises(Rejected, match=r"estimate\.cannot-be-undone"):
        await send(store, tenant, "estimate", estimate_id, UndoChange(stream_version=1))
    with pytest.raises(Rejected, match=r"estimate\.change-unknown"):
        await send(store, tenant, "estimate", estimate_id, UndoChange(stream_version=2))


async def test_a_change_that_is_not_durable_yet_can_be_taken_back(store: Store, tenant: UUID) -> None:
    estimate_id = await an_estimate(store, tenant)
    adding = asyncio.ensure_future(send(store, tenant, "estimate", estimate_id, a_line()))
    undoing = asyncio.ensure_future(send(store, tenant, "estimate", estimate_id, UndoChange(stream_version=2)))
    added, undone = await asyncio.gather(adding, undoing)
    assert (added.stream_version, undone.stream_version) == (2, 4)


async def test_a_coded_line_rests_on_the_companys_own_stream(database_url: str, tenant: UUID) -> None:
    async with open_store(database_url) as one, open_store(database_url) as other:
        estimate_id = await an_estimate(one, tenant)
        coded = {"code_set": "MnDOT", "code_edition": "2020"}
        registering = RegisterCompany(name="Northern", tier="standard", currency="USD")
        await send(one, tenant, "company", tenant, registering)
        await send(one, tenant, "estimate", estimate_id, a_line().model_copy(update=coded))
        await a_code_edition(database_url, tenant, "MnDOT", "2018")
        for store in (one, other):
            with pytest.raises(Rejected, match=r"estimate\.code-edition-unknown") as refused:
                await send(store, tenant, "estimate", estimate_id, a_line().model_copy(update=coded))
            assert refused.value.facts["known"] == ["2018"]


async def folded_from_log(database_url: str, tenant: UUID, stream_id: UUID) -> Any:
    """The state that a process would have which has seen nothing yet."""
    async with open_store(database_url) as store:
        return (await store.stream(tenant, Ref("estimate", stream_id))).state


async def a_code_edition(database_url: str, tenant: UUID, code_set: str, edition: str) -> None:
    """An edition in the stream of a company that was only registered, as another process writes it."""
    event = CodeEditionRegistered(code_set=code_set, edition=edition, codeset_id=uuid4())
    written = NewEvent(tenant, 2, codec.tag(event), 1, uuid7(), codec.encode(event))
    connection = await writer(database_url)
    await appended(connection, tenant, msgspec.structs.replace(unit((tenant, 1, 1)), events=[written]))
    await connection.close()
