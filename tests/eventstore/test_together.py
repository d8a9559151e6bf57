"""Many commands of a company as one unit: all of them are in the log, or none, and what is so already adds nothing."""

import asyncio
from collections.abc import Sequence
from typing import Any
from uuid import UUID, uuid4

import pytest

from domain.codeset import ImportCodes, RegisterCodeSet
from domain.company import RegisterCompany
from domain.decider import Command, Ref, Role
from domain.estimate_commands import UndoChange
from domain.membership import AddMember, ChangeRole
from domain.project import CreateProject, RenameProject
from eventstore import log
from eventstore.transact import RefusedTogether, Store, Wish, transact_together
from tests.eventstore.conftest import context, open_store, send

CODES = ImportCodes.model_validate_json('{"codes": [{"code": "A", "description": "Paving"}]}')


def wish(category: str, id: UUID, *commands: Command) -> Wish:
    """The same commands whatever the state is."""
    return Wish(Ref(category, id), lambda _: commands)


def a_company(tenant: UUID, members: int) -> list[Wish]:
    """A company, a code set that its stream has to list, and members."""
    people = [
        wish(
            "membership", UUID(int=number), AddMember(name=f"M{number}", email=f"m{number}@x.example", role=Role.OWNER)
        )
        for number in range(1, members + 1)
    ]
    registered = RegisterCompany(name="Northern", tier="standard", currency="USD")
    codes = wish("codeset", uuid4(), RegisterCodeSet(code_set="MnDOT", edition="2020"), CODES)
    return [wish("company", tenant, registered), codes, *people]


async def head(store: Store, tenant: UUID) -> int:
    """How many events the company's log has."""
    async with store.writer.bound(tenant) as reader:
        found = await log.head(reader)
    return 0 if found is None else found.position


async def test_many_streams_are_one_append(store: Store, tenant: UUID) -> None:
    receipt = await transact_together(store, a_company(tenant, 20), context(tenant))
    assert receipt is not None
    assert (receipt.first_position, receipt.last_position, len(receipt.leaves)) == (1, 24, 24)
    async with store.writer.bound(tenant) as reader:
        commands = {stored.decoded().command_id for stored in await log.read_log(reader, after=0)}
    assert commands == {receipt.command_id}


async def test_what_is_so_already_adds_nothing(database_url: str, store: Store, tenant: UUID) -> None:
    wishes = a_company(tenant, 6)
    assert await transact_together(store, wishes, context(tenant)) is not None
    assert await transact_together(store, wishes, context(tenant)) is None
    async with open_store(database_url) as other:
        assert await transact_together(other, wishes, context(tenant)) is None
        assert await head(other, tenant) == 10


async def test_every_refusal_is_told_and_nothing_is_stored(store: Store, tenant: UUID) -> None:
    wishes = [
        *a_company(tenant, 2),
        wish("project", uuid4(), CreateProject(name="Road")),
        wish("project", uuid4(), RenameProject(name="Nobody's"), CreateProject(name="Street")),
        wish("membership", uuid4(), ChangeRole(role=Role.VIEWER)),
    ]
    with pytest.raises(RefusedTogether) as refused:
        await transact_together(store, wishes, context(tenant))
    told = [(each.wish, each.command, each.rejected.code) for each in refused.value.refusals]
    assert told == [(5, 0, "project.unknown"), (6, 0, "membership.unknown")]
    assert await head(store, tenant) == 0


async def test_a_wish_is_told_from_what_those_before_it_did(store: Store, tenant: UUID) -> None:
    id, seen = uuid4(), []

    def renamed(state: Any) -> Sequence[Command]:
        seen.append(state.name)
        return [RenameProject(name="Street")]

    await transact_together(
        store, [wish("project", id, CreateProject(name="Road")), Wish(Ref("project", id), renamed)], context(tenant)
    )
    assert seen == ["Road"]
    assert await head(store, tenant) == 2


async def test_it_is_decided_again_when_somebody_else_was_faster(database_url: str, tenant: UUID) -> None:
    id = uuid4()
    async with open_store(database_url) as one, open_store(database_url) as other:
        await send(one, tenant, "project", id, CreateProject(name="Road"))
        await other.stream(tenant, Ref("project", id))
        await send(one, tenant, "project", id, RenameProject(name="Street"))
        receipt = await transact_together(other, [wish("project", id, RenameProject(name="Way"))], context(tenant))
        assert receipt is not None
        assert receipt.stream_version == 3


async def test_two_at_once_are_both_stored_whole(store: Store, tenant: UUID) -> None:
    wishes = [[wish("project", uuid4(), CreateProject(name=f"{run}/{number}")) for number in range(50)] for run in "ab"]
    receipts = await asyncio.gather(*(transact_together(store, each, context(tenant)) for each in wishes))
    ends = sorted((each.first_position, each.last_position) for each in receipts if each is not None)
    assert ends == [(1, 50), (51, 100)]


async def test_what_rests_on_more_than_streams_is_not_one_of_many(store: Store, tenant: UUID) -> None:
    with pytest.raises(TypeError, match="UndoChange"):
        await transact_together(store, [wish("estimate", uuid4(), UndoChange(stream_version=1))], context(tenant))
