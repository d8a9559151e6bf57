"""Drafts on their way back upstream: what conflicts, what is pushed, and that every record ends in one way."""

import json
from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
import pydantic
import pytest
from msgspec.structs import replace

from domain import upstreams
from domain.changeset_commands import (
    BeginPush,
    CancelChangeset,
    DelayPush,
    OpenChangeset,
    RecordAnswers,
    SettleConflicts,
)
from domain.changeset_events import (
    ChangesetCancelled,
    ChangesetFinished,
    ChangesetItem,
    ChangesetOpened,
    ConflictsFound,
    ConflictsSettled,
    FieldConflict,
    ItemsAdded,
    PushBegan,
    PushDelayed,
    RecordMoved,
    RecordRefused,
    RecordsAnswered,
    Settlement,
)
from domain.changeset_state import PushedRecord
from domain.company import Company
from domain.connection import Connection
from domain.decider import COMPANY, Ref
from domain.drafts import Drafts
from domain.drafts_events import CommitBegan, CommitEnded, DraftsCleared, EndedDraft, RebasedDraft, drafts_of
from domain.mapping import MappingInput
from domain.mirror_events import RecordsChanged, mirror_of
from domain.pfa import PFA_FIELDS, ConflictPolicy
from domain.pfa_values import DraftValues, MirrorChanges, PfaChange, PfaValues, RecordChange, RecordVersion
from tests.domain.test_drafts import save
from tests.mirrored import Mirrored, digest_of
from tests.specs import SOMEBODY, Given, Outcome, World

CONNECTION = UUID(int=100)
CRANE, PUMP, SHED = (UUID(int=n) for n in range(1, 4))
BATCH, OTHER_BATCH = UUID(int=50), UUID(int=51)
OWN = Ref("changeset", UUID(int=60))
DRAFTS = Ref("drafts", drafts_of(SOMEBODY, CONNECTION))
MIRROR = Ref("mirror", mirror_of(CONNECTION))
CONNECTED = Ref("connection", CONNECTION)
TENS = PfaValues(category="Crane", forecast_cost=Decimal("10.00"), forecast_end=date(2026, 9, 30))
_TYPES = {
    "forecast_cost": {"type": "money", "unit": "USD"},
    "forecast_end": {"type": "date"},
}
_NAMES = ("category", "area", "description", "forecast_cost", "forecast_end", "is_discontinued")
MAPPING_SENT = json.dumps(
    {
        "fields": [
            {"upstream": name, "name": name, "feeds": name, **_TYPES.get(name, {"type": PFA_FIELDS[name].type})}
            for name in _NAMES
        ],
        "identity": ["id"],
    }
)
MAPPING = MappingInput.model_validate_json(MAPPING_SENT).as_mapping(1)
PUSHED = {
    "kind": "http",
    "url": "https://erp.example",
    "paging": {"by": "cursor"},
    "auth": {"by": "nothing"},
    "push": {},
}
PUSHED_SENT = json.dumps(PUSHED)


def connection(**other: Any) -> Connection:
    stored = upstreams.as_stored(upstreams.upstream_of(json.dumps(PUSHED | other.pop("upstream", {}))))
    return Connection(**{"name": "ERP", "kind": "http", "upstream": stored, "mapping": MAPPING, **other})


def scene(
    drafted: Mapping[UUID, Mapping[str, Any]],
    mirror: Mirrored | None = None,
    of: Connection | None = None,
    **company: Any,
) -> Given:
    """Drafts over three records that say the same."""
    mirror = mirror or mirrored()
    world = World(
        {COMPANY: Company(name="Northern", **company), CONNECTED: of or connection()}, answers=mirror.answers()
    )
    if drafted:
        world.run(DRAFTS, save(drafted))
    return Given(OWN, world)


def mirrored() -> Mirrored:
    mirror = Mirrored()
    mirror.load({CRANE: TENS, PUMP: TENS, SHED: TENS})
    return mirror


def opening(*records: UUID, drafts_id: UUID = DRAFTS.id) -> OpenChangeset:
    return OpenChangeset(connection_id=CONNECTION, drafts_id=drafts_id, records=records or None)


