"""Changesets, drafts on their way back upstream: how far each is, and what became of every record."""

from datetime import datetime
from typing import Any, Final, TypeAlias
from uuid import UUID

import msgspec
from msgspec.structs import replace

from domain import actuals, codeset, company, estimate, membership, pricebook, project
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
    RecordRefused,
    RecordsAnswered,
    Settlement,
)
from domain.changeset_state import first_status
from domain.decider import Event
from domain.registry import OF_UPSTREAMS
from eventstore.db import Reader
from eventstore.log import POSITION_MAX
from eventstore.sql import beside
from projections.projection import Change, Key, Projection, Seen, Table, change, changes, identity, of_stream

CANCELLED: Final = "cancelled"

WAITING: Final = "waiting"
PUSHING: Final = "pushing"
CONFIRMED: Final = "confirmed"
REFUSED: Final = "refused"
CONFLICT: Final = "conflict"
LEFT: Final = "left"


class Delay(msgspec.Struct, frozen=True):
    """Why nothing is pushed at the moment: the upstream could not be asked, and when it is tried again."""

    code: str
    facts: dict[str, Any]
    since: datetime
    retry_at: datetime | None


class ChangesetRow(msgspec.Struct, frozen=True):
    """A changeset as it is stored. `cancelled_at`: what was not on its way by then never will be."""

    changeset_id: UUID
    user_id: UUID
    connection_id: UUID
    drafts_id: UUID
    looked_at_position: int
    opened_position: int
    rule: str
    record_count: int
    note: str | None
    batches: int
    delay: Delay | None
    opened_at: datetime
    cancelled_at: datetime | None
    cancelled_reason: str | None
    finished_at: datetime | None


class RecordRow(msgspec.Struct, frozen=True):
    """A record of a changeset as it is stored. One that waits, or is in conflict, when the changeset is cancelled says
    so only in the answer. `place` is its number in the changeset, from 0.
    """

    changeset_id: UUID
    record_id: UUID
    place: int
    identity: tuple[str, ...]
    ordinal: int
    upstream_version: str | None
    status: str
    base: dict[str, Any]
    mine: dict[str, Any]
    pushed: dict[str, Any]
    theirs: dict[str, Any] | None
    moved_position: int | None
    moved_at: datetime | None
    found_by: str | None
    settled: str | None
    left_to_upstream: tuple[str, ...]
    unmapped: tuple[str, ...]
    batch_id: UUID | None
    code: str | None
    reason: str | None
    updated_at: datetime


class RecordCounts(msgspec.Struct, frozen=True, kw_only=True):
    """Records of a changeset by what became of them."""

    waiting: int = 0
    pushing: int = 0
    conflict: int = 0
    confirmed: int = 0
    refused: int = 0
    left: int = 0
    cancelled: int = 0

    @property
    def under_way(self) -> int:
        """Those that need nobody but the upstream."""
        return self.waiting + self.pushing


class Changeset(msgspec.Struct, frozen=True, kw_only=True):
    """Drafts on their way upstream. `status`: open until every record has come to an end, then finished; cancelled as
    soon as that is asked for, while a batch that was under way is still answered (`finished_at` is null till then).

    `records` counts by what became of each: it waits, is being pushed, is in conflict (it waits for somebody's
    decision, the others go ahead), was confirmed or refused by the upstream, left as the upstream has it, or cancelled.
    `looked_at_position` is the position that conflicts were judged at, by `rule`: the same `field` moved upstream
    since, or anything of the `record`. `delay`: why nothing is pushed at the moment.
    """

    changeset_id: UUID
    user_id: UUID
    connection_id: UUID
    drafts_id: UUID
    status: str
    looked_at_position: int
    rule: str
    record_count: int
    records: RecordCounts
    note: str | None
    batches: int
    delay: Delay | None
    opened_at: datetime
    cancelled_at: datetime | None
    cancelled_reason: str | None
    finished_at: datetime | None
    opened_position: int

    @property
    def moves_on(self) -> bool:
        """Whether something is still going to happen of itself."""
        return self.finished_at is None and self.records.under_way > 0


class ChangesetRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A record of a changeset. `base`, `mine` and `theirs` have the drafted fields: what they were drafted over, the
    draft, and what the upstream has of those in conflict, moved there at `moved_position`; `found_by` is `mirror` or
    `upstream`. `settled`: mine, theirs or value. `pushed` is what goes upstream; `left_to_upstream` are drafted fields
    whose draft ends instead, because the upstream says the same or its value stands, and `unmapped` those that it has
    no column for. `code` and `reason` are those of a refusal.
    """

    record_id: UUID
    place: int
    identity: tuple[str, ...]
    ordinal: int
    upstream_version: str | None
    status: str
    base: dict[str, Any]
    mine: dict[str, Any]
    pushed: dict[str, Any]
    theirs: dict[str, Any] | None
    moved_position: int | None
    moved_at: datetime | None
    found_by: str | None
    settled: str | None
    left_to_upstream: tuple[str, ...]
    unmapped: tuple[str, ...]
    batch_id: UUID | None
    code: str | None
    reason: str | None
    updated_at: datetime


changesets_table = Table("changesets_changesets", ChangesetRow, key=("changeset_id",))
records_table = Table("changesets_records", RecordRow, key=("changeset_id", "record_id"))


def opened(row: ChangesetRow | None, seen: Seen, key: Key) -> ChangesetRow:
    event: ChangesetOpened = seen.event
    return ChangesetRow(
        changeset_id=key[0],
        user_id=event.user_id,
        connection_id=event.connection_id,
        drafts_id=event.drafts_id,
        looked_at_position=event.position,
        opened_position=seen.position,
        rule=event.rule,
        record_count=event.record_count,
        note=event.note,
        batches=0,
        delay=None,
        opened_at=seen.recorded_at,
        cancelled_at=None,
        cancelled_reason=None,
        finished_at=None,
    )


def push_began(row: ChangesetRow | None, seen: Seen, key: Key) -> ChangesetRow:
    before = _opened(row)
    return replace(before, batches=before.batches + 1, delay=None)


def push_delayed(row: ChangesetRow | None, seen: Seen, key: Key) -> ChangesetRow:
    event: PushDelayed = seen.event
    return replace(_opened(row), delay=Delay(event.code, event.facts, seen.recorded_at, event.retry_at))


def answered(row: ChangesetRow | None, seen: Seen, key: Key) -> ChangesetRow:
    return replace(_opened(row), delay=None)


def cancelled(row: ChangesetRow | None, seen: Seen, key: Key) -> ChangesetRow:
    return replace(_opened(row), cancelled_at=seen.recorded_at, cancelled_reason=seen.event.reason, delay=None)


def finished(row: ChangesetRow | None, seen: Seen, key: Key) -> ChangesetRow:
    return replace(_opened(row), finished_at=seen.recorded_at, delay=None)


def _opened(row: ChangesetRow | None) -> ChangesetRow:
    if row is None:
        raise LookupError("the changeset was never opened")
    return row


def items(seen: Seen) -> list[tuple[Key, tuple[int, ChangesetItem]]]:
    """Items come in several events; each counts on from the stream version, so places follow one another, with gaps."""
    stream, first = identity(seen.raw_stream_id), seen.stream_version * 1_000
    return [((stream, item.record_id), (first + index, item)) for index, item in enumerate(seen.event.items)]


def item_added(row: RecordRow | None, seen: Seen, part: tuple[int, ChangesetItem]) -> RecordRow:
    place, item = part
    added = RecordRow(
        changeset_id=identity(seen.raw_stream_id),
        record_id=item.record_id,
        place=place,
        identity=item.identity,
        ordinal=item.ordinal,
        upstream_version=item.upstream_version,
        status=WAITING,
        base={},
        mine={},
        pushed={},
        theirs=None,
        moved_position=None,
        moved_at=None,
        found_by=None,
        settled=None,
        left_to_upstream=(),
        unmapped=(),
        batch_id=None,
        code=item.refused,
        reason=None,
        updated_at=seen.recorded_at,
    )
    return replace(_wanted(added, item), status=first_status(item))


def _wanted(row: RecordRow, item: ChangesetItem) -> RecordRow:
    """The row with what the item says of it, now that it is judged upon that version."""
    return replace(
        row,
        upstream_version=item.upstream_version,
        base=item.draft.base.given(),
        mine=item.draft.now.given(),
        pushed=item.push.given(),
        left_to_upstream=item.left,
        unmapped=item.unmapped,
    )


def conflicts(seen: Seen) -> list[tuple[Key, tuple[FieldConflict, ChangesetItem | None]]]:
    """Each conflict, with the item that stands for the record from now on, if there is another."""
    stream, event = identity(seen.raw_stream_id), seen.event
    later = {item.record_id: item for item in event.items}
    return [((stream, each.record_id), (each, later.get(each.record_id))) for each in event.conflicts]


def conflict_found(row: RecordRow | None, seen: Seen, part: tuple[FieldConflict, ChangesetItem | None]) -> RecordRow:
    event: ConflictsFound = seen.event
    conflict, item = part
    before = _added(row)
    return replace(
        before if item is None else _wanted(before, item),
        status=CONFLICT,
        theirs=conflict.theirs.given(),
        moved_position=conflict.position,
        moved_at=conflict.moved_at,
        found_by="mirror" if event.batch_id is None else "upstream",
        settled=None,
        updated_at=seen.recorded_at,
    )


def settlements(seen: Seen) -> list[tuple[Key, Settlement]]:
    stream = identity(seen.raw_stream_id)
    return [((stream, settlement.record_id), settlement) for settlement in seen.event.settlements]


def conflict_settled(row: RecordRow | None, seen: Seen, settlement: Settlement) -> RecordRow:
    before = _added(row)
    pushed = settlement.push.given()
    return replace(
        before,
        status=WAITING if pushed else LEFT,
        settled=settlement.how,
        pushed=pushed,
        left_to_upstream=tuple(dict.fromkeys((*before.left_to_upstream, *settlement.left))),
        upstream_version=settlement.upstream_version,
        updated_at=seen.recorded_at,
    )


def in_batch(seen: Seen) -> list[Key]:
    stream = identity(seen.raw_stream_id)
    return [(stream, record_id) for record_id in seen.event.record_ids]


def record_pushed(row: RecordRow | None, seen: Seen, key: Key) -> RecordRow:
    return replace(_added(row), status=PUSHING, batch_id=seen.event.batch_id, updated_at=seen.recorded_at)


Answered: TypeAlias = RecordRefused | ChangesetItem | str
"""Refused with a reason, to be pushed again as another item, or the status it came to."""


def answers(seen: Seen) -> list[tuple[Key, Answered]]:
    """Each record that was answered for."""
    stream, event = identity(seen.raw_stream_id), seen.event
    ended: list[tuple[Key, Answered]] = [
        ((stream, record_id), status)
        for status, named in ((CONFIRMED, event.confirmed), (LEFT, event.left), (CANCELLED, event.cancelled))
        for record_id in named
    ]
    return ended + [((stream, each.record_id), each) for each in (*event.refused, *event.again)]


def record_answered(row: RecordRow | None, seen: Seen, answer: Answered) -> RecordRow:
    before = replace(_added(row), updated_at=seen.recorded_at)
    match answer:
        case RecordRefused():
            return replace(before, status=REFUSED, code=answer.code, reason=answer.reason)
        case ChangesetItem():
            return replace(_wanted(before, answer), status=WAITING)
    return replace(before, status=answer)


def _added(row: RecordRow | None) -> RecordRow:
    if row is None:
        raise LookupError("the record was never part of the changeset")
    return row


_ON: Final[dict[type[Event], tuple[Change, ...]]] = {
    ChangesetOpened: (change(changesets_table, of_stream, opened),),
    ItemsAdded: (changes(records_table, items, item_added),),
    ConflictsFound: (
        change(changesets_table, of_stream, answered),
        changes(records_table, conflicts, conflict_found),
    ),
    ConflictsSettled: (changes(records_table, settlements, conflict_settled),),
    PushBegan: (change(changesets_table, of_stream, push_began), change(records_table, in_batch, record_pushed)),
    PushDelayed: (change(changesets_table, of_stream, push_delayed),),
    RecordsAnswered: (
        change(changesets_table, of_stream, answered),
        changes(records_table, answers, record_answered),
    ),
    ChangesetCancelled: (change(changesets_table, of_stream, cancelled),),
    ChangesetFinished: (change(changesets_table, of_stream, finished),),
}

projection = Projection(
    name="changesets",
    version=1,
    sql=beside(__file__),
    tables=(changesets_table, records_table),
    on=_ON,
    ignores=frozenset[type[Event]](
        (
            *actuals.actuals.events,
            *codeset.codeset.events,
            *pricebook.pricebook.events,
            *company.company.events,
            *membership.membership.events,
            *project.project.events,
            *estimate.estimate.events,
            *(event for event in OF_UPSTREAMS if event not in _ON),
        )
    ),
)


async def changesets(
    reader: Reader,
    *,
    at: int,
    limit: int,
    after: int | None = None,
    connection_id: UUID | None = None,
    user_id: UUID | None = None,
    status: str | None = None,
) -> list[Changeset]:
    """A page of changesets, the latest first: those opened before the position `after`."""
    values = {
        "at": at,
        "limit": limit,
        "after": POSITION_MAX if after is None else after,
        "connection_id": connection_id,
        "user_id": user_id,
        "status": status,
    }
    return [_shown(row) for row in await reader.rows(projection.sql["changesets"], values, Changeset)]


async def changeset(reader: Reader, changeset_id: UUID, *, at: int) -> Changeset | None:
    """One changeset."""
    row = await reader.row(projection.sql["changeset"], {"changeset_id": changeset_id, "at": at}, Changeset)
    return None if row is None else _shown(row)


def _shown(row: Changeset) -> Changeset:
    delay = msgspec.convert(row.delay, Delay | None)
    return replace(row, records=msgspec.convert(row.records or {}, RecordCounts), delay=delay)


async def records(
    reader: Reader, changeset_id: UUID, *, at: int, limit: int, after: int | None = None, status: str | None = None
) -> list[ChangesetRecord]:
    """A page of a changeset's records in the order they were added, those after the place `after`."""
    values = {
        "changeset_id": changeset_id,
        "at": at,
        "limit": limit,
        "after": -1 if after is None else after,
        "status": status,
    }
    return await reader.rows(projection.sql["records"], values, ChangesetRecord)
