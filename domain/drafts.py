"""What one user drafts over one connection's records: a layer of changed fields over what the upstream says."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple, assert_never
from uuid import UUID

import msgspec
from msgspec.structs import replace

from domain.baselines import Baseline, Baselines, BaselinesFound, Selection, SelectionFound
from domain.company import Company, MonthRule
from domain.decider import (
    COMPANY,
    Decider,
    Lookup,
    Recall,
    Recalled,
    Ref,
    Rejected,
    Spanning,
    State,
    WhoAsks,
    Written,
    members,
)
from domain.drafts_commands import (
    COMPUTED,
    DRAFTS_LIMIT,
    DiscardDrafts,
    DraftMany,
    DraftsCommand,
    RestoreDrafts,
    SaveDrafts,
)
from domain.drafts_events import (
    CommitBegan,
    CommitEnded,
    ComputedCost,
    Draft,
    DraftedRecord,
    DraftsCleared,
    DraftsDiscarded,
    DraftsEvent,
    DraftsRestored,
    DraftsSaved,
    EndedDraft,
    RebasedDraft,
    drafts_of,
)
from domain.lines import in_chunks
from domain.maps import TrieMap, trie_map
from domain.pfa_values import DraftValues, PfaValue, PfaValues
from domain.rental import RULE_VERSION, rental_cost

REJECTIONS: Final[Mapping[str, str]] = {
    "drafts.of-another": "These are no drafts of whoever asks, on that connection.",
    "drafts.record-unknown": "The mirror has no record of this id on this connection.",
    "drafts.record-removed": "The record is gone upstream; only its old draft can be discarded.",
    "drafts.record-repeated": "The command names this record more than once.",
    "drafts.actualised-locked": "The record is actualised: its forecast is the actual, and is not drafted.",
    "drafts.end-before-start": "The forecast would end before it starts.",
    "drafts.cost-not-computable": "A forecast cost is computed from a monthly rate and both days of the forecast, or "
    "from a purchase price; `missing` says what there is not.",
    "drafts.save-refused": "Some drafts have faults, listed by index or record; nothing of it was stored.",
    "drafts.selection-moved": "The filter means another number of records than expected; look at the preview again.",
    "drafts.selection-too-large": "The filter means more records than one command may draft; narrow it.",
    "drafts.discard-unknown": "No command that discarded drafts wrote this version of the stream.",
    "drafts.nothing-to-restore": "Every field of that discard was drafted anew since, or says what the upstream says.",
}

FAULTS_TOLD: Final = 1_000
"""Faults that a refusal lists, at most; it counts all."""
_FORECAST: Final = frozenset({"forecast_cost", "forecast_start", "forecast_end"})
_FORECAST_DAYS: Final = frozenset({"forecast_start", "forecast_end"})


class Drafts(State, frozen=True, kw_only=True):
    """`changeset_id`: the changeset that is under way, if any."""

    records: TrieMap[UUID, Draft] = trie_map()
    changeset_id: UUID | None = None


class _Wanted(NamedTuple):
    """What a command wants of a record; `place` is what its faults are told by."""

    record_id: UUID
    given: Mapping[str, Any]
    place: dict[str, object]


class _Found(NamedTuple):
    """What the mirror says: now, and at the position that was looked at."""

    now: Mapping[UUID, Baseline]
    then: Mapping[UUID, Baseline]
    position: int


def same(name: str, one: PfaValue, other: PfaValue) -> bool:
    """Whether two values of a field say the same: a record of which nobody says so is not discontinued."""
    return one == other or (name == "is_discontinued" and not one and not other)


def decide(command: DraftsCommand, _: Drafts) -> list[DraftsEvent]:
    """Every command has to know who asks: see `spanning`."""
    raise AssertionError(type(command).__name__)


def _require_own(id: UUID, command: DraftsCommand, states: Mapping[Any, Any]) -> UUID:
    """Whose drafts they are. Raises Rejected unless it is who asks."""
    user_id: UUID = states[WhoAsks()]
    if id != drafts_of(user_id, command.connection_id):
        raise Rejected("drafts.of-another", "missing")
    return user_id


def _written(id: UUID, events: Iterable[DraftsEvent]) -> list[Written]:
    own = Ref("drafts", id)
    return [(own, event) for event in events]


def _reads_nothing_more(_: UUID, __: DraftsCommand) -> list[Ref]:
    return []


def _computing_reads(_: UUID, command: SaveDrafts | DraftMany) -> list[Ref]:
    """The company's stream, which says what a month is, when a cost is to be computed."""
    all_fields = [command.fields] if isinstance(command, DraftMany) else [each.fields for each in command.drafts]
    return [COMPANY] if any(fields.forecast_cost == COMPUTED for fields in all_fields) else []