def begin(*records: UUID, batch_id: UUID = BATCH) -> BeginPush:
    return BeginPush(batch_id=batch_id, record_ids=records)


def answers(batch_id: UUID = BATCH, *, changes: MirrorChanges | None = None, **answered: Any) -> RecordAnswers:
    return RecordAnswers(batch_id=batch_id, mapping_version=1, changes=changes or MirrorChanges(), **answered)


def settle(record_id: UUID, how: str, **values: Any) -> SettleConflicts:
    each = {"record_id": str(record_id), "how": how} | ({"values": values} if values else {})
    return SettleConflicts.model_validate_json(json.dumps({"settlements": [each]}))


def told(outcome: Outcome, kind: type[Any]) -> Any:
    """The one event of that kind."""
    [event] = [event for event in outcome.events if isinstance(event, kind)]
    return event


def status(of: Given, record_id: UUID = CRANE) -> str:
    found: PushedRecord = of.state.records[record_id]
    return found.status


def drafts(of: Given) -> Drafts:
    found: Drafts = of.world.state(DRAFTS)
    return found


def confirmed_change(record_id: UUID, version: str = "2", **now: Any) -> RecordChange:
    was = PfaChange(**{name: getattr(TENS, name) for name in now})
    digest = digest_of(replace(TENS, **now))
    return RecordChange(record_id=record_id, upstream_version=version, digest=digest, was=was, now=PfaChange(**now))


def test_what_the_upstream_did_not_move_is_pushed() -> None:
    mirror = mirrored()
    of = scene({CRANE: {"forecast_cost": "11"}}, mirror)
    mirror.put(CRANE, replace(TENS, category="Tower crane"), version="2")
    draft = drafts(of).records[CRANE]
    opened = ChangesetOpened(
        user_id=SOMEBODY, connection_id=CONNECTION, drafts_id=DRAFTS.id, position=2, record_count=1
    )
    item = ChangesetItem(
        record_id=CRANE,
        identity=(str(CRANE),),
        upstream_version="2",
        draft=draft,
        push=DraftValues(forecast_cost=Decimal("11.00")),
    )
    began = CommitBegan(user_id=SOMEBODY, connection_id=CONNECTION, changeset_id=OWN.id)
    of.when(opening()).then_written((OWN, opened), (OWN, ItemsAdded(items=(item,))), (DRAFTS, began))
    assert status(of) == "waiting"
    of.when(opening()).then_nothing()
    of.when(opening(CRANE)).then_nothing()
    of.when(opening(PUMP)).then_rejected("changeset.already-opened", "conflict")


def test_the_same_field_moved_is_a_conflict_and_the_others_go_ahead() -> None:
    mirror = mirrored()
    of = scene({CRANE: {"forecast_cost": "11", "area": "East"}, PUMP: {"forecast_cost": "11"}}, mirror)
    mirror.put(CRANE, replace(TENS, forecast_cost=Decimal("12.00")), version="2")
    found = told(of.when(opening()), ConflictsFound)
    assert found.conflicts == (
        FieldConflict(
            record_id=CRANE,
            base=DraftValues(forecast_cost=Decimal("10.00")),
            mine=DraftValues(forecast_cost=Decimal("11.00")),
            theirs=DraftValues(forecast_cost=Decimal("12.00")),
            position=2,
            moved_at=datetime(2026, 11, 21, 0, 0, 2, tzinfo=UTC),
        ),
    )
    assert (status(of), status(of, PUMP)) == ("conflict", "waiting")
    of.when(begin(CRANE)).then_rejected("changeset.record-not-waiting", "conflict", records={str(CRANE): "conflict"})
    of.when(begin(PUMP)).then(PushBegan(batch_id=BATCH, record_ids=(PUMP,)))


