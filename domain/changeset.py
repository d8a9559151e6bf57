"""A changeset, drafts on their way back to the upstream: what conflicts, what is pushed, what becomes of a record."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import reduce
from typing import Any, Final, Literal, NamedTuple, TypeAlias
from uuid import UUID

import msgspec
from msgspec.structs import replace

from domain import upstreams
from domain.baselines import Baseline, Baselines, BaselinesFound
from domain.changeset_commands import (
    BeginPush,
    CancelChangeset,
    ChangesetCommand,
    DelayPush,
    OpenChangeset,
    RecordAnswers,
    SettleConflicts,
    SettlementInput,
)
from domain.changeset_events import (
    ChangesetCancelled,
    ChangesetEvent,
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
from domain.changeset_state import Changeset, PushedRecord, evolve
from domain.company import Company, ConflictRule
from domain.connection import Connection, must_be_usable
from domain.decider import COMPANY, Decider, Lookup, Ref, Rejected, Spanning, WhoAsks, Written, members
from domain.drafts import Drafts, left_of, same
from domain.drafts_commands import DRAFTS_LIMIT
from domain.drafts_events import (
    CommitBegan,
    CommitEnded,
    Draft,
    DraftsCleared,
    EndedDraft,
    RebasedDraft,
    drafts_of,
)
from domain.lines import in_chunks
from domain.mirror_events import RecordsChanged, mirror_of
from domain.pfa import PFA_FIELDS, ConflictPolicy
from domain.pfa_values import DraftValues, MirrorChanges, PfaValue, PfaValues

REJECTIONS: Final[Mapping[str, str]] = {
    "changeset.unknown": "No changeset was opened under this id.",
    "changeset.already-opened": "A changeset of other drafts was opened under this id.",
    "changeset.of-another": "The drafts, or the changeset, are not those of whoever asks.",
    "changeset.nothing-drafted": "There are no drafts to commit.",
    "changeset.record-not-drafted": "Nothing is drafted of these records.",
    "changeset.too-many-records": "More records are drafted than one changeset takes; name some of them.",
    "changeset.read-only": "The upstream, as it is configured, cannot be written to.",
    "changeset.already-committing": "Another changeset of these drafts is under way; settle or cancel it first.",
    "changeset.finished": "The changeset has finished; nothing of it is pushed any more.",
    "changeset.record-unknown": "The changeset has no record of this id.",
    "changeset.record-repeated": "The command names this record more than once.",
    "changeset.record-not-waiting": "These records do not wait to be pushed.",
    "changeset.record-not-in-batch": "The batch does not have these records.",
    "changeset.batch-unknown": "No batch of this id was begun.",
    "changeset.batch-already-begun": "A batch of other records was begun under this id.",
    "changeset.not-in-conflict": "Nothing of the record is in conflict, or it was settled otherwise.",
    "changeset.values-incomplete": "Give a value of each field that is in conflict, and of no other.",
    "changeset.end-before-start": "The forecast would end before it starts.",
}

REMOVED: Final = "changeset.record-removed"
"""Why a record is refused that is gone upstream."""
UNMAPPED: Final = "changeset.fields-unmapped"
"""Why a record is refused of which only fields are drafted that the upstream has no column for."""
UNTOLD: Final = "changeset.moved-upstream"
"""Why a record is refused that the upstream had moved without telling what it says now: sync, and commit again."""

_Becomes: TypeAlias = Literal["push", "left", "conflict"]


class _Judged(NamedTuple):
    """What becomes of the drafted fields of a record."""

    push: dict[str, PfaValue]
    left: tuple[str, ...]
    conflict: tuple[str, ...]


def decide(command: ChangesetCommand, changeset: Changeset) -> list[ChangesetEvent]:
    """What concerns the changeset alone; for the others see `spanning`. Raises Rejected."""
    match command:
        case BeginPush():
            return _begin(command, _opened(changeset))
        case DelayPush():
            _require_unfinished(_opened(changeset))
            delayed = PushDelayed(code=command.code, facts=dict(command.facts), retry_at=command.retry_at)
            return [] if changeset.delayed == command.code else [delayed]
    raise AssertionError(type(command).__name__)


def _opened(changeset: Changeset) -> Changeset:
    if changeset.user_id is None:
        raise Rejected("changeset.unknown", "missing")
    return changeset


def _require_unfinished(changeset: Changeset) -> None:
    if changeset.finished:
        raise Rejected("changeset.finished", "conflict")


def _begin(command: BeginPush, changeset: Changeset) -> list[ChangesetEvent]:
    known = changeset.batches.get(command.batch_id)
    if known == command.record_ids:
        return []
    if known is not None:
        raise Rejected("changeset.batch-already-begun", "conflict")
    _require_unfinished(changeset)
    _each_once(command.record_ids)
    others = [each for each in command.record_ids if _status(changeset, each) != "waiting"]
    if others:
        told = {str(each): _status(changeset, each) for each in others}
        raise Rejected("changeset.record-not-waiting", "conflict", records=told)
    return [PushBegan(batch_id=command.batch_id, record_ids=command.record_ids)]


def _status(changeset: Changeset, record_id: UUID) -> str | None:
    record = changeset.records.get(record_id)
    return None if record is None else record.status


def _each_once(record_ids: Sequence[UUID]) -> None:
    seen: set[UUID] = set()
    for each in record_ids:
        if each in seen:
            raise Rejected("changeset.record-repeated", record_id=str(each))
        seen.add(each)


# Opening


def _open_reads(_: UUID, command: OpenChangeset) -> list[Ref]:
    return [Ref("drafts", command.drafts_id), Ref("connection", command.connection_id), COMPANY]


def _open_lookups(_: UUID, command: OpenChangeset, states: Mapping[Any, Any]) -> list[Lookup]:
    return [WhoAsks(), _baselines(command, states)]


def _baselines(command: OpenChangeset, states: Mapping[Any, Any]) -> Baselines:
    ids = _chosen(command, states[Ref("drafts", command.drafts_id)])
    return Baselines(connection_id=command.connection_id, record_ids=ids[:DRAFTS_LIMIT])


def _chosen(command: OpenChangeset, drafts: Drafts) -> tuple[UUID, ...]:
    """The drafted records that are meant."""
    if command.records is None:
        return tuple(sorted(drafts.records))
    return tuple(sorted({each for each in command.records if each in drafts.records}))


def _open(id: UUID, command: OpenChangeset, states: Mapping[Any, Any]) -> list[Written]:
    user_id: UUID = states[WhoAsks()]
    own, drafts_ref = Ref("changeset", id), Ref("drafts", command.drafts_id)
    if command.drafts_id != drafts_of(user_id, command.connection_id):
        raise Rejected("changeset.of-another", "missing")
    if (changeset := states[own]).user_id is not None:
        return _again(command, changeset)
    connection: Connection = states[Ref("connection", command.connection_id)]
    mapped = _must_take(connection)
    drafts: Drafts = states[drafts_ref]
    chosen = _must_be_drafted(command, drafts)
    company: Company = states[COMPANY]
    found: BaselinesFound = states[_baselines(command, states)]
    items, conflicts = _judged(chosen, drafts, found, mapped, company.conflict_rule)
    ids: dict[str, Any] = {"user_id": user_id, "connection_id": command.connection_id}
    opened = ChangesetOpened(
        **ids,
        drafts_id=command.drafts_id,
        position=found.position,
        record_count=len(items),
        rule=company.conflict_rule,
        note=command.note,
    )
    events: list[ChangesetEvent] = [opened, *(ItemsAdded(items=part) for part in in_chunks(items))]
    events += [ConflictsFound(conflicts=part) for part in in_chunks(conflicts)]
    now = reduce(evolve, events, changeset)
    ended = _ended_of(_left_alone(now, items), drafts)
    return [
        *((own, event) for event in events),
        (drafts_ref, CommitBegan(**ids, changeset_id=id)),
        *((drafts_ref, event) for event in _cleared(id, now, ended)),
        *_finishing(id, now),
    ]


def _again(command: OpenChangeset, changeset: Changeset) -> list[Written]:
    """Nothing to do, if it is what was opened."""
    others = command.records is not None and {*command.records} != {*changeset.records}
    if command.drafts_id != changeset.drafts_id or others:
        raise Rejected("changeset.already-opened", "conflict")
    return []


def _must_take(connection: Connection) -> frozenset[str]:
    """The fields that the upstream has a column for. Raises Rejected when it takes none."""
    mapping = must_be_usable(connection)
    if not upstreams.can_push(upstreams.upstream_of(msgspec.json.encode(connection.upstream))):
        raise Rejected("changeset.read-only", kind=connection.kind)
    return frozenset(field.feeds for field in mapping.fields if field.feeds is not None)


def _must_be_drafted(command: OpenChangeset, drafts: Drafts) -> tuple[UUID, ...]:
    if drafts.changeset_id is not None:
        raise Rejected("changeset.already-committing", "conflict", changeset_id=str(drafts.changeset_id))
    missing = sorted({each for each in command.records or () if each not in drafts.records})
    if missing:
        raise Rejected("changeset.record-not-drafted", "missing", record_ids=[str(each) for each in missing])
    chosen = _chosen(command, drafts)
    if not chosen:
        raise Rejected("changeset.nothing-drafted")
    if len(chosen) > DRAFTS_LIMIT:
        raise Rejected("changeset.too-many-records", drafted=len(chosen), limit=DRAFTS_LIMIT)
    return chosen


def _judged(
    chosen: Iterable[UUID], drafts: Drafts, found: BaselinesFound, mapped: frozenset[str], rule: ConflictRule
) -> tuple[list[ChangesetItem], list[FieldConflict]]:
    """Each record as it is pushed, and what is in conflict."""
    items: list[ChangesetItem] = []
    conflicts: list[FieldConflict] = []
    for record_id in chosen:
        draft, mirrored = drafts.records[record_id], found.now.get(record_id)
        if mirrored is None or mirrored.removed:
            items.append(_refused(record_id, draft, mirrored))
            continue
        drafted = draft.now.given()
        mine = {name: value for name, value in drafted.items() if name in mapped}
        moved = rule == "record" and mirrored.digest != draft.base_digest
        judged = _of_fields(mine, draft.base.given(), mirrored.values, record_moved=moved)
        item = _item(record_id, draft, mirrored, judged, tuple(name for name in drafted if name not in mapped))
        items.append(item)
        if judged.conflict:
            moved_at = found.moved_at.get(record_id)
            conflict = _conflict(item, judged.conflict, draft.now, mirrored.values)
            when = None if moved_at is None else datetime.fromisoformat(moved_at)
            conflicts.append(replace(conflict, position=mirrored.since, moved_at=when))
    return items, conflicts


def _refused(record_id: UUID, draft: Draft, mirrored: Baseline | None) -> ChangesetItem:
    identity, ordinal = ((), 1) if mirrored is None else (mirrored.identity, mirrored.ordinal)
    return ChangesetItem(record_id=record_id, identity=identity, ordinal=ordinal, draft=draft, refused=REMOVED)


def _item(
    record_id: UUID, draft: Draft, mirrored: Baseline, judged: _Judged, unmapped: tuple[str, ...]
) -> ChangesetItem:
    only_unmapped = not judged.push and not judged.left and not judged.conflict
    return ChangesetItem(
        record_id=record_id,
        identity=mirrored.identity,
        ordinal=mirrored.ordinal,
        upstream_version=mirrored.upstream_version,
        draft=draft,
        push=_values(judged.push),
        left=judged.left,
        unmapped=unmapped,
        refused=UNMAPPED if only_unmapped else None,
    )


def _of_fields(
    mine: Mapping[str, PfaValue], base: Mapping[str, PfaValue], theirs: PfaValues, *, record_moved: bool
) -> _Judged:
    """The rule of conflicts, field by field. `record_moved`: by the company's rule, all of the record has moved."""
    fates = {
        name: _becomes(name, value, base.get(name), getattr(theirs, name), record_moved=record_moved)
        for name, value in mine.items()
    }
    return _Judged(
        {name: mine[name] for name, fate in fates.items() if fate == "push"},
        tuple(name for name, fate in fates.items() if fate == "left"),
        tuple(name for name, fate in fates.items() if fate == "conflict"),
    )