def _save_lookups(_: UUID, command: SaveDrafts, __: Mapping[Any, Any]) -> list[Lookup]:
    return [WhoAsks(), _baselines(command)]


def _baselines(command: SaveDrafts) -> Baselines:
    """Of each record once, in an order of their own, so that the same question is equal."""
    ids = tuple(dict.fromkeys(each.record_id for each in command.drafts))
    return Baselines(connection_id=command.connection_id, record_ids=ids, position=command.position)


def _save(id: UUID, command: SaveDrafts, states: Mapping[Any, Any]) -> list[Written]:
    user_id = _require_own(id, command, states)
    found: BaselinesFound = states[_baselines(command)]
    wanted = [
        _Wanted(each.record_id, each.fields.given(), {"index": index, "record_id": str(each.record_id)})
        for index, each in enumerate(command.drafts)
    ]
    seen = _Found(found.now, found.then, _looked_at(command.position, found.position))
    drafted = _all_drafted(wanted, seen, states[Ref("drafts", id)], states.get(COMPANY))
    ids = {"user_id": user_id, "connection_id": command.connection_id}
    return _written(id, (DraftsSaved(**ids, drafts=part) for part in in_chunks(drafted)))


def _looked_at(position: int | None, known: int) -> int:
    return known if position is None else min(position, known)


def _many_lookups(_: UUID, command: DraftMany, states: Mapping[Any, Any]) -> Iterator[Lookup]:
    yield WhoAsks()
    selection = _selection(command)
    yield selection
    found: SelectionFound | None = states.get(selection)
    if found is not None and (then := _selected_then(command, found)) is not None:
        yield then


def _selection(command: DraftMany) -> Selection:
    return Selection(connection_id=command.connection_id, filter=command.filter, limit=DRAFTS_LIMIT)


def _selected_then(command: DraftMany, found: SelectionFound) -> Baselines | None:
    """What the selected records said at the position that was looked at, if that is another than now."""
    if command.position is None or not found.records or command.position >= found.position:
        return None
    return Baselines(connection_id=command.connection_id, record_ids=tuple(found.records), position=command.position)


def _draft_many(id: UUID, command: DraftMany, states: Mapping[Any, Any]) -> list[Written]:
    user_id = _require_own(id, command, states)
    found: SelectionFound = states[_selection(command)]
    if found.matching != command.expected:
        raise Rejected("drafts.selection-moved", "conflict", expected=command.expected, matching=found.matching)
    if found.matching > DRAFTS_LIMIT:
        raise Rejected("drafts.selection-too-large", matching=found.matching, limit=DRAFTS_LIMIT)
    then = _selected_then(command, found)
    seen = _Found(
        found.records,
        found.records if then is None else states[then].then,
        _looked_at(command.position, found.position),
    )
    given = command.fields.given()
    wanted = [_Wanted(record_id, given, {"record_id": str(record_id)}) for record_id in found.records]
    drafted = _all_drafted(wanted, seen, states[Ref("drafts", id)], states.get(COMPANY))
    ids = {"user_id": user_id, "connection_id": command.connection_id}
    return _written(id, (DraftsSaved(**ids, drafts=part) for part in in_chunks(drafted)))


def _all_drafted(
    wanted: Sequence[_Wanted], found: _Found, drafts: Drafts, company: Company | None
) -> list[DraftedRecord]:
    """What changes. Every fault is found before anything is refused. Raises Rejected."""
    rule: MonthRule = "fraction-of-calendar-month" if company is None else company.month_rule
    drafted: list[DraftedRecord] = []
    faults: list[tuple[_Wanted, Rejected]] = []
    seen: set[UUID] = set()
    for each in wanted:
        try:
            if each.record_id in seen:
                raise Rejected("drafts.record-repeated")
            seen.add(each.record_id)
            change = _drafted(each, found, drafts.records.get(each.record_id), rule)
        except Rejected as fault:
            faults.append((each, fault))
        else:
            drafted += [change] if change else []
    if faults:
        raise _refusal(faults, alone=len(wanted) == 1)
    return drafted