def test_by_the_rule_of_records_any_move_is_a_conflict() -> None:
    mirror = mirrored()
    of = scene({CRANE: {"forecast_cost": "11", "area": "East"}}, mirror, conflict_rule="record")
    mirror.put(CRANE, replace(TENS, plan_cost=Decimal("1.00")), version="2")
    [conflict] = told(of.when(opening()), ConflictsFound).conflicts
    assert conflict.theirs == DraftValues(forecast_cost=Decimal("10.00"))
    assert of.state.records[CRANE].item.push == DraftValues(area="East"), "last write wins there"
    unmoved = scene({CRANE: {"forecast_cost": "11"}}, mirrored(), conflict_rule="record")
    unmoved.when(opening()).then_accepted()
    assert status(unmoved) == "waiting"


def test_policies_say_whose_value_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    mirror = mirrored()
    of = scene({CRANE: {"category": "Mine", "area": "East"}}, mirror)
    mirror.put(CRANE, replace(TENS, category="Theirs"), version="2")
    of.when(opening())
    assert of.state.records[CRANE].item.push == DraftValues(category="Mine", area="East")
    theirs = msgspec.structs.replace(PFA_FIELDS["category"], policy=ConflictPolicy.SERVER_WINS)
    monkeypatch.setitem(PFA_FIELDS, "category", theirs)
    mirror = mirrored()
    of = scene({CRANE: {"category": "Mine", "area": "East"}}, mirror)
    mirror.put(CRANE, replace(TENS, category="Theirs"), version="2")
    of.when(opening(), begin(CRANE), answers(confirmed=(CRANE,)))
    assert of.state.records[CRANE].item.left == ("category",)
    assert drafts(of) == Drafts()


def test_what_the_upstream_says_already_is_left_and_its_draft_ends_at_once() -> None:
    mirror = mirrored()
    of = scene({CRANE: {"forecast_cost": "11"}}, mirror)
    was = drafts(of).records[CRANE]
    mirror.put(CRANE, replace(TENS, forecast_cost=Decimal("11.00")), version="2")
    outcome = of.when(opening())
    ids: dict[str, Any] = {"user_id": SOMEBODY, "connection_id": CONNECTION, "changeset_id": OWN.id}
    ended = EndedDraft(record_id=CRANE, fields=("forecast_cost",), was=was)
    assert outcome.written[2:] == [
        (DRAFTS, CommitBegan(**ids)),
        (DRAFTS, DraftsCleared(**ids, drafts=(ended,))),
        (OWN, ChangesetFinished(confirmed=0, refused=0, left=1, cancelled=0)),
        (DRAFTS, CommitEnded(**ids)),
    ]
    assert (status(of), drafts(of)) == ("left", Drafts())


def test_what_is_gone_upstream_is_refused_and_its_draft_kept() -> None:
    mirror = mirrored()
    of = scene({CRANE: {"forecast_cost": "11"}, PUMP: {"forecast_cost": "11"}}, mirror)
    mirror.put(CRANE, TENS, version="2", removed=True)
    of.when(opening()).then_accepted()
    assert of.state.records[CRANE].item.refused == "changeset.record-removed"
    assert (status(of), status(of, PUMP)) == ("refused", "waiting")
    assert set(drafts(of).records) == {CRANE, PUMP}


def test_fields_without_a_column_stay_drafts() -> None:
    of = scene({CRANE: {"monthly_rate": "5", "area": "East"}, PUMP: {"monthly_rate": "5"}})
    of.when(opening())
    assert of.state.records[CRANE].item.unmapped == ("monthly_rate",)
    assert of.state.records[PUMP].item.refused == "changeset.fields-unmapped"
    of.when(begin(CRANE), answers(confirmed=(CRANE,)))
    assert of.state.finished
    assert {each: draft.now.given() for each, draft in drafts(of).records.items()} == {
        CRANE: {"monthly_rate": Decimal("5.00")},
        PUMP: {"monthly_rate": Decimal("5.00")},
    }