def _becomes(name: str, mine: PfaValue, base: PfaValue, theirs: PfaValue, *, record_moved: bool) -> _Becomes:
    """Where the upstream moved a field to another value than the drafted one, the field's policy says whose stands."""
    if same(name, mine, theirs):
        return "left"
    if same(name, base, theirs) and not record_moved:
        return "push"
    match PFA_FIELDS[name].policy:
        case ConflictPolicy.SERVER_WINS:
            return "left"
        case ConflictPolicy.LAST_WRITE_WINS | ConflictPolicy.CLIENT_WINS:
            return "push"
        case ConflictPolicy.MANUAL | ConflictPolicy.MERGE:
            return "conflict"


def _values(fields: Mapping[str, Any]) -> DraftValues:
    return DraftValues(**fields)


def _conflict(item: ChangesetItem, names: Iterable[str], mine: DraftValues, theirs: PfaValues) -> FieldConflict:
    base = item.draft.base
    return FieldConflict(
        record_id=item.record_id,
        base=_values({name: getattr(base, name) for name in names}),
        mine=_values({name: getattr(mine, name) for name in names}),
        theirs=_values({name: getattr(theirs, name) for name in names}),
    )


# What ends, and what ends with it


def _left_alone(changeset: Changeset, items: Iterable[ChangesetItem]) -> Iterator[PushedRecord]:
    """Those of the records that end as left."""
    return (record for each in items if (record := changeset.records[each.record_id]).status == "left")


