"""Mirrored records, what people drafted over them, and the sums of both: every change of a record reaches its drafts.

A row of `pfa_drafts` is a record as one user sees it, so that filters, orders and searches find what is merged. What
the upstream says of a drafted field follows from the row too: where it moved, `behind` has it, else it is the base.
A user's rows of `pfa_sums` are only the difference that the drafts make.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final
from uuid import UUID
from zlib import crc32

import msgspec
from msgspec.structs import replace

from domain import actuals, codeset, company, estimate, membership, pricebook, project
from domain.changeset_events import ChangesetEvent
from domain.connection_events import ConnectionEvent
from domain.decider import Event, members
from domain.drafts_events import (
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
from domain.mirror_events import (
    CHANGES_LIMIT,
    MirrorEvent,
    RecordsChanged,
    SyncBegan,
    SyncCancelled,
    SyncFailed,
    SyncFinished,
)
from domain.pfa import PFA_FIELDS, FieldType
from domain.pfa_values import (
    MirrorChanges,
    MirroredRecord,
    OtherValue,
    PfaValue,
    PfaValues,
    RecordChange,
    RecordVersion,
)
from eventstore.sql import beside
from projections import words
from projections.projection import (
    Beside,
    Change,
    Key,
    Projection,
    Seen,
    Sums,
    Table,
    change,
    changes,
    changes_beside,
    changes_of_every,
)

NUMBERS_OF_EVENT: Final = 4_096
"""`record_no` is the position of the event that brought a record, times this, and its place in the event."""
assert CHANGES_LIMIT < NUMBERS_OF_EVENT

AXES: Final = (
    ("category", "source", "record_class"),
    ("area", "category"),
    ("area", "source"),
    ("area", "record_class"),
)
"""What each axis of the sums tells apart."""
_PLAIN: Final = re.compile(r"[0-9a-z]+")
WORDS_MAX: Final = 2_000
"""Of a longer text, so many words are found."""
_MONEY: Final = frozenset(name for name, field in PFA_FIELDS.items() if field.type is FieldType.MONEY)
_DAYS: Final = frozenset(name for name, field in PFA_FIELDS.items() if field.type is FieldType.DATE)
_GROUPS: Final = frozenset(name for name, field in PFA_FIELDS.items() if field.type is FieldType.CATEGORY)
_SEARCHED: Final = _GROUPS | {"description"}
Plain = str | bool | None
"""A value as JSON has it: an amount and a day as text."""


class RecordRow(msgspec.Struct, frozen=True, gc=False):
    """A record as its upstream has it. Amounts are cents; a group that is blank is the empty text."""

    mirror_key: int
    connection_id: UUID
    record_id: UUID
    record_no: int
    identity: str
    """The cells of the identifying columns, as a JSON array."""
    ordinal: int
    upstream_version: str | None
    digest: UUID
    mapping_version: int
    category: str
    source: str
    record_class: str
    area: str
    description: str | None
    plan_cost: int | None
    plan_start: date | None
    plan_end: date | None
    forecast_cost: int | None
    forecast_start: date | None
    forecast_end: date | None
    actual_cost: int | None
    actual_start: date | None
    actual_end: date | None
    monthly_rate: int | None
    purchase_price: int | None
    is_actualised: bool | None
    is_discontinued: bool | None
    others: str | None
    absent: str | None
    """These two in the terms of the connection: see `Terms`."""
    removed: bool
    words: str
    """What it is found by, folded."""


class DraftRow(msgspec.Struct, frozen=True):
    """A record as a user sees it who drafted on it: its values are merged.

    `drafted`: field → its `base` and what it is `now`; `behind`: field → `base`, `theirs`, and the `position` since
    which the upstream says so. Values there are as JSON has them.
    """

    user_id: UUID
    record_id: UUID
    mirror_key: int
    connection_id: UUID
    record_no: int
    identity: str
    category: str
    source: str
    record_class: str
    area: str
    description: str | None
    plan_cost: int | None
    plan_start: date | None
    plan_end: date | None
    forecast_cost: int | None
    forecast_start: date | None
    forecast_end: date | None
    actual_cost: int | None
    actual_start: date | None
    actual_end: date | None
    monthly_rate: int | None
    purchase_price: int | None
    is_actualised: bool | None
    is_discontinued: bool | None
    removed: bool
    words: str
    drafted: dict[str, dict[str, Plain]]
    behind: dict[str, dict[str, Any]] | None
    base_version: str | None
    base_position: int
    modified_position: int
    modified_at: datetime
    computed: dict[str, Any] | None


class TermsRow(msgspec.Struct, frozen=True):
    """Names of fields, and reasons of absence, in the order they first came."""

    connection_id: UUID
    fields: list[str]
    reasons: list[str]


class DrafterRow(msgspec.Struct, frozen=True):
    """How many records a user drafted on: in all, of them such that the upstream moved meanwhile, and that are gone."""

    connection_id: UUID
    user_id: UUID
    drafts: int
    behind: int
    removed: int


class SumRow(msgspec.Struct, frozen=True):
    """What records that are alike add up to, in cents: the baseline's, and the difference that a user's drafts make."""

    of: UUID
    """The connection, for the baseline's; else what the user drafts on it."""
    axis: int
    first: str
    second: str
    third: str
    records: int
    actualised: int
    discontinued: int
    plan_cost: int
    plan_missing: int
    forecast_cost: int
    forecast_missing: int
    actual_cost: int
    actual_missing: int
    remaining: int