def _refusal(faults: Sequence[tuple[_Wanted, Rejected]], *, alone: bool) -> Rejected:
    """The fault itself where there was but one record; else all of them."""
    if alone:
        [(each, fault)] = faults
        fault.facts = {"record_id": str(each.record_id), **fault.facts}
        return fault
    told = [{**each.place, "code": fault.code, **fault.facts} for each, fault in faults[:FAULTS_TOLD]]
    return Rejected("drafts.save-refused", faults=told, faults_total=len(faults))


def _drafted(wanted: _Wanted, found: _Found, draft: Draft | None, rule: MonthRule) -> DraftedRecord | None:
    """What changes of the record's draft; None when it is already so. Raises Rejected."""
    now = found.now.get(wanted.record_id)
    if now is None:
        raise Rejected("drafts.record-unknown", "missing")
    if now.removed:
        raise Rejected("drafts.record-removed", "conflict")
    before = {} if draft is None else draft.now.given()
    given, computed = _worked_out(wanted.given, replace(now.values, **before), rule)
    theirs = {name: getattr(now.values, name) for name in given}
    dropped = tuple(name for name, value in given.items() if name in before and same(name, value, theirs[name]))
    moved = {
        name: value
        for name, value in given.items()
        if not same(name, value, theirs[name])
        and (name not in before or before[name] != value or (name == "forecast_cost" and _other(computed, draft)))
    }
    if not moved and not dropped:
        return None
    _check(now.values, replace(now.values, **{**_without(before, dropped), **moved}), moved, dropped)
    then = found.then.get(wanted.record_id, now)
    return DraftedRecord(
        record_id=wanted.record_id,
        base_version=then.upstream_version if draft is None else draft.base_version,
        base_digest=then.digest if draft is None else draft.base_digest,
        base_position=found.position if draft is None else draft.base_position,
        base=DraftValues(**{name: getattr(then.values, name) for name in moved if name not in before}),
        now=DraftValues(**moved),
        dropped=dropped,
        computed=computed if "forecast_cost" in moved else None,
    )


def merged_with(given: Mapping[str, Any], theirs: PfaValues, mine: PfaValues, rule: MonthRule) -> PfaValues:
    """What a record says once these fields are drafted as well. `theirs` is what the upstream says, `mine` that with
    what is drafted already. Raises Rejected for what may not be drafted.
    """
    wanted, _ = _worked_out(given, mine, rule)
    moved = {name: value for name, value in wanted.items() if not same(name, value, getattr(mine, name))}
    drafted = {name: value for name, value in moved.items() if not same(name, value, getattr(theirs, name))}
    merged = replace(mine, **moved)
    _check(theirs, merged, drafted, [name for name in moved if name not in drafted])
    return merged


def _other(computed: ComputedCost | None, draft: Draft | None) -> bool:
    """Whether the same cost is now known by other means."""
    return draft is not None and computed != draft.computed


