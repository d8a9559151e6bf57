"""What decisions know of a changeset: where each of its records is on its way."""

from collections.abc import Iterable
from typing import Final, Literal, TypeAlias, assert_never
from uuid import UUID

import msgspec
from msgspec import field
from msgspec.structs import replace

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
    RecordsAnswered,
    Settlement,
)
from domain.company import ConflictRule
from domain.decider import State
from domain.maps import TrieMap, trie_map
from domain.pfa_values import DraftValues

Status: TypeAlias = Literal["waiting", "pushing", "conflict", "confirmed", "refused", "left", "cancelled"]
OPEN: Final = ("waiting", "pushing", "conflict")
"""Of these something is still to become."""


class PushedRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A record of a changeset. `batch_id` is the batch that it is, or was last, pushed in."""

    item: ChangesetItem
    status: Status
    batch_id: UUID | None = None
    conflict: FieldConflict | None = None
    settled: Settlement | None = None


class Changeset(State, frozen=True, kw_only=True):
    """`user_id` is None until it is opened. `delayed`: why the upstream could not be asked, until it was again."""

    user_id: UUID | None = None
    connection_id: UUID = UUID(int=0)
    drafts_id: UUID = UUID(int=0)
    rule: ConflictRule = "field"
    records: TrieMap[UUID, PushedRecord] = trie_map()
    counts: dict[Status, int] = field(default_factory=dict)
    batches: TrieMap[UUID, tuple[UUID, ...]] = trie_map()
    delayed: str | None = None
    cancelled: bool = False
    finished: bool = False

    def still_open(self) -> int:
        """How many records something is still to become of."""
        return sum(self.counts.get(status, 0) for status in OPEN)


def first_status(item: ChangesetItem) -> Status:
    """Of a record that nothing is in conflict of."""
    if item.push.given():
        return "waiting"
    return "left" if item.refused is None else "refused"


def _moved(changeset: Changeset, records: Iterable[tuple[UUID, PushedRecord]]) -> Changeset:
    counts, known = dict(changeset.counts), changeset.records
    for record_id, record in records:
        before = known.get(record_id)
        if before is not None:
            counts[before.status] -= 1
        counts[record.status] = counts.get(record.status, 0) + 1
        known = known.insert(record_id, record)
    return replace(changeset, records=known, counts=counts)


def _settled(record: PushedRecord, settlement: Settlement) -> PushedRecord:
    """What the upstream had moved was seen: it is what a further conflict is compared with."""
    assert record.conflict is not None
    item = record.item
    base = DraftValues(**{**item.draft.base.given(), **record.conflict.theirs.given()})
    item = replace(
        item,
        draft=replace(item.draft, base=base),
        push=settlement.push,
        left=(*item.left, *settlement.left),
        upstream_version=settlement.upstream_version,
    )
    status: Status = "waiting" if settlement.push.given() else "left"
    return replace(record, item=item, status=status, conflict=None, settled=settlement)


def _answered(changeset: Changeset, event: RecordsAnswered) -> Changeset:
    known = changeset.records
    refused = [each.record_id for each in event.refused]
    ended: list[tuple[Status, Iterable[UUID]]] = [
        ("confirmed", event.confirmed),
        ("refused", refused),
        ("left", event.left),
        ("cancelled", event.cancelled),
    ]
    moved = [(each, replace(known[each], status=status)) for status, ids in ended for each in ids]
    again = [(each.record_id, replace(known[each.record_id], item=each, status="waiting")) for each in event.again]
    return _moved(replace(changeset, delayed=None), [*moved, *again])


def _in_conflict(changeset: Changeset, event: ConflictsFound) -> Changeset:
    items = {each.record_id: each for each in event.items}
    found = []
    for conflict in event.conflicts:
        record = changeset.records[conflict.record_id]
        item = items.get(conflict.record_id, record.item)
        found.append((conflict.record_id, replace(record, item=item, status="conflict", conflict=conflict)))
    return _moved(changeset, found)


def _cancelled(changeset: Changeset) -> Changeset:
    waiting = [
        (record_id, replace(record, status="cancelled", conflict=None))
        for record_id, record in changeset.records.items()
        if record.status in {"waiting", "conflict"}
    ]
    return _moved(replace(changeset, cancelled=True), waiting)


def evolve(changeset: Changeset, event: ChangesetEvent) -> Changeset:
    match event:
        case ChangesetOpened():
            return replace(
                changeset,
                user_id=event.user_id,
                connection_id=event.connection_id,
                drafts_id=event.drafts_id,
                rule=event.rule,
            )
        case ItemsAdded(items=items):
            return _moved(
                changeset, [(each.record_id, PushedRecord(item=each, status=first_status(each))) for each in items]
            )
        case ConflictsFound():
            return _in_conflict(changeset, event)
        case ConflictsSettled(settlements=settlements):
            known = changeset.records
            return _moved(changeset, [(each.record_id, _settled(known[each.record_id], each)) for each in settlements])
        case PushBegan(batch_id=batch_id, record_ids=record_ids):
            known = changeset.records
            pushing = [(each, replace(known[each], status="pushing", batch_id=batch_id)) for each in record_ids]
            batches = changeset.batches.insert(batch_id, record_ids)
            return _moved(replace(changeset, batches=batches, delayed=None), pushing)
        case PushDelayed(code=code):
            return replace(changeset, delayed=code)
        case RecordsAnswered():
            return _answered(changeset, event)
        case ChangesetCancelled():
            return _cancelled(changeset)
        case ChangesetFinished():
            return replace(changeset, finished=True)
    assert_never(event)