class MirrorRow(msgspec.Struct, frozen=True):
    """How a mirror stands. `records` are those that are not `removed`; the run is the one going on, if any."""

    connection_id: UUID
    records: int
    removed: int
    mapping_version: int
    currency: str | None
    run_id: UUID | None
    run_mode: str | None
    run_began_at: datetime | None
    run_processed: int
    last_synced_at: datetime | None
    last_run_id: UUID | None


records_table = Table("pfa_records", RecordRow, key=("record_id",))
drafts_table = Table("pfa_drafts", DraftRow, key=("record_id", "user_id"), group="record_id")
terms_table = Table("pfa_terms", TermsRow, key=("connection_id",))
drafters_table = Table("pfa_drafters", DrafterRow, key=("connection_id", "user_id"))
sums_table = Table("pfa_sums", SumRow, key=("of", "axis", "first", "second", "third"))
mirrors_table = Table("pfa_mirrors", MirrorRow, key=("connection_id",))

_encoded = msgspec.json.Encoder().encode
_others_decoded = msgspec.json.Decoder(list[OtherValue]).decode
_absent_decoded = msgspec.json.Decoder(list[tuple[int, int]]).decode


@lru_cache(maxsize=4_096)
def mirror_key(tenant: UUID, connection_id: UUID) -> int:
    """What stands for a connection in indexes. Not its alone."""
    return crc32(tenant.bytes + connection_id.bytes) - 2**31


drafts_id = lru_cache(maxsize=4_096)(drafts_of)


def cents(amount: Decimal | None) -> int | None:
    """An amount as the columns have it."""
    return None if amount is None else int(amount * 100)


def plain(value: PfaValue) -> Plain:
    """A value as JSON has it."""
    if isinstance(value, Decimal):
        return f"{value:.2f}"
    return value.isoformat() if isinstance(value, date) else value


def stored(name: str, value: Any) -> Any:
    """A value of a field as its column has it. It may come as JSON has it."""
    if name in _GROUPS:
        return value or ""
    if value is None:
        return None
    if name in _MONEY:
        return int(Decimal(value) * 100)
    return date.fromisoformat(value) if name in _DAYS and isinstance(value, str) else value


def told(name: str, value: Any) -> PfaValue:
    """The value of a field that its column has."""
    if value is None or value == "":
        return None
    return Decimal(value).scaleb(-2) if name in _MONEY else value


