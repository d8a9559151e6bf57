"""Drafts: a layer of changed fields over what the upstream says, each compared with what its author looked at."""

import json
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
import pydantic
import pytest
from hypothesis import given as drawn
from hypothesis import settings
from hypothesis import strategies as st

from domain.company import Company
from domain.decider import COMPANY, Command, Ref, Rejected
from domain.drafts import Drafts, drafts
from domain.drafts_commands import DiscardDrafts, DraftMany, RestoreDrafts, SaveDrafts
from domain.drafts_events import (
    ComputedCost,
    Draft,
    DraftedRecord,
    DraftsCleared,
    DraftsDiscarded,
    DraftsSaved,
    EndedDraft,
    RebasedDraft,
    drafts_of,
)
from domain.maps import decode_map, encode_map
from domain.pfa_values import EDITABLE, DraftValues, PfaValues
from tests.mirrored import Mirrored
from tests.specs import Given, World
from tests.strategies import draft_fields

ADA, CONNECTION = UUID(int=7), UUID(int=100)
CRANE, PUMP, SHED, GONE = (UUID(int=n) for n in range(1, 5))
OWN = Ref("drafts", drafts_of(ADA, CONNECTION))
RENTED = PfaValues(
    category="Crane",
    source="Rental",
    forecast_cost=Decimal("61250.00"),
    forecast_start=date(2026, 3, 1),
    forecast_end=date(2026, 9, 30),
    monthly_rate=Decimal("8750.00"),
)
BOUGHT = PfaValues(category="Pump", source="Purchase", purchase_price=Decimal("42000.00"), is_discontinued=False)
OVER = PfaValues(category="Shed", forecast_cost=Decimal("10.00"), actual_cost=Decimal("10.00"), is_actualised=True)


def mirrored() -> Mirrored:
    """Three records at position 1, and one that is gone."""
    mirror = Mirrored()
    mirror.load({CRANE: RENTED, PUMP: BOUGHT, SHED: OVER})
    mirror.put(GONE, BOUGHT, version="1", removed=True)
    return mirror


def scene(mirror: Mirrored | None = None, **company: Any) -> Given:
    mirror = mirror or mirrored()
    return Given(OWN, World({COMPANY: Company(name="Northern", **company)}, answers=mirror.answers(), asking=ADA))


def save(fields: Mapping[UUID, Mapping[str, Any]], position: int | None = None) -> SaveDrafts:
    each = [{"record_id": str(record_id), "fields": wanted} for record_id, wanted in fields.items()]
    return SaveDrafts.model_validate_json(
        json.dumps({"connection_id": str(CONNECTION), "position": position, "drafts": each})
    )


def discard(*records: UUID, fields: tuple[str, ...] | None = None) -> DiscardDrafts:
    if not records:
        return DiscardDrafts(connection_id=CONNECTION, all=True)
    each = [{"record_id": record_id, "fields": fields} for record_id in records]
    return DiscardDrafts.model_validate({"connection_id": CONNECTION, "records": tuple(each)})


def restore(version: int) -> RestoreDrafts:
    return RestoreDrafts(connection_id=CONNECTION, stream_version=version)


def many(fields: Mapping[str, Any], expected: int, position: int | None = None) -> DraftMany:
    body = {"connection_id": str(CONNECTION), "filter": {}, "fields": fields, "expected": expected}
    return DraftMany.model_validate_json(json.dumps({**body, "position": position}))


def test_saving_says_what_was_looked_at() -> None:
    mirror = mirrored()
    of = scene(mirror)
    saved = of.when(save({CRANE: {"forecast_cost": "70000", "category": "Tower crane"}}))
    [event] = saved.events
    assert isinstance(event, DraftsSaved)
    assert (event.user_id, event.connection_id) == (ADA, CONNECTION)
    assert event.drafts == (
        DraftedRecord(
            record_id=CRANE,
            base_version="1",
            base_digest=mirror.now[CRANE].digest,
            base_position=2,
            base=DraftValues(category="Crane", forecast_cost=Decimal("61250.00")),
            now=DraftValues(category="Tower crane", forecast_cost=Decimal("70000.00")),
        ),
    )
    of.when(save({CRANE: {"forecast_cost": "70000.00"}})).then_nothing()