def _ended_of(records: Iterable[PushedRecord], drafts: Drafts) -> list[EndedDraft]:
    """The drafts of left fields, as far as they still are what they were."""
    ended = []
    for record in records:
        present = drafts.records.get(record.item.record_id)
        if present is not None and (names := _unchanged(record.item.left, record.item.draft, present)):
            ended.append(EndedDraft(record_id=record.item.record_id, fields=names, was=present))
    return ended


def _unchanged(names: Iterable[str], was: Draft, present: Draft) -> tuple[str, ...]:
    before, now = was.now.given(), present.now.given()
    return tuple(name for name in names if name in now and now[name] == before[name])


def _cleared(
    id: UUID, changeset: Changeset, ended: Sequence[EndedDraft], rebased: Sequence[RebasedDraft] = ()
) -> Iterator[DraftsCleared]:
    ids: dict[str, Any] = {"user_id": changeset.user_id, "connection_id": changeset.connection_id, "changeset_id": id}
    if rebased:  # of one batch, with what ended of it
        yield DraftsCleared(**ids, drafts=tuple(ended), rebased=tuple(rebased))
    else:
        yield from (DraftsCleared(**ids, drafts=part) for part in in_chunks(ended))


def _finishing(id: UUID, changeset: Changeset) -> list[Written]:
    """The end of the changeset, if nothing of it is open any more. Its state is that after what is being decided."""
    if changeset.still_open():
        return []
    counts = changeset.counts
    finished = ChangesetFinished(
        confirmed=counts.get("confirmed", 0),
        refused=counts.get("refused", 0),
        left=counts.get("left", 0),
        cancelled=counts.get("cancelled", 0),
    )
    ids: dict[str, Any] = {"user_id": changeset.user_id, "connection_id": changeset.connection_id, "changeset_id": id}
    return [(Ref("changeset", id), finished), (Ref("drafts", changeset.drafts_id), CommitEnded(**ids))]