class Terms:
    """How records spell what they keep besides: each value at the place of its field, each absence as a field and a
    reason, both by number. Fields of ours are counted downwards from -1.
    """

    def __init__(self, fields: Sequence[str], reasons: Sequence[str]) -> None:
        self._fields = fields
        self._reasons = reasons
        self._field_numbers = {name: number for number, name in enumerate(fields)} | _OWN_NUMBERS
        self._reason_numbers = {reason: number for number, reason in enumerate(reasons)}

    def others(self, values: Mapping[str, OtherValue]) -> str | None:
        """Values by field, as the column has them. One that is None is as if it were not there."""
        cells = list(map(values.get, self._fields))
        while cells and cells[-1] is None:
            cells.pop()
        return _encoded(cells).decode() if cells else None

    def told_others(self, column: str | None) -> dict[str, OtherValue]:
        """What the column says."""
        if column is None:
            return {}
        cells = _others_decoded(column)
        return {name: cell for name, cell in zip(self._fields, cells, strict=False) if cell is not None}

    def absent(self, reasons: Mapping[str, str]) -> str | None:
        """Reasons by field, as the column has them."""
        if not reasons:
            return None
        fields, known = self._field_numbers, self._reason_numbers
        return _encoded([(fields[name], known[reason]) for name, reason in reasons.items()]).decode()

    def told_absent(self, column: str | None) -> dict[str, str]:
        """What the column says."""
        if column is None:
            return {}
        pairs = _absent_decoded(column)
        return {_OWN[-1 - field] if field < 0 else self._fields[field]: self._reasons[why] for field, why in pairs}


_OWN: Final = tuple(PFA_FIELDS)
_OWN_NUMBERS: Final = {name: -1 - number for number, name in enumerate(_OWN)}


@lru_cache(maxsize=256)
def _terms(fields: tuple[str, ...], reasons: tuple[str, ...]) -> Terms:
    return Terms(fields, reasons)


def terms_of(row: TermsRow | None) -> Terms:
    """The terms of a connection; without any, of one of which nothing was said yet."""
    return _terms((), ()) if row is None else _terms(tuple(row.fields), tuple(row.reasons))


def values_of(row: RecordRow | DraftRow) -> PfaValues:
    """What a row says, as events say it."""
    said: dict[str, Any] = {name: told(name, getattr(row, name)) for name in PFA_FIELDS}
    return PfaValues(**said)


def upstream_values(row: DraftRow) -> PfaValues:
    """What the upstream says of a record that somebody drafted on."""
    behind = row.behind or {}
    theirs = {
        name: told(name, stored(name, behind[name]["theirs"] if name in behind else value["base"]))
        for name, value in row.drafted.items()
    }
    return replace(values_of(row), **theirs)


def found_by(identity: Iterable[str], description: str | None, *groups: str) -> str:
    """The words of a record, folded, each once."""
    text = " ".join((*identity, description or "", *groups))
    if text.isascii():
        found = _PLAIN.findall(text.lower())
    else:
        found = [word.folded for chunk in words.chunks(text) for word in chunk]
    if len(text) > words.WORD_CHARACTERS_MAX and max(map(len, found), default=0) > words.WORD_CHARACTERS_MAX:
        found = [word[: words.WORD_CHARACTERS_MAX] for word in found]
    return " ".join(dict.fromkeys(found[:WORDS_MAX]))


def inserted(seen: Seen) -> Iterator[tuple[Key, tuple[int, MirroredRecord]]]:
    return (((record.record_id,), each) for each in enumerate(seen.event.changes.inserted) for record in (each[1],))


def returned(seen: Seen) -> list[tuple[Key, tuple[int, MirroredRecord]]]:
    made = seen.event.changes
    return [((record.record_id,), (index, record)) for index, record in enumerate(made.returned, len(made.inserted))]