@pytest.mark.parametrize(
    ("of", "code", "severity"),
    [
        (scene({}), "changeset.nothing-drafted", "refused"),
        (scene({CRANE: {"area": "x"}}, of=connection(upstream={"push": None})), "changeset.read-only", "refused"),
        (scene({CRANE: {"area": "x"}}, of=connection(disabled=True)), "connection.disabled", "conflict"),
        (scene({CRANE: {"area": "x"}}, of=connection(closed=True)), "connection.closed", "conflict"),
        (scene({CRANE: {"area": "x"}}, of=Connection()), "connection.unknown", "missing"),
        (scene({CRANE: {"area": "x"}}, of=connection(mapping=None)), "connection.unmapped", "conflict"),
    ],
)
def test_opening_is_refused(of: Given, code: str, severity: str) -> None:
    of.when(opening()).then_rejected(code, severity)


def test_only_ones_own_drafted_records_once_at_a_time() -> None:
    of = scene({CRANE: {"area": "East"}, PUMP: {"area": "East"}})
    of.when(opening(drafts_id=UUID(int=9))).then_rejected("changeset.of-another", "missing")
    of.when(opening(CRANE, SHED)).then_rejected("changeset.record-not-drafted", "missing", record_ids=[str(SHED)])
    of.when(opening(CRANE)).then_accepted()
    assert set(of.state.records) == {CRANE}
    second = Given(Ref("changeset", UUID(int=61)), of.world)
    second.when(opening(PUMP)).then_rejected("changeset.already-committing", "conflict", changeset_id=str(OWN.id))
    of.when(begin(CRANE), answers(confirmed=(CRANE,))).then_accepted()
    second.when(opening()).then_accepted()
    assert set(second.state.records) == {PUMP}


def test_a_folder_or_a_table_without_versions_cannot_be_written_to() -> None:
    folder = upstreams.upstream_of('{"kind": "folder", "folder": "exports"}')
    table: dict[str, Any] = {"kind": "sql", "host": "db.example", "database": "erp", "table": "records", "key": ["id"]}
    assert not upstreams.can_push(folder)
    assert not upstreams.can_push(upstreams.upstream_of(json.dumps(table)))
    assert upstreams.can_push(upstreams.upstream_of(json.dumps(table | {"version_column": "version"})))


def test_a_push_is_begun_before_it_is_answered() -> None:
    of = scene({CRANE: {"area": "East"}, PUMP: {"area": "East"}})
    of.when(begin(CRANE)).then_rejected("changeset.unknown", "missing")
    of.when(opening())
    of.when(answers(confirmed=(CRANE,))).then_rejected("changeset.batch-unknown", "missing")
    of.when(begin(CRANE, CRANE)).then_rejected("changeset.record-repeated")
    of.when(begin(CRANE, SHED)).then_rejected("changeset.record-not-waiting", "conflict", records={str(SHED): None})
    of.when(begin(CRANE)).then(PushBegan(batch_id=BATCH, record_ids=(CRANE,)))
    of.when(begin(CRANE)).then_nothing()
    of.when(begin(PUMP)).then_rejected("changeset.batch-already-begun", "conflict")
    of.when(answers(confirmed=(CRANE, PUMP))).then_rejected("changeset.record-not-in-batch", record_ids=[str(PUMP)])
    with pytest.raises(pydantic.ValidationError, match="answered once"):
        answers(confirmed=(CRANE,), refused=(RecordRefused(record_id=CRANE, code="x"),))


def test_what_is_confirmed_is_in_the_mirror_and_no_draft_any_more() -> None:
    of = scene({CRANE: {"area": "East"}, PUMP: {"area": "East"}})
    draft = drafts(of).records[CRANE]
    of.when(opening(), begin(CRANE, PUMP))
    changes = MirrorChanges(updated=(confirmed_change(CRANE, area="East"),))
    sent = answers(confirmed=(CRANE,), changes=changes)
    changed = RecordsChanged(connection_id=CONNECTION, changes=changes, changeset_id=OWN.id, mapping_version=1)
    cleared = DraftsCleared(
        user_id=SOMEBODY,
        connection_id=CONNECTION,
        changeset_id=OWN.id,
        drafts=(EndedDraft(record_id=CRANE, fields=("area",), was=draft),),
    )
    of.when(sent).then_written(
        (OWN, RecordsAnswered(batch_id=BATCH, confirmed=(CRANE,))), (MIRROR, changed), (DRAFTS, cleared)
    )
    of.when(sent).then_nothing()
    assert (status(of), status(of, PUMP)) == ("confirmed", "pushing")
    both = answers(
        confirmed=(CRANE, PUMP),
        changes=replace(changes, versions=(RecordVersion(record_id=PUMP, upstream_version="2"),)),
    )
    outcome = of.when(both)
    assert told(outcome, RecordsChanged).changes == MirrorChanges(versions=both.changes.versions)
    assert told(outcome, ChangesetFinished).confirmed == 2
    assert drafts(of) == Drafts()
    of.when(begin(CRANE, batch_id=OTHER_BATCH)).then_rejected("changeset.finished", "conflict")