def test_fields_are_merged_one_by_one_and_each_keeps_its_first_base() -> None:
    mirror = mirrored()
    of = scene(mirror)
    of.when(save({CRANE: {"category": "A"}}))
    mirror.put(CRANE, msgspec.structs.replace(RENTED, category="B", source="Owned"), version="2")
    of.when(save({CRANE: {"category": "C", "source": None}}))
    draft = of.state.records[CRANE]
    assert draft.base == DraftValues(category="Crane", source="Owned")
    assert draft.now == DraftValues(category="C", source=None)
    assert (draft.base_version, draft.base_position) == ("1", 2)


def test_the_base_is_what_was_looked_at_not_what_is() -> None:
    mirror = mirrored()
    mirror.put(CRANE, msgspec.structs.replace(RENTED, category="B"), version="2")
    of = scene(mirror)
    of.when(save({CRANE: {"category": "C"}, PUMP: {"area": "East"}}, position=1))
    draft = of.state.records[CRANE]
    assert (draft.base, draft.base_version, draft.base_position) == (DraftValues(category="Crane"), "1", 1)
    of.when(save({SHED: {"area": "West"}}, position=99))
    assert of.state.records[SHED].base_position == mirror.position


def test_a_field_that_says_what_the_upstream_says_is_no_draft() -> None:
    of = scene()
    of.when(save({CRANE: {"category": "Crane", "forecast_cost": "61250"}})).then_nothing()
    of.when(save({PUMP: {"is_discontinued": None}})).then_nothing()
    of.when(save({CRANE: {"category": "A", "area": "East"}}))
    [event] = of.when(save({CRANE: {"category": "Crane"}})).events
    assert isinstance(event, DraftsSaved)
    assert event.drafts[0].dropped == ("category",)
    assert of.state.records[CRANE].now == DraftValues(area="East")
    of.when(save({CRANE: {"area": " "}}))
    assert CRANE not in of.state.records


def test_blank_text_is_no_value() -> None:
    of = scene()
    of.when(save({CRANE: {"category": "  ", "description": ""}}))
    assert of.state.records[CRANE].now == DraftValues(category=None)


@pytest.mark.parametrize(
    ("wanted", "code", "severity"),
    [
        ({UUID(int=99): {"area": "x"}}, "drafts.record-unknown", "missing"),
        ({GONE: {"area": "x"}}, "drafts.record-removed", "conflict"),
        ({SHED: {"forecast_cost": "11"}}, "drafts.actualised-locked", "conflict"),
        ({CRANE: {"forecast_end": "2026-02-28"}}, "drafts.end-before-start", "refused"),
        ({CRANE: {"forecast_start": None, "forecast_cost": "computed"}}, "drafts.cost-not-computable", "refused"),
    ],
)
def test_what_may_not_be_drafted(wanted: Mapping[UUID, Mapping[str, Any]], code: str, severity: str) -> None:
    scene().when(save(wanted)).then_rejected(code, severity, record_id=str(next(iter(wanted))))


def test_every_fault_is_listed_and_nothing_stored() -> None:
    of = scene()
    wanted = {CRANE: {"area": "x"}, SHED: {"forecast_end": "2026-01-01", "area": "y"}, UUID(int=99): {"area": "z"}}
    outcome = of.when(save(wanted)).then_rejected("drafts.save-refused", faults_total=2)
    assert outcome.rejection is not None
    faults: Any = outcome.rejection.facts["faults"]
    assert [(fault["index"], fault["code"]) for fault in faults] == [
        (1, "drafts.actualised-locked"),
        (2, "drafts.record-unknown"),
    ]
    assert of.state == Drafts()
    twice = save({CRANE: {"area": "x"}}).drafts * 2
    of.when(SaveDrafts(connection_id=CONNECTION, drafts=twice)).then_rejected("drafts.save-refused", faults_total=1)