# Settling and cancelling


def _reads_nothing_more(_: UUID, __: ChangesetCommand) -> list[Ref]:
    return []


def _its_drafts(_: UUID, __: ChangesetCommand, changeset: Changeset) -> list[Ref]:
    return [] if changeset.user_id is None else [Ref("drafts", changeset.drafts_id)]


def _who_asks(_: UUID, __: ChangesetCommand, ___: Mapping[Any, Any]) -> list[Lookup]:
    return [WhoAsks()]


def _own(id: UUID, states: Mapping[Any, Any]) -> Changeset:
    changeset = _opened(states[Ref("changeset", id)])
    if changeset.user_id != states[WhoAsks()]:
        raise Rejected("changeset.of-another", "missing")
    return changeset


def _settle(id: UUID, command: SettleConflicts, states: Mapping[Any, Any]) -> list[Written]:
    own, changeset = Ref("changeset", id), _own(id, states)
    _each_once([each.record_id for each in command.settlements])
    settlements = [made for each in command.settlements if (made := _settlement(each, changeset)) is not None]
    if not settlements:
        return []
    events = [ConflictsSettled(settlements=part) for part in in_chunks(settlements)]
    now = reduce(evolve, events, changeset)
    items = [now.records[each.record_id].item for each in settlements]
    drafts_ref = Ref("drafts", changeset.drafts_id)
    ended = _ended_of(_left_alone(now, items), states[drafts_ref])
    return [
        *((own, event) for event in events),
        *((drafts_ref, event) for event in _cleared(id, now, ended)),
        *_finishing(id, now),
    ]