def updated(seen: Seen) -> list[tuple[Key, RecordChange]]:
    return [((made.record_id,), made) for made in seen.event.changes.updated]


def removed(seen: Seen) -> list[tuple[Key, None]]:
    return [((record_id,), None) for record_id in seen.event.changes.removed]


def renumbered(seen: Seen) -> list[tuple[Key, RecordVersion]]:
    return [((made.record_id,), made) for made in seen.event.changes.versions]


def moved(seen: Seen) -> Iterator[tuple[UUID, None]]:
    """The records of which drafts have to know."""
    made: Any = seen.event.changes
    for each in (*made.updated, *made.returned):
        yield each.record_id, None
    for record_id in made.removed:
        yield record_id, None


def named(row: TermsRow | None, seen: Seen, key: Key) -> TermsRow | None:
    """Learns the names that an event brings."""
    made: MirrorChanges = seen.event.changes
    fields: dict[str, None] = {} if row is None else dict.fromkeys(row.fields)
    reasons: dict[str, None] = {} if row is None else dict.fromkeys(row.reasons)
    known = len(fields), len(reasons)
    every: Iterable[MirroredRecord | RecordChange] = (*made.inserted, *made.returned, *made.updated)
    for said in every:
        if said.others:
            fields.update(dict.fromkeys(said.others))
        if said.absent:
            fields.update((name, None) for name in said.absent if name not in _OWN_NUMBERS)
            reasons.update(dict.fromkeys(said.absent.values()))
    return row if (len(fields), len(reasons)) == known else TermsRow(key[0], list(fields), list(reasons))


def put(row: RecordRow | None, seen: Seen, beside: Beside[tuple[int, MirroredRecord]]) -> RecordRow:
    index, record = beside.part
    terms = terms_of(beside.row)
    event: RecordsChanged = seen.event
    said = record.values
    identity = _encoded(record.identity).decode()
    groups = (said.category or "", said.source or "", said.record_class or "", said.area or "")
    return RecordRow(
        mirror_key(seen.tenant, event.connection_id),
        event.connection_id,
        record.record_id,
        seen.position * NUMBERS_OF_EVENT + index if row is None else row.record_no,
        identity,
        record.ordinal,
        record.upstream_version,
        UUID(int=int(record.digest, 16)),
        event.mapping_version,
        *groups,
        said.description,
        cents(said.plan_cost),
        said.plan_start,
        said.plan_end,
        cents(said.forecast_cost),
        said.forecast_start,
        said.forecast_end,
        cents(said.actual_cost),
        said.actual_start,
        said.actual_end,
        cents(said.monthly_rate),
        cents(said.purchase_price),
        said.is_actualised,
        said.is_discontinued,
        terms.others(record.others),
        terms.absent(record.absent),
        False,
        found_by(record.identity, said.description, *groups),
    )


def update(row: RecordRow | None, seen: Seen, beside: Beside[RecordChange]) -> RecordRow:
    known, made = _known(row), beside.part
    now = made.now.given()
    changed: dict[str, Any] = {name: stored(name, value) for name, value in now.items()}
    if made.others is not msgspec.UNSET:
        changed["others"] = terms_of(beside.row).others(made.others)
    if made.absent is not msgspec.UNSET:
        changed["absent"] = terms_of(beside.row).absent(made.absent)
    changed["upstream_version"] = made.upstream_version
    changed["digest"] = UUID(int=int(made.digest, 16))
    changed["mapping_version"] = seen.event.mapping_version
    after = replace(known, **changed)
    return after if _SEARCHED.isdisjoint(now) else _found(after)


def _found(row: Any) -> Any:
    identity = msgspec.json.decode(row.identity, type=list[str])
    folded = found_by(identity, row.description, row.category, row.source, row.record_class, row.area)
    return replace(row, words=folded)


def remove(row: RecordRow | None, seen: Seen, part: None) -> RecordRow:
    return replace(_known(row), removed=True)