def test_the_upstreams_own_fields_are_refused_by_name() -> None:
    with pytest.raises(pydantic.ValidationError) as refused:
        save({CRANE: {"plan_cost": "1", "area": "x", "actual_end": None}})
    errors = {error["loc"][-1]: error["type"] for error in refused.value.errors()}
    assert errors == {"plan_cost": "field_not_editable", "actual_end": "field_not_editable"}
    with pytest.raises(pydantic.ValidationError, match="at least one field"):
        save({CRANE: {}})
    with pytest.raises(pydantic.ValidationError, match="field_not_editable"):
        discard(CRANE, fields=("plan_cost",))


def test_days_in_the_wrong_order_upstream_are_no_fault_of_another_field() -> None:
    mirror = mirrored()
    mirror.put(CRANE, msgspec.structs.replace(RENTED, forecast_end=date(2026, 1, 1)), version="2")
    of = scene(mirror)
    of.when(save({CRANE: {"area": "East"}})).then_accepted()
    of.when(save({CRANE: {"forecast_cost": "computed"}})).then_rejected("drafts.end-before-start")
    of.when(save({CRANE: {"forecast_end": "2026-04-01"}})).then_accepted()


def test_a_rental_is_computed_by_the_companys_month() -> None:
    of = scene(month_rule="days-28")
    of.when(save({CRANE: {"forecast_cost": "computed", "monthly_rate": "1000"}})).then_accepted()
    draft = of.state.records[CRANE]
    assert draft.now.forecast_cost == Decimal("7642.86")  # 214 days of 28 to the month
    assert draft.computed == ComputedCost(
        cost=Decimal("7642.86"),
        rule="days-28",
        monthly_rate=Decimal("1000.00"),
        start=date(2026, 3, 1),
        end=date(2026, 9, 30),
    )
    of.when(save({CRANE: {"forecast_cost": "computed", "monthly_rate": "1000"}})).then_nothing()
    of.when(save({CRANE: {"forecast_cost": "7642.86"}})).then_accepted()
    assert of.state.records[CRANE].computed is None
    scene().when(save({CRANE: {"forecast_cost": "computed"}})).then_nothing()  # seven whole months: what is there


def test_a_purchase_costs_its_price() -> None:
    of = scene()
    of.when(save({PUMP: {"forecast_cost": "computed", "purchase_price": "45000"}}))
    draft = of.state.records[PUMP]
    assert draft.now.forecast_cost == Decimal("45000.00")
    assert draft.computed == ComputedCost(cost=Decimal("45000.00"), purchase_price=Decimal("45000.00"))
    outcome = scene().when(save({SHED: {"area": "x", "forecast_cost": "computed"}}))
    outcome.then_rejected("drafts.cost-not-computable")


def test_nobody_else_sees_or_touches_them() -> None:
    other = Given(OWN, World(answers=mirrored().answers(), asking=UUID(int=8)))
    commands: list[Command] = [save({CRANE: {"area": "x"}}), many({"area": "x"}, 4), discard(), restore(1)]
    for command in commands:
        other.when(command).then_rejected("drafts.of-another", "missing")


def test_many_are_drafted_by_what_they_say() -> None:
    mirror = mirrored()
    mirror.put(CRANE, msgspec.structs.replace(RENTED, area="East"), version="2")
    mirror.matching = lambda asked, record: asked.limit == 10_000 and not record.removed
    of = scene(mirror)
    of.when(many({"area": "North"}, 2)).then_rejected("drafts.selection-moved", "conflict", matching=3, expected=2)
    of.when(many({"area": "North"}, 3, position=1)).then_accepted()
    assert of.state.records[CRANE].base == DraftValues(area=None)
    assert of.state.records[CRANE].base_position == 1
    assert {draft.now.area for draft in of.state.records.values()} == {"North"}
    of.when(many({"area": "North"}, 3)).then_nothing()
    of.when(many({"forecast_cost": "1"}, 3)).then_rejected("drafts.save-refused", faults_total=1)