def _settlement(sent: SettlementInput, changeset: Changeset) -> Settlement | None:
    """How the record's conflict is settled; None when it was settled so before. Raises Rejected."""
    record = changeset.records.get(sent.record_id)
    if record is None:
        raise Rejected("changeset.record-unknown", "missing", record_id=str(sent.record_id))
    if record.conflict is None:
        if record.settled is not None and _as_settled(sent, record.settled):
            return None
        raise Rejected("changeset.not-in-conflict", "conflict", record_id=str(sent.record_id), status=record.status)
    mine, theirs = record.conflict.mine.given(), record.conflict.theirs.given()
    wanted = {"mine": mine, "theirs": theirs}.get(sent.how) or _given_values(sent, theirs)
    push = {name: value for name, value in wanted.items() if not same(name, value, theirs[name])}
    _check_days(record, push, theirs)
    return Settlement(
        record_id=sent.record_id,
        how=sent.how,
        push=_values({**record.item.push.given(), **push}),
        left=tuple(name for name in theirs if name not in push),
        upstream_version=record.item.upstream_version,
    )


def _as_settled(sent: SettlementInput, settled: Settlement) -> bool:
    values = {} if sent.values is None else sent.values.given()
    pushed = settled.push.given()
    return sent.how == settled.how and all(
        name in settled.left or (name in pushed and pushed[name] == value) for name, value in values.items()
    )


def _given_values(sent: SettlementInput, theirs: Mapping[str, PfaValue]) -> dict[str, PfaValue]:
    values = {} if sent.values is None else sent.values.given()
    if values.keys() != theirs.keys():
        raise Rejected("changeset.values-incomplete", record_id=str(sent.record_id), fields=sorted(theirs))
    return values


def _check_days(record: PushedRecord, push: Mapping[str, Any], theirs: Mapping[str, Any]) -> None:
    """As far as both days are known: one that is neither drafted nor in conflict is the upstream's to judge."""
    known = {**record.item.draft.now.given(), **theirs, **record.item.push.given(), **push}
    start, end = known.get("forecast_start"), known.get("forecast_end")
    if start is not None and end is not None and end < start:
        raise Rejected("changeset.end-before-start", record_id=str(record.item.record_id))