def renumber(row: RecordRow | None, seen: Seen, made: RecordVersion) -> RecordRow:
    return replace(_known(row), upstream_version=made.upstream_version)


def _known(row: RecordRow | None) -> RecordRow:
    if row is None:
        raise LookupError("the record was never mirrored")
    return row


def merged(
    record: RecordRow, since: int, drafted: Mapping[str, Mapping[str, Plain]], before: DraftRow | None, **more: Any
) -> DraftRow:
    """A record with what is drafted of it. `since`: the position from which the record is as it is."""
    values = {name: getattr(record, name) for name in PFA_FIELDS}
    was_behind = (before and before.behind) or {}
    behind: dict[str, dict[str, Any]] = {}
    for name, draft in drafted.items():
        if stored(name, draft["base"]) != values[name]:
            theirs = plain(told(name, values[name]))
            known = was_behind.get(name)
            position = known["position"] if known is not None and known["theirs"] == theirs else since
            behind[name] = {"base": draft["base"], "theirs": theirs, "position": position}
        values[name] = stored(name, draft["now"])
    row = DraftRow(
        record_id=record.record_id,
        mirror_key=record.mirror_key,
        connection_id=record.connection_id,
        record_no=record.record_no,
        identity=record.identity,
        removed=record.removed,
        words=record.words,
        drafted={name: dict(draft) for name, draft in drafted.items()},
        behind=behind or None,
        **values,
        **more,
    )
    return row if _SEARCHED.isdisjoint(drafted) else _found(row)


def _kept_of(row: DraftRow) -> dict[str, Any]:
    names = ("user_id", "base_version", "base_position", "modified_position", "modified_at", "computed")
    return {name: getattr(row, name) for name in names}


def follow(row: DraftRow, seen: Seen, part: Beside[None]) -> DraftRow:
    """The record moved: the draft stays, over what the upstream says now."""
    return merged(_known(part.row), part.since, row.drafted, row, **_kept_of(row))


def drafted_of(seen: Seen) -> list[tuple[Key, DraftedRecord]]:
    return [((draft.record_id, seen.event.user_id), draft) for draft in seen.event.drafts]


def save(row: DraftRow | None, seen: Seen, part: Beside[DraftedRecord]) -> DraftRow | None:
    draft = part.part
    drafted = {} if row is None else dict(row.drafted)
    base, now = draft.base.given(), draft.now.given()
    for name, value in now.items():
        was = plain(base[name]) if name in base else drafted[name]["base"]
        drafted[name] = {"base": was, "now": plain(value)}
    for name in draft.dropped:
        drafted.pop(name, None)
    if not drafted:
        return None
    computed = None if row is None else row.computed
    if "forecast_cost" in now or "forecast_cost" in draft.dropped:
        computed = None if draft.computed is None else msgspec.to_builtins(draft.computed)
    return merged(
        _known(part.row),
        part.since,
        drafted,
        row,
        user_id=seen.event.user_id,
        base_version=draft.base_version,
        base_position=draft.base_position,
        modified_position=seen.position,
        modified_at=seen.recorded_at,
        computed=computed,
    )


def ended_of(seen: Seen) -> list[tuple[Key, EndedDraft]]:
    return [((draft.record_id, seen.event.user_id), draft) for draft in seen.event.drafts]


def end(row: DraftRow | None, seen: Seen, part: Beside[EndedDraft]) -> DraftRow | None:
    if row is None:
        raise LookupError("nothing was drafted of the record")
    drafted = {name: draft for name, draft in row.drafted.items() if name not in part.part.fields}
    if not drafted:
        return None
    kept = _kept_of(row) | {"modified_position": seen.position, "modified_at": seen.recorded_at}
    if "forecast_cost" not in drafted:
        kept["computed"] = None
    return merged(_known(part.row), part.since, drafted, row, **kept)