def test_what_is_refused_stays_a_draft() -> None:
    of = scene({CRANE: {"area": "East"}})
    of.when(opening(), begin(CRANE))
    refused = RecordRefused(record_id=CRANE, code="period-closed", reason="The period is closed.")
    outcome = of.when(answers(refused=(refused,)))
    assert told(outcome, RecordsAnswered).refused == (refused,)
    assert told(outcome, ChangesetFinished).refused == 1
    assert drafts(of).records[CRANE].now == DraftValues(area="East")
    assert drafts(of).changeset_id is None


def test_what_was_drafted_anew_meanwhile_goes_on_upon_what_was_pushed() -> None:
    mirror = mirrored()
    of = scene({CRANE: {"forecast_cost": "11", "area": "East"}}, mirror)
    of.when(opening(), begin(CRANE))
    of.world.run(DRAFTS, save({CRANE: {"forecast_cost": "12", "description": "Tower"}}))
    change = confirmed_change(CRANE, forecast_cost=Decimal("11.00"), area="East")
    outcome = of.when(answers(confirmed=(CRANE,), changes=MirrorChanges(updated=(change,))))
    cleared = told(outcome, DraftsCleared)
    assert [ended.fields for ended in cleared.drafts] == [("area",)]
    base = DraftValues(forecast_cost=Decimal("11.00"))
    assert cleared.rebased == (RebasedDraft(record_id=CRANE, base_version="2", base_digest=change.digest, base=base),)
    draft = drafts(of).records[CRANE]
    assert draft.now == DraftValues(forecast_cost=Decimal("12.00"), description="Tower")
    assert draft.base == DraftValues(forecast_cost=Decimal("11.00"), description=None)
    mirror.put(CRANE, replace(TENS, forecast_cost=Decimal("11.00"), area="East"), version="2")
    second = Given(Ref("changeset", UUID(int=61)), of.world)
    second.when(opening()).then_accepted()
    assert second.state.records[CRANE].conflict is None, "its own push is no move of the upstream's"


def moved(version: str = "3", **now: Any) -> RecordMoved:
    return RecordMoved(record_id=CRANE, upstream_version=version, theirs=replace(TENS, **now))


def test_what_the_upstream_had_moved_elsewhere_is_pushed_again_upon_its_version() -> None:
    of = scene({CRANE: {"forecast_cost": "11"}})
    of.when(opening(), begin(CRANE))
    [again] = told(of.when(answers(moved=(moved(plan_cost=Decimal(1)),))), RecordsAnswered).again
    assert (again.upstream_version, again.push) == ("3", DraftValues(forecast_cost=Decimal("11.00")))
    assert status(of) == "waiting"
    of.when(answers(moved=(moved(plan_cost=Decimal(1)),))).then_nothing()
    of.when(begin(CRANE)).then_nothing()
    of.when(begin(CRANE, batch_id=OTHER_BATCH)).then_accepted()