def _cancel(id: UUID, command: CancelChangeset, states: Mapping[Any, Any]) -> list[Written]:
    changeset = _own(id, states)
    if changeset.cancelled:
        return []
    _require_unfinished(changeset)
    cancelled = ChangesetCancelled(reason=command.reason)
    return [(Ref("changeset", id), cancelled), *_finishing(id, evolve(changeset, cancelled))]


# Answers


class _Answered(NamedTuple):
    """What the answers to a batch make of its records."""

    confirmed: list[UUID]
    refused: list[RecordRefused]
    again: list[ChangesetItem]
    conflicts: list[FieldConflict]
    in_conflict: list[ChangesetItem]
    left: list[ChangesetItem]
    cancelled: list[UUID]


def _its_mirror_and_drafts(_: UUID, __: RecordAnswers, changeset: Changeset) -> list[Ref]:
    if changeset.user_id is None:
        return []
    return [Ref("mirror", mirror_of(changeset.connection_id)), Ref("drafts", changeset.drafts_id)]


def _record(id: UUID, command: RecordAnswers, states: Mapping[Any, Any]) -> list[Written]:
    own, changeset = Ref("changeset", id), _opened(states[Ref("changeset", id)])
    open_ids = _still_unanswered(command, changeset)
    answered = _answers(command, changeset, open_ids)
    events = _told(command.batch_id, answered)
    if not events:
        return []
    now = reduce(evolve, events, changeset)
    mirror_ref, drafts_ref = _its_mirror_and_drafts(id, command, changeset)
    changes = _of_these(command.changes, open_ids - {each.record_id for each in command.refused})
    changed = RecordsChanged(
        connection_id=changeset.connection_id,
        changes=changes,
        changeset_id=id,
        mapping_version=command.mapping_version,
        currency=command.currency,
    )
    cleared = _after_answers(id, now, answered, changes, states[drafts_ref])
    return [
        *((own, event) for event in events),
        *([(mirror_ref, changed)] if len(changes) else []),
        *((drafts_ref, event) for event in cleared),
        *_finishing(id, now),
    ]


def _still_unanswered(command: RecordAnswers, changeset: Changeset) -> set[UUID]:
    """The batch's records that wait for an answer. Raises Rejected when the command names others than the batch's."""
    batch = changeset.batches.get(command.batch_id)
    if batch is None:
        raise Rejected("changeset.batch-unknown", "missing", batch_id=str(command.batch_id))
    named = command.record_ids()
    others = {*named} - {*batch}
    if others:
        raise Rejected("changeset.record-not-in-batch", record_ids=sorted(map(str, others)))
    return {each for each in named if _is_pushed_in(changeset.records[each], command.batch_id)}


def _is_pushed_in(record: PushedRecord, batch_id: UUID) -> bool:
    return record.status == "pushing" and record.batch_id == batch_id


def _of_these(changes: MirrorChanges, record_ids: set[UUID]) -> MirrorChanges:
    """What was answered before is in the mirror already."""
    return MirrorChanges(
        updated=tuple(each for each in changes.updated if each.record_id in record_ids),
        versions=tuple(each for each in changes.versions if each.record_id in record_ids),
    )


def _answers(command: RecordAnswers, changeset: Changeset, open_ids: set[UUID]) -> _Answered:
    answered = _Answered(
        confirmed=[each for each in command.confirmed if each in open_ids],
        refused=[each for each in command.refused if each.record_id in open_ids],
        again=[],
        conflicts=[],
        in_conflict=[],
        left=[],
        cancelled=[],
    )
    for moved in command.moved:
        if moved.record_id in open_ids:
            _judge_moved(moved, changeset, answered)
    return answered