def rebased_of(seen: Seen) -> list[tuple[Key, RebasedDraft]]:
    return [((draft.record_id, seen.event.user_id), draft) for draft in seen.event.rebased]


def rebase(row: DraftRow | None, seen: Seen, part: Beside[RebasedDraft]) -> DraftRow:
    if row is None:
        raise LookupError("nothing was drafted of the record")
    bases = {name: plain(value) for name, value in part.part.base.given().items()}
    drafted = {name: draft | {"base": bases.get(name, draft["base"])} for name, draft in row.drafted.items()}
    kept = _kept_of(row) | {"base_version": part.part.base_version}
    return merged(_known(part.row), part.since, drafted, row, **kept)


def restored_of(seen: Seen) -> list[tuple[Key, Draft]]:
    return [((record_id, seen.event.user_id), draft) for record_id, draft in seen.event.drafts]


def restore(row: DraftRow | None, seen: Seen, part: Beside[Draft]) -> DraftRow:
    draft = part.part
    base, now = draft.base.given(), draft.now.given()
    return merged(
        _known(part.row),
        part.since,
        {name: {"base": plain(base[name]), "now": plain(value)} for name, value in now.items()},
        row,
        user_id=seen.event.user_id,
        base_version=draft.base_version,
        base_position=draft.base_position,
        modified_position=seen.position,
        modified_at=seen.recorded_at,
        computed=None if draft.computed is None else msgspec.to_builtins(draft.computed),
    )


Bucket = tuple[UUID, str, str, str, str]
"""Whose sums they are, and the groups in the order of `RecordFilter`'s: what counts alike."""
Measures = tuple[int, ...]


def measures(row: RecordRow | DraftRow) -> Measures:
    """What a record adds to sums. Nothing remains to be spent on one that is over or given up."""
    plan, forecast, actual = row.plan_cost, row.forecast_cost, row.actual_cost
    over, given_up = row.is_actualised is True, row.is_discontinued is True
    return (
        1,
        1 if over else 0,
        1 if given_up else 0,
        plan or 0,
        1 if plan is None else 0,
        forecast or 0,
        1 if forecast is None else 0,
        actual or 0,
        1 if actual is None else 0,
        0 if forecast is None or over or given_up else forecast - (actual or 0),
    )


def of_record(row: RecordRow) -> tuple[tuple[Bucket, Measures], ...]:
    if row.removed:
        return ()
    return (((row.connection_id, row.category, row.source, row.record_class, row.area), measures(row)),)


def of_draft(row: DraftRow) -> tuple[tuple[Bucket, Measures], ...]:
    """The difference: what is merged, less what the upstream says."""
    if row.removed:
        return ()
    behind = row.behind or {}
    theirs = replace(
        row,
        **{
            name: stored(name, behind[name]["theirs"] if name in behind else draft["base"])
            for name, draft in row.drafted.items()
        },
    )
    return (_in_bucket(row, 1), _in_bucket(theirs, -1))


def _in_bucket(row: DraftRow, times: int) -> tuple[Bucket, Measures]:
    bucket = (drafts_id(row.user_id, row.connection_id), row.category, row.source, row.record_class, row.area)
    return bucket, tuple(times * each for each in measures(row))


def spread(bucket: Bucket) -> Iterable[Key]:
    of, category, source, record_class, area = bucket
    return (
        (of, 0, category, source, record_class),
        (of, 1, area, category, ""),
        (of, 2, area, source, ""),
        (of, 3, area, record_class, ""),
    )


def of_drafter(row: DraftRow) -> tuple[tuple[Key, Measures], ...]:
    return (((row.connection_id, row.user_id), (1, int(row.behind is not None), int(row.removed))),)


def of_connection(seen: Seen) -> list[Key]:
    return [(seen.event.connection_id,)]


def _mirror(row: MirrorRow | None, seen: Seen) -> MirrorRow:
    return row or MirrorRow(seen.event.connection_id, 0, 0, 0, None, None, None, None, 0, None, None)


