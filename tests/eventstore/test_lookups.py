"""Decisions that rest on what read models say: asked when decided, and asked again before they refuse."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import pytest

from domain.baselines import Baselines, Selection
from domain.changeset_commands import BeginPush, CancelChangeset, OpenChangeset, RecordAnswers
from domain.connection import OpenConnection, SetMapping
from domain.decider import Ref, Rejected
from domain.drafts_events import drafts_of
from domain.pfa_values import MirrorChanges, RecordVersion
from eventstore.db import Database
from eventstore.settings import StoreSettings
from eventstore.transact import Answers, LookedUp, Store, Unanswered
from tests.domain.test_changeset import MAPPING_SENT, PUSHED_SENT
from tests.domain.test_drafts import CONNECTION, CRANE, PUMP, discard, mirrored, save
from tests.eventstore.conftest import context, open_store, send
from tests.mirrored import Mirrored
from tests.specs import SOMEBODY

OWN = drafts_of(SOMEBODY, CONNECTION)


class Asking:
    """Answers from a mirror in memory, and remembers what it was asked."""

    def __init__(self, mirror: Mirrored) -> None:
        self.mirror = mirror
        self.asked: list[LookedUp] = []

    async def baselines(self, asked: LookedUp) -> object:
        self.asked.append(asked)
        return self.mirror.baselines(asked.lookup)

    async def selection(self, asked: LookedUp) -> object:
        self.asked.append(asked)
        return self.mirror.selected(asked.lookup)

    def answers(self) -> Answers:
        return {Baselines: self.baselines, Selection: self.selection}


@pytest.fixture
def asking() -> Asking:
    return Asking(mirrored())


@pytest.fixture
async def answered(database_url: str, asking: Asking) -> AsyncIterator[Store]:
    async with open_store(database_url, answers=asking.answers()) as opened:
        yield opened


async def test_a_decision_knows_what_it_looked_up_and_who_asks(answered: Store, asking: Asking, tenant: UUID) -> None:
    saved = await send(answered, tenant, "drafts", OWN, save({CRANE: {"area": "East"}}, position=1))
    assert saved.stream_version == 1
    [asked] = asking.asked
    assert (asked.tenant, asked.actor, asked.after) == (tenant, SOMEBODY, 0)
    assert asked.lookup == Baselines(connection_id=CONNECTION, record_ids=(CRANE,), position=1)
    with pytest.raises(Rejected, match=r"drafts\.of-another"):
        await send(answered, tenant, "drafts", uuid4(), save({CRANE: {"area": "East"}}))


async def test_a_refusal_waits_for_what_was_appended_before_it(database_url: str, tenant: UUID) -> None:
    behind, mirror = Mirrored(), mirrored()
    asked: list[int] = []

    async def baselines(asking: LookedUp) -> object:
        asked.append(asking.after)
        return (mirror if asking.after else behind).baselines(asking.lookup)

    answers = {Baselines: baselines, Selection: baselines}
    async with open_store(database_url, answers=answers) as store:
        first = await send(store, tenant, "drafts", OWN, save({CRANE: {"area": "East"}}))
        assert (asked, first.stream_version) == ([0, 1], 1)
        with pytest.raises(Rejected, match=r"drafts\.record-unknown"):
            await send(store, tenant, "drafts", OWN, save({UUID(int=99): {"area": "East"}}))
        assert asked == [0, 1, 0, first.position]


async def test_a_refusal_that_rests_on_no_read_model_is_given_at_once(
    answered: Store, asking: Asking, tenant: UUID
) -> None:
    with pytest.raises(Rejected, match=r"drafts\.of-another"):
        await send(answered, tenant, "drafts", uuid4(), discard())
    assert asking.asked == []


async def test_a_retry_is_answered_whatever_read_models_say_by_then(
    answered: Store, asking: Asking, tenant: UUID
) -> None:
    about, command = context(tenant), save({CRANE: {"area": "East"}})
    first = await send(answered, tenant, "drafts", OWN, command, about=about)
    asking.mirror.history.append({})
    again = await send(answered, tenant, "drafts", OWN, command, about=about)
    assert (again.replayed, again.first_position) == (True, first.first_position)


async def test_what_is_looked_up_follows_a_state_that_moves_meanwhile(database_url: str, tenant: UUID) -> None:
    mirror = mirrored()
    asked: list[tuple[UUID, ...]] = []
    async with open_store(database_url, answers=Asking(mirror).answers()) as other:

        async def baselines(asking: LookedUp) -> object:
            asked.append(asking.lookup.record_ids)
            if len(asked) == 2:  # the first is the draft's own
                await send(store, tenant, "drafts", OWN, save({PUMP: {"area": "East"}}))
            return mirror.baselines(asking.lookup)

        async with open_store(database_url, answers={Baselines: baselines, Selection: baselines}) as store:
            await a_connection(store, tenant)
            await send(store, tenant, "drafts", OWN, save({CRANE: {"area": "East"}}))
            changeset_id = uuid4()
            await send(store, tenant, "changeset", changeset_id, opening())
            assert asked == [(CRANE,), (CRANE,), (PUMP,), (CRANE, PUMP)]
        state: Any = (await other.stream(tenant, Ref("changeset", changeset_id))).state
        assert set(state.records) == {CRANE, PUMP}


async def test_answers_are_one_append_over_the_changeset_its_mirror_and_its_drafts(
    database_url: str, asking: Asking, tenant: UUID
) -> None:
    options = {"answers": asking.answers()}
    changeset_id, batch_id = uuid4(), uuid4()
    async with open_store(database_url, **options) as one, open_store(database_url) as worker:
        await a_connection(one, tenant)
        await send(one, tenant, "drafts", OWN, save({CRANE: {"area": "East"}}))
        await send(one, tenant, "changeset", changeset_id, opening())
        with pytest.raises(Rejected, match=r"changeset\.already-committing"):
            await send(one, tenant, "changeset", uuid4(), opening())
        begun = BeginPush(batch_id=batch_id, record_ids=(CRANE,))
        await send(worker, tenant, "changeset", changeset_id, begun)
        told = RecordAnswers(
            batch_id=batch_id,
            mapping_version=1,
            changes=MirrorChanges(versions=(RecordVersion(record_id=CRANE, upstream_version="2"),)),
            confirmed=(CRANE,),
        )
        answered = await send(worker, tenant, "changeset", changeset_id, told)
        assert len(answered.leaves) == 5  # answered, the mirror's, cleared, finished, ended
        again = await send(worker, tenant, "changeset", changeset_id, told)
        assert again.first_position is None
        drafts: Any = (await worker.stream(tenant, Ref("drafts", OWN))).state
        assert not drafts.records
        with pytest.raises(Rejected, match=r"changeset\.finished"):
            await send(one, tenant, "changeset", changeset_id, CancelChangeset())


async def test_a_store_has_all_answers_or_none(database_url: str, tenant: UUID, asking: Asking) -> None:
    some: Answers = {Baselines: asking.baselines}
    with pytest.raises(Unanswered, match="Selection"):
        Store(Database(database_url, name="writer"), StoreSettings(), answers=some)
    async with open_store(database_url) as store:
        with pytest.raises(Unanswered, match="Baselines"):
            await send(store, tenant, "drafts", OWN, save({CRANE: {"area": "East"}}))
        await send(store, tenant, "drafts", OWN, discard())


def opening() -> OpenChangeset:
    return OpenChangeset(connection_id=CONNECTION, drafts_id=OWN)


async def a_connection(store: Store, tenant: UUID) -> None:
    """One that changes can be pushed to."""
    opened = OpenConnection.model_validate_json(f'{{"name": "ERP", "upstream": {PUSHED_SENT}}}')
    await send(store, tenant, "connection", CONNECTION, opened)
    mapping = SetMapping.model_validate_json(f'{{"mapping": {MAPPING_SENT}}}')
    await send(store, tenant, "connection", CONNECTION, mapping)