def _judge_moved(moved: RecordMoved, changeset: Changeset, answered: _Answered) -> None:
    """What becomes of a record that the upstream would not change, because it had moved."""
    item = changeset.records[moved.record_id].item
    if changeset.cancelled:
        answered.cancelled.append(moved.record_id)
        return
    if moved.theirs is None:
        answered.refused.append(RecordRefused(record_id=moved.record_id, code=UNTOLD))
        return
    mine, base = item.push.given(), item.draft.base.given()
    judged = _of_fields(mine, base, moved.theirs, record_moved=changeset.rule == "record")
    now = replace(
        item,
        push=_values(judged.push),
        left=(*item.left, *judged.left),
        upstream_version=moved.upstream_version,
    )
    if judged.conflict:
        answered.conflicts.append(_conflict(item, judged.conflict, item.push, moved.theirs))
        answered.in_conflict.append(now)
    elif judged.push:
        answered.again.append(now)
    else:
        answered.left.append(now)


def _told(batch_id: UUID, answered: _Answered) -> list[ChangesetEvent]:
    told = RecordsAnswered(
        batch_id=batch_id,
        confirmed=tuple(answered.confirmed),
        refused=tuple(answered.refused),
        again=tuple(answered.again),
        left=tuple(each.record_id for each in answered.left),
        cancelled=tuple(answered.cancelled),
    )
    events: list[ChangesetEvent] = [] if told == RecordsAnswered(batch_id=batch_id) else [told]
    if answered.conflicts:
        conflicts, items = tuple(answered.conflicts), tuple(answered.in_conflict)
        events.append(ConflictsFound(conflicts=conflicts, items=items, batch_id=batch_id))
    return events


def _after_answers(
    id: UUID, changeset: Changeset, answered: _Answered, changes: MirrorChanges, drafts: Drafts
) -> Iterator[DraftsCleared]:
    """What ends of the drafts, and what was drafted meanwhile and goes on upon what the upstream has now."""
    ended: list[EndedDraft] = []
    rebased: list[RebasedDraft] = []
    digests = {each.record_id: (each.upstream_version, each.digest, each.now.given()) for each in changes.updated}
    versions = {each.record_id: each.upstream_version for each in changes.versions}
    for record_id in answered.confirmed:
        item, present = changeset.records[record_id].item, drafts.records.get(record_id)
        if present is None:
            continue
        version, digest, says = digests.get(record_id, (versions.get(record_id), present.base_digest, {}))
        settled = {name: says.get(name, value) for name, value in item.push.given().items()}
        names = (*_taken(settled, item, present), *_unchanged(item.left, item.draft, present))
        if names:
            ended.append(EndedDraft(record_id=record_id, fields=names, was=present))
        going_on = left_of(present, names)
        if going_on is not None:
            base = {name: value for name, value in settled.items() if name in going_on.now.given()}
            rebased.append(
                RebasedDraft(record_id=record_id, base_version=version, base_digest=digest, base=_values(base))
            )
    left = [PushedRecord(item=each, status="left") for each in answered.left]
    return _cleared(id, changeset, [*ended, *_ended_of(left, drafts)], rebased)


def _taken(settled: Mapping[str, PfaValue], item: ChangesetItem, present: Draft) -> tuple[str, ...]:
    """The pushed fields whose draft ends: it is what was committed, or says what the upstream says now."""
    was, now = item.draft.now.given(), present.now.given()
    return tuple(
        name
        for name, value in settled.items()
        if name in now and (now[name] == was[name] or same(name, now[name], value))
    )


changeset = Decider(
    category="changeset",
    initial=Changeset(),
    decide=decide,
    evolve=evolve,
    commands=members(ChangesetCommand),
    events=members(ChangesetEvent),
    spanning={
        OpenChangeset: Spanning(reads=_open_reads, decide=_open, looks_up=_open_lookups, lookups=(WhoAsks, Baselines)),
        SettleConflicts: Spanning(
            reads=_reads_nothing_more, follows=_its_drafts, decide=_settle, looks_up=_who_asks, lookups=(WhoAsks,)
        ),
        CancelChangeset: Spanning(
            reads=_reads_nothing_more, follows=_its_drafts, decide=_cancel, looks_up=_who_asks, lookups=(WhoAsks,)
        ),
        RecordAnswers: Spanning(reads=_reads_nothing_more, follows=_its_mirror_and_drafts, decide=_record),
    },
)