def began(row: MirrorRow | None, seen: Seen, key: Key) -> MirrorRow:
    event: SyncBegan = seen.event
    return replace(
        _mirror(row, seen), run_id=event.run_id, run_mode=event.mode, run_began_at=event.began_at, run_processed=0
    )


def counted(row: MirrorRow | None, seen: Seen, key: Key) -> MirrorRow:
    event: RecordsChanged = seen.event
    made, known = event.changes, _mirror(row, seen)
    gone, back = len(made.removed), len(made.returned)
    return replace(
        known,
        records=known.records + len(made.inserted) + back - gone,
        removed=known.removed + gone - back,
        mapping_version=event.mapping_version,
        currency=event.currency or known.currency,
        run_processed=known.run_processed + event.processed,
    )


_NO_RUN: Final[Mapping[str, Any]] = {"run_id": None, "run_mode": None, "run_began_at": None, "run_processed": 0}


def finished(row: MirrorRow | None, seen: Seen, key: Key) -> MirrorRow:
    event: SyncFinished = seen.event
    return replace(_mirror(row, seen), **_NO_RUN, last_synced_at=event.finished_at, last_run_id=event.run_id)


def stopped(row: MirrorRow | None, seen: Seen, key: Key) -> MirrorRow:
    return replace(_mirror(row, seen), **_NO_RUN)


def _record_of(_: Seen, key: Key) -> Key:
    return key[:1]


def _record_of_group(_: Seen, record_id: UUID) -> Key:
    return (record_id,)


def _connection_of(seen: Seen, _: Key) -> Key:
    return (seen.event.connection_id,)


handled: dict[type[Event], tuple[Change, ...]] = {
    SyncBegan: (change(mirrors_table, of_connection, began),),
    RecordsChanged: (
        change(terms_table, of_connection, named),
        changes_beside(records_table, inserted, put, terms_table, _connection_of, new=True),
        changes_beside(records_table, returned, put, terms_table, _connection_of),
        changes_beside(records_table, updated, update, terms_table, _connection_of),
        changes(records_table, removed, remove),
        changes(records_table, renumbered, renumber),
        changes_of_every(drafts_table, moved, follow, records_table, _record_of_group),
        change(mirrors_table, of_connection, counted),
    ),
    SyncFinished: (change(mirrors_table, of_connection, finished),),
    SyncFailed: (change(mirrors_table, of_connection, stopped),),
    SyncCancelled: (change(mirrors_table, of_connection, stopped),),
    DraftsSaved: (changes_beside(drafts_table, drafted_of, save, records_table, _record_of),),
    DraftsDiscarded: (changes_beside(drafts_table, ended_of, end, records_table, _record_of),),
    DraftsCleared: (
        changes_beside(drafts_table, ended_of, end, records_table, _record_of),
        changes_beside(drafts_table, rebased_of, rebase, records_table, _record_of),
    ),
    DraftsRestored: (changes_beside(drafts_table, restored_of, restore, records_table, _record_of),),
}
projection = Projection(
    name="pfa",
    version=1,
    prompt=True,
    sql=beside(__file__),
    tables=(records_table, drafts_table, terms_table, drafters_table, sums_table, mirrors_table),
    on=handled,
    ignores=frozenset[type[Event]](
        (
            *members(MirrorEvent),
            *members(DraftsEvent),
            *members(ConnectionEvent),
            *members(ChangesetEvent),
            *company.company.events,
            *membership.membership.events,
            *project.project.events,
            *estimate.estimate.events,
            *actuals.actuals.events,
            *codeset.codeset.events,
            *pricebook.pricebook.events,
        )
    )
    - frozenset(handled),
    sums=(
        Sums(records_table, sums_table, of_record, spread),
        Sums(drafts_table, sums_table, of_draft, spread),
        Sums(drafts_table, drafters_table, of_drafter),
    ),
)