def _without(fields: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    gone = set(names)
    return {name: value for name, value in fields.items() if name not in gone}


def _check(theirs: PfaValues, merged: PfaValues, moved: Mapping[str, Any], dropped: Sequence[str]) -> None:
    """What may not be drafted. Days that the upstream has in the wrong order are no fault of another field's draft."""
    if theirs.is_actualised and (locked := _FORECAST & set(moved)):
        raise Rejected("drafts.actualised-locked", "conflict", fields=sorted(locked))
    if _FORECAST_DAYS & {*moved, *dropped}:
        _check_days(merged)


def _check_days(merged: PfaValues) -> None:
    start, end = merged.forecast_start, merged.forecast_end
    if start is not None and end is not None and end < start:
        raise Rejected("drafts.end-before-start", forecast_start=str(start), forecast_end=str(end))


def _worked_out(
    given: Mapping[str, Any], mine: PfaValues, rule: MonthRule
) -> tuple[Mapping[str, Any], ComputedCost | None]:
    """The wanted fields with a cost in place of the word for it, and how that was worked out."""
    if given.get("forecast_cost") != COMPUTED:
        return given, None
    others = {name: value for name, value in given.items() if name != "forecast_cost"}
    computed = _computed(replace(mine, **others), rule)
    return {**others, "forecast_cost": computed.cost}, computed


def _computed(merged: PfaValues, rule: MonthRule) -> ComputedCost:
    """A rental's, where there is all that it takes; else a purchase's."""
    rate, start, end = merged.monthly_rate, merged.forecast_start, merged.forecast_end
    if rate is not None and start is not None and end is not None:
        _check_days(merged)
        cost = rental_cost(rate, start, end, rule)
        return ComputedCost(cost=cost, rule=rule, rule_version=RULE_VERSION, monthly_rate=rate, start=start, end=end)
    if merged.purchase_price is not None:
        return ComputedCost(cost=merged.purchase_price, purchase_price=merged.purchase_price)
    needed = ("monthly_rate", "forecast_start", "forecast_end", "purchase_price")
    raise Rejected("drafts.cost-not-computable", missing=[name for name in needed if getattr(merged, name) is None])


def _who_asks(_: UUID, __: DiscardDrafts, ___: Mapping[Any, Any]) -> list[Lookup]:
    return [WhoAsks()]


def _discard(id: UUID, command: DiscardDrafts, states: Mapping[Any, Any]) -> list[Written]:
    user_id = _require_own(id, command, states)
    drafts: Drafts = states[Ref("drafts", id)]
    ended = list(_ended(command, drafts))
    ids = {"user_id": user_id, "connection_id": command.connection_id}
    return _written(id, (DraftsDiscarded(**ids, drafts=part) for part in in_chunks(ended)))


def _ended(command: DiscardDrafts, drafts: Drafts) -> Iterator[EndedDraft]:
    if command.all:
        for record_id in sorted(drafts.records):
            draft = drafts.records[record_id]
            yield EndedDraft(record_id=record_id, fields=tuple(draft.now.given()), was=draft)
        return
    named: dict[UUID, set[str] | None] = {}
    for each in command.records:
        before = named.get(each.record_id, set())
        named[each.record_id] = None if each.fields is None or before is None else before | {*each.fields}
    for record_id, names in named.items():
        if (known := drafts.records.get(record_id)) is not None and (
            fields := tuple(name for name in known.now.given() if names is None or name in names)
        ):
            yield EndedDraft(record_id=record_id, fields=fields, was=known)


def _recalls(id: UUID, command: RestoreDrafts) -> list[Recall]:
    return [Recall(Ref("drafts", id), command.stream_version)]


def _discarded(id: UUID, command: RestoreDrafts, states: Mapping[Any, Any]) -> dict[UUID, EndedDraft]:
    """What the recalled command discarded, by record; nothing if it was none."""
    recalled: Recalled | None = states[Recall(Ref("drafts", id), command.stream_version)]
    written = () if recalled is None else recalled.written
    parts = [event.drafts for _, _, event in written if isinstance(event, DraftsDiscarded)]
    return {ended.record_id: ended for part in parts for ended in part}


def _restore_lookups(id: UUID, command: RestoreDrafts, states: Mapping[Any, Any]) -> Iterator[Lookup]:
    yield WhoAsks()
    if discarded := _discarded(id, command, states):
        yield _discarded_now(command, discarded)


def _discarded_now(command: RestoreDrafts, discarded: Mapping[UUID, EndedDraft]) -> Baselines:
    return Baselines(connection_id=command.connection_id, record_ids=tuple(discarded))


def _restore(id: UUID, command: RestoreDrafts, states: Mapping[Any, Any]) -> list[Written]:
    user_id = _require_own(id, command, states)
    discarded = _discarded(id, command, states)
    recalled: Recalled | None = states[Recall(Ref("drafts", id), command.stream_version)]
    if recalled is None or not discarded:
        raise Rejected("drafts.discard-unknown", "missing", stream_version=command.stream_version)
    drafts: Drafts = states[Ref("drafts", id)]
    found: BaselinesFound = states[_discarded_now(command, discarded)]
    restored: list[tuple[UUID, Draft]] = []
    kept: list[str] = []
    for record_id, ended in discarded.items():
        present = drafts.records.get(record_id)
        draft = _restored(ended, present, found.now.get(record_id))
        if draft is not None:
            restored.append((record_id, draft))
        elif not _is_so(ended, present):
            kept.append(str(record_id))
    if kept and not restored:
        raise Rejected(
            "drafts.nothing-to-restore", "conflict", record_ids=kept[:FAULTS_TOLD], record_ids_total=len(kept)
        )
    ids = {"user_id": user_id, "connection_id": command.connection_id, "command_id": recalled.command_id}
    return _written(id, (DraftsRestored(**ids, drafts=part) for part in in_chunks(restored)))


def _is_so(ended: EndedDraft, present: Draft | None) -> bool:
    """Whether the discarded fields are drafted just as they were."""
    now = {} if present is None else present.now.given()
    was = ended.was.now.given()
    return all(name in now and now[name] == was[name] for name in ended.fields)


def _restored(ended: EndedDraft, present: Draft | None, mirrored: Baseline | None) -> Draft | None:
    """The record's draft with the discarded fields back in it; None when none of them comes back."""
    now = {} if present is None else present.now.given()
    was, bases = ended.was.now.given(), ended.was.base.given()
    back = [
        name
        for name in ended.fields
        if name not in now and (mirrored is None or not same(name, was[name], getattr(mirrored.values, name)))
    ]
    if not back:
        return None
    known = ended.was if present is None else present
    base = {} if present is None else present.base.given()
    return replace(
        known,
        base=DraftValues(**base, **{name: bases[name] for name in back}),
        now=DraftValues(**now, **{name: was[name] for name in back}),
        computed=ended.was.computed if "forecast_cost" in back else (present and present.computed),
    )


def drafted_upon(draft: Draft | None, drafted: DraftedRecord) -> Draft | None:
    """A record's draft with what was drafted anew put in; None when nothing is drafted any more."""
    base, now = ({}, {}) if draft is None else (draft.base.given(), draft.now.given())
    now = _without({**now, **drafted.now.given()}, drafted.dropped)
    if not now:
        return None
    if drafted.now.forecast_cost is not msgspec.UNSET:
        computed = drafted.computed
    else:
        computed = None if draft is None or "forecast_cost" in drafted.dropped else draft.computed
    return Draft(
        base_version=drafted.base_version,
        base_digest=drafted.base_digest,
        base_position=drafted.base_position,
        base=DraftValues(**_without({**base, **drafted.base.given()}, drafted.dropped)),
        now=DraftValues(**now),
        computed=computed,
    )


def left_of(draft: Draft, ended: Iterable[str]) -> Draft | None:
    """A draft without the fields that ended; None when none is left."""
    gone = set(ended)
    now = _without(draft.now.given(), gone)
    if not now:
        return None
    return replace(
        draft,
        base=DraftValues(**_without(draft.base.given(), gone)),
        now=DraftValues(**now),
        computed=None if "forecast_cost" in gone else draft.computed,
    )


def rebased_upon(draft: Draft, rebased: RebasedDraft) -> Draft:
    """A draft that goes on upon what the upstream says now."""
    base = DraftValues(**{**draft.base.given(), **rebased.base.given()})
    return replace(draft, base_version=rebased.base_version, base_digest=rebased.base_digest, base=base)


def _ended_in(records: TrieMap[UUID, Draft], ended: Iterable[EndedDraft]) -> TrieMap[UUID, Draft]:
    for each in ended:
        left = left_of(records[each.record_id], each.fields)
        records = records.remove(each.record_id) if left is None else records.insert(each.record_id, left)
    return records


def _saved_in(records: TrieMap[UUID, Draft], drafted: Iterable[DraftedRecord]) -> TrieMap[UUID, Draft]:
    for each in drafted:
        draft = drafted_upon(records.get(each.record_id), each)
        records = records.discard(each.record_id) if draft is None else records.insert(each.record_id, draft)
    return records


def evolve(drafts: Drafts, event: DraftsEvent) -> Drafts:
    match event:
        case DraftsSaved():
            return replace(drafts, records=_saved_in(drafts.records, event.drafts))
        case DraftsDiscarded():
            return replace(drafts, records=_ended_in(drafts.records, event.drafts))
        case DraftsRestored():
            return replace(drafts, records=drafts.records.update(event.drafts))
        case DraftsCleared():
            records = _ended_in(drafts.records, event.drafts)
            rebased = [(each.record_id, rebased_upon(records[each.record_id], each)) for each in event.rebased]
            return replace(drafts, records=records.update(rebased))
        case CommitBegan():
            return replace(drafts, changeset_id=event.changeset_id)
        case CommitEnded():
            return replace(drafts, changeset_id=None)
    assert_never(event)


drafts = Decider(
    category="drafts",
    initial=Drafts(),
    decide=decide,
    evolve=evolve,
    commands=members(DraftsCommand),
    events=members(DraftsEvent),
    spanning={
        SaveDrafts: Spanning(
            reads=_computing_reads, decide=_save, looks_up=_save_lookups, lookups=(WhoAsks, Baselines)
        ),
        DraftMany: Spanning(
            reads=_computing_reads, decide=_draft_many, looks_up=_many_lookups, lookups=(WhoAsks, Selection, Baselines)
        ),
        DiscardDrafts: Spanning(reads=_reads_nothing_more, decide=_discard, looks_up=_who_asks, lookups=(WhoAsks,)),
        RestoreDrafts: Spanning(
            reads=_reads_nothing_more,
            decide=_restore,
            recalls=_recalls,
            looks_up=_restore_lookups,
            lookups=(WhoAsks, Baselines),
        ),
    },
)