def test_too_many_are_refused_and_many_are_in_chunks() -> None:
    mirror = Mirrored()
    mirror.load({UUID(int=n): RENTED for n in range(1, 10_002)})
    scene(mirror).when(many({"area": "x"}, 10_001)).then_rejected("drafts.selection-too-large", limit=10_000)
    mirror.matching = lambda _, record: record.identity != (str(UUID(int=1)),)
    of = scene(mirror)
    events = of.when(many({"area": "x", "forecast_cost": "computed"}, 10_000)).events
    assert [len(event.drafts) for event in events if isinstance(event, DraftsSaved)] == [500] * 20
    assert len(of.state.records) == 10_000
    of.when(many({"area": "x"}, 10_000)).then_nothing()
    discarded = of.when(discard()).events
    assert [len(event.drafts) for event in discarded if isinstance(event, DraftsDiscarded)] == [500] * 20
    assert of.state == Drafts()


def test_discarding_some_and_all() -> None:
    of = scene()
    of.when(discard()).then_nothing()
    of.when(save({CRANE: {"area": "East", "category": "A"}, PUMP: {"area": "East"}}))
    was = of.state.records[CRANE]
    [event] = of.when(discard(CRANE, fields=("area", "source"))).events
    assert isinstance(event, DraftsDiscarded)
    assert event.drafts == (EndedDraft(record_id=CRANE, fields=("area",), was=was),)
    assert of.state.records[CRANE].now == DraftValues(category="A")
    of.when(discard(CRANE, fields=("area",))).then_nothing()
    of.when(discard()).then_accepted()
    assert of.state == Drafts()
    with pytest.raises(pydantic.ValidationError, match="Either all"):
        DiscardDrafts(connection_id=CONNECTION)
    with pytest.raises(pydantic.ValidationError, match="Either all"):
        DiscardDrafts(connection_id=CONNECTION, all=True, records=discard(CRANE).records)


def test_a_discard_is_taken_back() -> None:
    of = scene()
    of.when(save({CRANE: {"area": "East", "forecast_cost": "1"}, PUMP: {"area": "East"}}))
    was = of.state
    of.when(discard())
    of.when(restore(2)).then_accepted()
    assert of.state == was
    of.when(restore(2)).then_nothing()
    of.when(restore(1)).then_rejected("drafts.discard-unknown", "missing")
    of.when(restore(9)).then_rejected("drafts.discard-unknown", "missing")


def test_what_was_drafted_anew_stays() -> None:
    mirror = mirrored()
    of = scene(mirror)
    of.when(save({CRANE: {"area": "East", "category": "A"}, PUMP: {"area": "East"}}))
    of.when(discard())
    of.when(save({CRANE: {"area": "West"}, PUMP: {"area": "South"}}))
    of.when(restore(2)).then_accepted()
    assert of.state.records[CRANE].now == DraftValues(area="West", category="A")
    assert of.state.records[PUMP].now == DraftValues(area="South")
    of.when(restore(2)).then_rejected("drafts.nothing-to-restore", "conflict", record_ids_total=2)


def test_what_the_upstream_says_meanwhile_is_not_restored() -> None:
    mirror = mirrored()
    of = scene(mirror)
    of.when(save({CRANE: {"category": "A"}, PUMP: {"area": "East"}}))
    of.when(discard())
    mirror.put(CRANE, msgspec.structs.replace(RENTED, category="A"), version="2")
    of.when(restore(2)).then_accepted()
    assert list(of.state.records) == [PUMP]


def test_a_cleared_field_ends_and_a_rebased_one_goes_on() -> None:
    base, now = DraftValues(area=None, category="Crane"), DraftValues(area="East", category="A")
    draft = Draft(base_version="1", base_digest="d", base_position=1, base=base, now=now)
    state = Drafts(records=Drafts().records.insert(CRANE, draft))
    cleared = DraftsCleared(
        user_id=ADA,
        connection_id=CONNECTION,
        changeset_id=UUID(int=5),
        drafts=(EndedDraft(record_id=CRANE, fields=("area",), was=draft),),
        rebased=(RebasedDraft(record_id=CRANE, base_version="2", base_digest="e", base=DraftValues(category="B")),),
    )
    left = drafts.evolve(state, cleared).records[CRANE]
    assert (left.base, left.now) == (DraftValues(category="B"), DraftValues(category="A"))
    assert (left.base_version, left.base_digest, left.base_position) == ("2", "e", 1)