def test_a_conflict_that_the_upstream_finds_waits_too() -> None:
    of = scene({CRANE: {"forecast_cost": "11", "area": "East"}})
    of.when(opening(), begin(CRANE))
    outcome = of.when(answers(moved=(moved(forecast_cost=Decimal("12.00")),)))
    found = told(outcome, ConflictsFound)
    assert (found.batch_id, found.conflicts[0].theirs) == (BATCH, DraftValues(forecast_cost=Decimal("12.00")))
    assert found.items[0].push == DraftValues(area="East")
    settled = of.when(settle(CRANE, "mine"))
    assert told(settled, ConflictsSettled).settlements == (
        Settlement(
            record_id=CRANE,
            how="mine",
            push=DraftValues(forecast_cost=Decimal("11.00"), area="East"),
            upstream_version="3",
        ),
    )
    of.when(begin(CRANE, batch_id=OTHER_BATCH))
    again = answers(OTHER_BATCH, moved=(moved("4", forecast_cost=Decimal("12.00"), plan_cost=Decimal(1)),))
    assert told(of.when(again), RecordsAnswered).again, "what was settled upon did not move"


def test_a_push_that_the_upstream_has_no_need_of_is_left() -> None:
    of = scene({CRANE: {"forecast_cost": "11"}})
    of.when(opening(), begin(CRANE))
    outcome = of.when(answers(moved=(moved(forecast_cost=Decimal("11.00")),)))
    assert told(outcome, RecordsAnswered).left == (CRANE,)
    assert told(outcome, ChangesetFinished).left == 1
    assert drafts(of) == Drafts()


def test_a_move_that_is_not_told_is_refused() -> None:
    of = scene({CRANE: {"forecast_cost": "11"}})
    of.when(opening(), begin(CRANE))
    outcome = of.when(answers(moved=(RecordMoved(record_id=CRANE),)))
    assert told(outcome, RecordsAnswered).refused[0].code == "changeset.moved-upstream"
    assert CRANE in drafts(of).records


def in_conflict() -> Given:
    mirror = mirrored()
    of = scene({CRANE: {"forecast_cost": "11", "forecast_end": "2026-12-31"}, PUMP: {"area": "East"}}, mirror)
    mirror.put(CRANE, replace(TENS, forecast_cost=Decimal("12.00")), version="2")
    of.when(opening()).then_accepted()
    return of


def test_settling_the_upstreams_way() -> None:
    of = in_conflict()
    [settled] = told(of.when(settle(CRANE, "theirs")), ConflictsSettled).settlements
    assert (settled.push, settled.left) == (DraftValues(forecast_end=date(2026, 12, 31)), ("forecast_cost",))
    of.when(settle(CRANE, "theirs")).then_nothing()
    of.when(settle(CRANE, "mine")).then_rejected("changeset.not-in-conflict", "conflict")
    of.when(begin(CRANE), answers(confirmed=(CRANE,)))
    assert set(drafts(of).records) == {PUMP}


def test_settling_with_nothing_left_to_push_ends_the_record() -> None:
    mirror = mirrored()
    of = scene({CRANE: {"forecast_cost": "11"}}, mirror)
    mirror.put(CRANE, replace(TENS, forecast_cost=Decimal("12.00")), version="2")
    outcome = of.when(opening(), settle(CRANE, "theirs"))
    assert told(outcome, ChangesetFinished).left == 1
    assert drafts(of) == Drafts()


def test_settling_with_another_value() -> None:
    of = in_conflict()
    of.when(settle(CRANE, "value", forecast_cost="13", area="x")).then_rejected("changeset.values-incomplete")
    [settled] = told(of.when(settle(CRANE, "value", forecast_cost="13")), ConflictsSettled).settlements
    assert settled.push.forecast_cost == Decimal("13.00")
    of.when(settle(CRANE, "value", forecast_cost="13")).then_nothing()
    of.when(settle(CRANE, "value", forecast_cost="14")).then_rejected("changeset.not-in-conflict", "conflict")
    of.when(begin(CRANE), answers(confirmed=(CRANE,)))
    assert set(drafts(of).records) == {PUMP}, "what was settled is no draft any more"
    for wrong in ({"how": "value"}, {"how": "mine", "values": {"area": "x"}}):
        with pytest.raises(pydantic.ValidationError, match="Values are given with"):
            SettleConflicts.model_validate_json(json.dumps({"settlements": [{"record_id": str(CRANE), **wrong}]}))
    with pytest.raises(pydantic.ValidationError, match="decimal_shape"):
        settle(CRANE, "value", forecast_cost="computed")


def test_settling_is_refused() -> None:
    of = in_conflict()
    of.when(settle(SHED, "mine")).then_rejected("changeset.record-unknown", "missing")
    of.when(settle(PUMP, "mine")).then_rejected("changeset.not-in-conflict", "conflict")
    twice = SettleConflicts(settlements=settle(CRANE, "mine").settlements * 2)
    of.when(twice).then_rejected("changeset.record-repeated")
    of.world.asking = UUID(int=8)
    of.when(settle(CRANE, "mine")).then_rejected("changeset.of-another", "missing")
    of.when(CancelChangeset()).then_rejected("changeset.of-another", "missing")
    mirror = mirrored()
    late = scene({CRANE: {"forecast_start": "2026-03-01", "forecast_end": "2026-12-31"}}, mirror)
    mirror.put(CRANE, replace(TENS, forecast_end=date(2026, 1, 1)), version="2")
    late.when(opening(), settle(CRANE, "value", forecast_end="2026-02-01")).then_rejected("changeset.end-before-start")


def test_cancelling_keeps_drafts_and_awaits_what_is_under_way() -> None:
    of = in_conflict()
    of.when(begin(PUMP)).then_accepted()
    of.when(CancelChangeset(reason="Not now")).then(ChangesetCancelled(reason="Not now"))
    of.when(CancelChangeset()).then_nothing()
    assert (status(of), status(of, PUMP)) == ("cancelled", "pushing")
    outcome = of.when(answers(confirmed=(PUMP,)))
    assert told(outcome, ChangesetFinished) == ChangesetFinished(confirmed=1, refused=0, left=0, cancelled=1)
    assert set(drafts(of).records) == {CRANE}
    of.when(CancelChangeset()).then_nothing()
    finished = scene({CRANE: {"area": "East"}})
    finished.when(opening(), begin(CRANE), answers(confirmed=(CRANE,)))
    finished.when(CancelChangeset()).then_rejected("changeset.finished", "conflict")


def test_what_had_moved_when_it_was_cancelled_is_not_tried_again() -> None:
    of = scene({CRANE: {"forecast_cost": "11"}})
    outcome = of.when(opening(), begin(CRANE), CancelChangeset(), answers(moved=(moved(area="x"),)))
    assert told(outcome, RecordsAnswered).cancelled == (CRANE,)
    assert told(outcome, ChangesetFinished).cancelled == 1
    assert CRANE in drafts(of).records


def test_a_delay_is_told_once_until_that_changes() -> None:
    of = scene({CRANE: {"area": "East"}})
    delay = DelayPush(code="upstream.unreachable", facts={"host": "erp.example"})
    of.when(delay).then_rejected("changeset.unknown", "missing")
    of.when(opening(), delay).then(PushDelayed(code="upstream.unreachable", facts={"host": "erp.example"}))
    of.when(delay).then_nothing()
    of.when(DelayPush(code="upstream.failing")).then_accepted()
    of.when(begin(CRANE), delay).then_accepted()
    of.when(answers(confirmed=(CRANE,))).then_accepted()
    of.when(delay).then_rejected("changeset.finished", "conflict")


def test_ten_thousand_records_are_opened_in_chunks() -> None:
    mirror = Mirrored()
    ids = [UUID(int=n) for n in range(1, 10_002)]
    mirror.load(dict.fromkeys(ids, TENS))
    of = scene({each: {"forecast_cost": "11"} for each in ids[:-1]}, mirror)
    of.world.run(DRAFTS, save({ids[-1]: {"forecast_cost": "11"}}))
    of.when(opening()).then_rejected("changeset.too-many-records", drafted=10_001, limit=10_000)
    mirror.load(dict.fromkeys(ids[:600], replace(TENS, forecast_cost=Decimal("12.00"))), version="2")
    events = of.when(opening(*ids[:10_000])).events
    assert [len(event.items) for event in events if isinstance(event, ItemsAdded)] == [500] * 20
    assert [len(event.conflicts) for event in events if isinstance(event, ConflictsFound)] == [500, 100]
    assert of.state.counts == {"waiting": 9_400, "left": 0, "conflict": 600}