_texts = st.sampled_from([None, "A", "B"])
_ids = st.sampled_from([CRANE, PUMP, SHED, GONE, UUID(int=99)])
_positions = st.none() | st.integers(0, 9)
_moves = st.tuples(
    st.sampled_from([CRANE, PUMP]),
    st.fixed_dictionaries({}, optional={"category": _texts, "area": _texts, "is_actualised": st.booleans()}),
    st.sampled_from([False, False, True]),
)
_steps = st.one_of(
    st.tuples(st.dictionaries(_ids, draft_fields, min_size=1, max_size=3), _positions).map(lambda drawn: save(*drawn)),
    st.tuples(draft_fields, st.integers(2, 4), _positions).map(lambda drawn: many(*drawn)),
    st.lists(_ids, max_size=2).map(lambda ids: discard(*ids)),
    st.tuples(_ids, st.sampled_from(EDITABLE)).map(lambda drawn: discard(drawn[0], fields=(drawn[1],))),
    st.integers(1, 12).map(restore),
    _moves,
)


def played(script: list[Any]) -> tuple[World, Mirrored]:
    """Runs what is accepted; the upstream moves between. A retry adds nothing."""
    mirror = mirrored()
    world = scene(mirror).world
    for step in script:
        if isinstance(step, tuple):
            record_id, moved, removed = step
            values = msgspec.structs.replace(mirror.now[record_id].values, **moved)
            mirror.put(record_id, values, version=str(mirror.position), removed=removed)
            continue
        try:
            written = world.run(OWN, step)
        except Rejected as rejection:
            msgspec.json.encode(rejection.facts)
            continue
        for _, event in written:
            assert msgspec.json.decode(msgspec.json.encode(event), type=type(event)) == event
        assert _retried(world, step) == [], "retry adds nothing"
        _check_state(world.state(OWN), mirror, touched=written)
    return world, mirror


def _retried(world: World, step: Command) -> list[Any]:
    try:
        return world.decided(OWN, step)
    except Rejected as rejection:
        return [] if rejection.code in {"drafts.nothing-to-restore", "drafts.selection-moved"} else [rejection]


def _check_state(state: Drafts, mirror: Mirrored, touched: list[Any]) -> None:
    for draft in state.records.values():
        assert draft.now.given()
        assert draft.now.given().keys() == draft.base.given().keys()
        assert draft.computed is None or draft.computed.cost == draft.now.forecast_cost
    stored = msgspec.msgpack.encode(state, enc_hook=encode_map)
    assert msgspec.msgpack.decode(stored, type=Drafts, dec_hook=decode_map) == state
    saved = [each for _, event in touched if isinstance(event, DraftsSaved) for each in event.drafts]
    for each in saved:
        theirs = mirror.now[each.record_id].values
        assert all(getattr(theirs, name) != value for name, value in each.now.given().items())


@settings(max_examples=300, deadline=None)
@drawn(st.lists(_steps, max_size=12))
def test_any_script(script: list[Any]) -> None:
    played(script)


@settings(max_examples=200, deadline=None)
@drawn(st.lists(_steps, max_size=8))
def test_discarding_and_restoring_gives_back_what_was(script: list[Any]) -> None:
    world, mirror = played(script)
    before: Drafts = world.state(OWN)
    if not world.run(OWN, discard()):
        return
    assert not world.state(OWN).records
    with_an_equal = {
        record_id
        for record_id, draft in before.records.items()
        if any(getattr(mirror.now[record_id].values, n) == v for n, v in draft.now.given().items())
    }
    if with_an_equal:  # the upstream came to say the same: such a field is no draft
        return
    world.run(OWN, restore(world.versions[OWN]))
    assert world.state(OWN) == before
