"""What projects really cost: totals, entries, corrections, durations, findings and explanations of each."""

from collections.abc import Iterable
from datetime import date, datetime
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
from msgspec.structs import replace

from domain import codeset, company, estimate, membership, pricebook, project
from domain.actuals import (
    BaselineChanged,
    CostCorrected,
    CostRemoved,
    CostsRecorded,
    DurationSet,
    FindingAdded,
    FindingRemoved,
    FindingRevised,
    Finished,
    Opened,
    Reopened,
    RiskCostCorrected,
    RiskCostRecorded,
    VarianceExplained,
)
from domain.costs import (
    Entry,
    Finding,
    Scope,
    Sum,
    booked,
    code_or_markup,
    dearer,
    joined,
    moved,
    negative,
    scope_key,
    sums_of,
)
from domain.decider import Event
from domain.money import EXACT, ZERO
from domain.registry import OF_UPSTREAMS
from domain.subset import Change
from eventstore.db import Reader
from eventstore.log import POSITION_MAX
from eventstore.sql import beside
from projections.projection import Key, Projection, Seen, Table, change, changes, identity, of_stream


class ActualsHeader(msgspec.Struct, frozen=True):
    """A project's actuals. `amount` is the sum of its entries and of `risk_amount`, what risks that came true cost;
    `duration_days` is that of the whole project, null when it is not known.
    """

    actuals_id: UUID
    project_id: UUID
    baseline_id: UUID
    currency: str
    status: str
    amount: Decimal
    risk_amount: Decimal
    entry_count: int
    duration_days: int | None
    finished_on: date | None
    opened_at: datetime
    opened_by: UUID
    stream_version: int
    updated_at: datetime
    updated_by: UUID


class CostEntry(msgspec.Struct, frozen=True):
    """A cost as it is booked now. Who booked it first, and when anything of it changed last."""

    actuals_id: UUID
    entry_id: UUID
    amount: Decimal
    booked_on: date
    code: str | None
    code_set: str | None
    code_edition: str | None
    cost_type: str
    quantity: Decimal | None
    unit: str | None
    note: str | None
    markup_id: UUID | None
    recorded_at: datetime
    recorded_by: UUID
    updated_at: datetime


class SumRow(msgspec.Struct, frozen=True):
    """Entries of one code or mark-up in one unit, added up; the unit is "" where nothing was measured."""

    actuals_id: UUID
    scope_key: str
    unit: str
    code: str | None
    code_set: str | None
    code_edition: str | None
    markup_id: UUID | None
    amount: Decimal
    quantity: Decimal
    entries: int


class CodeSum(msgspec.Struct, frozen=True):
    """What was booked under a code, or against a mark-up. `quantity` is what was measured, if all of it was in one
    `unit`.
    """

    scope_key: str
    code: str | None
    code_set: str | None
    code_edition: str | None
    markup_id: UUID | None
    amount: Decimal
    quantity: Decimal | None
    unit: str | None
    entries: int


class Correction(msgspec.Struct, frozen=True):
    """One corrected field of an entry, or of a risk that came true; or an entry that was removed, `field` null and
    `was` the whole then. Either `entry_id` or `risk_id` is null.
    """

    actuals_id: UUID
    position: int
    seq: int
    recorded_at: datetime
    actor: UUID
    entry_id: UUID | None
    risk_id: UUID | None
    field: str | None
    was: Any
    now: Any
    reason: str


class FindingRow(msgspec.Struct, frozen=True):
    """An issue, or a lesson for the next bid."""

    actuals_id: UUID
    finding_id: UUID
    kind: str
    text: str
    code: str | None
    code_set: str | None
    code_edition: str | None
    added_at: datetime
    added_by: UUID
    updated_at: datetime


class DurationRow(msgspec.Struct, frozen=True):
    """How many days what is booked under a code took."""

    actuals_id: UUID
    code_key: str
    code: str | None
    code_set: str | None
    code_edition: str | None
    days: int
    updated_at: datetime
    updated_by: UUID


class ExplanationRow(msgspec.Struct, frozen=True):
    """What is said of a row of the variance. `scope_key` is "" for the whole project."""

    actuals_id: UUID
    scope_key: str
    narrative: str
    cause: str | None
    owner: str | None
    explained_at: datetime
    explained_by: UUID


class RiskCost(msgspec.Struct, frozen=True):
    """A risk that came true, and what it cost as is known now. Who said so, and when anything of it changed last."""

    actuals_id: UUID
    risk_id: UUID
    estimate_id: UUID
    cost: Decimal
    occurred_on: date
    note: str | None
    recorded_at: datetime
    recorded_by: UUID
    updated_at: datetime


headers_table = Table("actuals_detail_headers", ActualsHeader, key=("actuals_id",))
entries_table = Table("actuals_detail_entries", CostEntry, key=("actuals_id", "entry_id"))
sums_table = Table("actuals_detail_sums", SumRow, key=("actuals_id", "scope_key", "unit"))
corrections_table = Table(
    "actuals_detail_corrections", Correction, key=("actuals_id", "position", "seq"), append_only=True
)
findings_table = Table("actuals_detail_findings", FindingRow, key=("actuals_id", "finding_id"))
durations_table = Table("actuals_detail_durations", DurationRow, key=("actuals_id", "code_key"))
explanations_table = Table("actuals_detail_explanations", ExplanationRow, key=("actuals_id", "scope_key"))


risks_table = Table("actuals_detail_risks", RiskCost, key=("actuals_id", "risk_id"))


def opened(row: ActualsHeader | None, seen: Seen, key: Key) -> ActualsHeader:
    event: Opened = seen.event
    actor = identity(seen.raw_actor)
    return ActualsHeader(
        actuals_id=key[0],
        project_id=event.project_id,
        baseline_id=event.baseline_id,
        currency=event.currency,
        status="open",
        amount=ZERO,
        risk_amount=ZERO,
        entry_count=0,
        duration_days=None,
        finished_on=None,
        opened_at=seen.recorded_at,
        opened_by=actor,
        stream_version=seen.stream_version,
        updated_at=seen.recorded_at,
        updated_by=actor,
    )


def _touched(row: ActualsHeader | None, seen: Seen, **changed: object) -> ActualsHeader:
    return replace(
        _known(row),
        stream_version=seen.stream_version,
        updated_at=seen.recorded_at,
        updated_by=identity(seen.raw_actor),
        **changed,
    )


def _known(row: ActualsHeader | None) -> ActualsHeader:
    if row is None:
        raise LookupError("the actuals were never opened")
    return row


def touched(row: ActualsHeader | None, seen: Seen, key: Key) -> ActualsHeader:
    return _touched(row, seen)


def costs_counted(row: ActualsHeader | None, seen: Seen, key: Key) -> ActualsHeader:
    before, amount, count = _known(row), _known(row).amount, 0
    for part in _sums(seen.event).values():
        amount, count = EXACT.add(amount, part.amount), count + part.entries
    return _touched(row, seen, amount=amount, entry_count=before.entry_count + count)


def _sums(event: CostsRecorded | CostCorrected | CostRemoved) -> dict[tuple[str, str], Sum]:
    """What the event adds to which sum."""
    if isinstance(event, CostsRecorded):
        return sums_of(map(booked, event.entries))
    if isinstance(event, CostCorrected):
        return dict(moved(event.booked_was, event.booked_now))
    return {key: negative(each) for key, each in sums_of([booked(event.entry)]).items()}


def risk_counted(row: ActualsHeader | None, seen: Seen, key: Key) -> ActualsHeader:
    event: RiskCostRecorded | RiskCostCorrected = seen.event
    before = _known(row)
    added = event.cost if isinstance(event, RiskCostRecorded) else dearer(event.was, event.now)
    amount, risk_amount = EXACT.add(before.amount, added), EXACT.add(before.risk_amount, added)
    return _touched(row, seen, amount=amount, risk_amount=risk_amount)


def risk_of(seen: Seen) -> Iterable[Key]:
    return [(identity(seen.raw_stream_id), seen.event.risk_id)]


def risk_recorded(row: RiskCost | None, seen: Seen, key: Key) -> RiskCost:
    event: RiskCostRecorded = seen.event
    return RiskCost(
        actuals_id=key[0],
        risk_id=key[1],
        estimate_id=event.estimate_id,
        cost=event.cost,
        occurred_on=event.occurred_on,
        note=event.note,
        recorded_at=seen.recorded_at,
        recorded_by=identity(seen.raw_actor),
        updated_at=seen.recorded_at,
    )


def risk_corrected(row: RiskCost | None, seen: Seen, key: Key) -> RiskCost:
    if row is None:
        raise LookupError("the risk never came true")
    return replace(row, updated_at=seen.recorded_at, **seen.event.now.given())


def baseline_changed(row: ActualsHeader | None, seen: Seen, key: Key) -> ActualsHeader:
    return _touched(row, seen, baseline_id=seen.event.now)


def duration_set(row: ActualsHeader | None, seen: Seen, key: Key) -> ActualsHeader:
    event: DurationSet = seen.event
    return _touched(row, seen) if event.scope else _touched(row, seen, duration_days=event.now)


def finished(row: ActualsHeader | None, seen: Seen, key: Key) -> ActualsHeader:
    return _touched(row, seen, status="finished", finished_on=seen.event.finished_on)


def reopened(row: ActualsHeader | None, seen: Seen, key: Key) -> ActualsHeader:
    return _touched(row, seen, status="open", finished_on=None)


def new_entries(seen: Seen) -> Iterable[tuple[Key, Entry]]:
    """Each entry of the event with its key."""
    actuals_id = identity(seen.raw_stream_id)
    return [((actuals_id, entry.entry_id), entry) for entry in seen.event.entries]


def entry_recorded(row: CostEntry | None, seen: Seen, entry: Entry) -> CostEntry:
    return CostEntry(
        identity(seen.raw_stream_id),
        entry.entry_id,
        entry.amount,
        entry.booked_on,
        entry.code,
        entry.code_set,
        entry.code_edition,
        entry.cost_type,
        entry.quantity,
        entry.unit,
        entry.note,
        entry.markup_id,
        seen.recorded_at,
        identity(seen.raw_actor),
        seen.recorded_at,
    )


def named_entry(seen: Seen) -> Iterable[Key]:
    return [(identity(seen.raw_stream_id), seen.event.entry_id)]


def entry_corrected(row: CostEntry | None, seen: Seen, key: Key) -> CostEntry:
    if row is None:
        raise LookupError("the entry was never recorded")
    return replace(row, updated_at=seen.recorded_at, **seen.event.now.given())


def removed_entry(seen: Seen) -> Iterable[Key]:
    return [(identity(seen.raw_stream_id), seen.event.entry.entry_id)]


def gone(row: object, seen: Seen, key: Key) -> None:
    return None


def sums_changed(seen: Seen) -> Iterable[tuple[Key, tuple[Key, Sum]]]:
    """One part per code or mark-up and unit, however many entries the event has."""
    actuals_id = identity(seen.raw_stream_id)
    keyed = [((actuals_id, *key), each) for key, each in _sums(seen.event).items()]
    return [(key, (key, each)) for key, each in keyed]


def summed(row: SumRow | None, seen: Seen, part: tuple[Key, Sum]) -> SumRow | None:
    (actuals_id, key, unit), added = part
    before = Sum() if row is None else Sum(amount=row.amount, quantity=row.quantity, entries=row.entries)
    now = joined(before, added)
    if not now.entries:
        return None
    names = code_or_markup(key)
    return SumRow(actuals_id, key, unit, *names, now.amount, now.quantity, now.entries)


class Noted(NamedTuple):
    """What is told of a correction, and its place among what the event tells."""

    seq: int
    field: str | None
    was: Any
    now: Any
    entry_id: UUID | None = None
    risk_id: UUID | None = None


def fields_corrected(seen: Seen) -> Iterable[tuple[Key, Noted]]:
    event: CostCorrected = seen.event
    return _each_field(event.was, event.now, entry_id=event.entry_id)


def risk_fields_corrected(seen: Seen) -> Iterable[tuple[Key, Noted]]:
    event: RiskCostCorrected = seen.event
    return _each_field(event.was, event.now, risk_id=event.risk_id)


def _each_field(was: Change, now: Change, **named: UUID) -> Iterable[tuple[Key, Noted]]:
    before = was.given()
    return [
        ((seq,), Noted(seq, name, before.get(name), value, **named))
        for seq, (name, value) in enumerate(now.given().items())
    ]


def removal(seen: Seen) -> Iterable[tuple[Key, Noted]]:
    event: CostRemoved = seen.event
    return [((0,), Noted(0, None, event.entry, None, entry_id=event.entry.entry_id))]


def noted(row: Correction | None, seen: Seen, part: Noted) -> Correction:
    return Correction(
        identity(seen.raw_stream_id),
        seen.position,
        part.seq,
        seen.recorded_at,
        identity(seen.raw_actor),
        part.entry_id,
        part.risk_id,
        part.field,
        part.was,
        part.now,
        seen.event.reason,
    )


def whole_finding(seen: Seen) -> Iterable[Key]:
    return [(identity(seen.raw_stream_id), seen.event.finding.finding_id)]


def named_finding(seen: Seen) -> Iterable[Key]:
    return [(identity(seen.raw_stream_id), seen.event.finding_id)]


def finding_added(row: FindingRow | None, seen: Seen, key: Key) -> FindingRow:
    finding: Finding = seen.event.finding
    return FindingRow(
        actuals_id=key[0],
        finding_id=finding.finding_id,
        kind=finding.kind,
        text=finding.text,
        code=finding.code,
        code_set=finding.code_set,
        code_edition=finding.code_edition,
        added_at=seen.recorded_at,
        added_by=identity(seen.raw_actor),
        updated_at=seen.recorded_at,
    )


def finding_revised(row: FindingRow | None, seen: Seen, key: Key) -> FindingRow:
    if row is None:
        raise LookupError("the finding was never added")
    return replace(row, updated_at=seen.recorded_at, **seen.event.now.given())


def scope_of(seen: Seen) -> Iterable[Key]:
    return [(identity(seen.raw_stream_id), scope_key(seen.event.scope))]


def code_of_duration(seen: Seen) -> Iterable[Key]:
    return [] if seen.event.scope is None else scope_of(seen)


def code_duration_set(row: DurationRow | None, seen: Seen, key: Key) -> DurationRow | None:
    scope: Scope = seen.event.scope
    if seen.event.now is None:
        return None
    return DurationRow(
        actuals_id=key[0],
        code_key=key[1],
        code=scope.code,
        code_set=scope.code_set,
        code_edition=scope.code_edition,
        days=seen.event.now,
        updated_at=seen.recorded_at,
        updated_by=identity(seen.raw_actor),
    )


def explained(row: ExplanationRow | None, seen: Seen, key: Key) -> ExplanationRow:
    event: VarianceExplained = seen.event
    return ExplanationRow(
        actuals_id=key[0],
        scope_key=key[1],
        narrative=event.now.narrative,
        cause=event.now.cause,
        owner=event.now.owner,
        explained_at=seen.recorded_at,
        explained_by=identity(seen.raw_actor),
    )


counting = change(headers_table, of_stream, costs_counted)
summing = changes(sums_table, sums_changed, summed)
touching = change(headers_table, of_stream, touched)

projection = Projection(
    name="actuals_detail",
    version=2,
    sql=beside(__file__),
    prompt=True,
    tables=(
        headers_table,
        entries_table,
        sums_table,
        corrections_table,
        findings_table,
        durations_table,
        explanations_table,
        risks_table,
    ),
    on={
        Opened: (change(headers_table, of_stream, opened),),
        BaselineChanged: (change(headers_table, of_stream, baseline_changed),),
        CostsRecorded: (counting, summing, changes(entries_table, new_entries, entry_recorded)),
        CostCorrected: (
            counting,
            summing,
            change(entries_table, named_entry, entry_corrected),
            changes(corrections_table, fields_corrected, noted),
        ),
        CostRemoved: (
            counting,
            summing,
            change(entries_table, removed_entry, gone),
            changes(corrections_table, removal, noted),
        ),
        RiskCostRecorded: (
            change(headers_table, of_stream, risk_counted),
            change(risks_table, risk_of, risk_recorded),
        ),
        RiskCostCorrected: (
            change(headers_table, of_stream, risk_counted),
            change(risks_table, risk_of, risk_corrected),
            changes(corrections_table, risk_fields_corrected, noted),
        ),
        DurationSet: (
            change(headers_table, of_stream, duration_set),
            change(durations_table, code_of_duration, code_duration_set),
        ),
        FindingAdded: (touching, change(findings_table, whole_finding, finding_added)),
        FindingRevised: (touching, change(findings_table, named_finding, finding_revised)),
        FindingRemoved: (touching, change(findings_table, whole_finding, gone)),
        VarianceExplained: (touching, change(explanations_table, scope_of, explained)),
        Finished: (change(headers_table, of_stream, finished),),
        Reopened: (change(headers_table, of_stream, reopened),),
    },
    ignores=frozenset[type[Event]](
        (
            *codeset.codeset.events,
            *company.company.events,
            *estimate.estimate.events,
            *membership.membership.events,
            *pricebook.pricebook.events,
            *project.project.events,
            *OF_UPSTREAMS,
        )
    ),
)


async def actuals(reader: Reader, actuals_id: UUID, *, at: int) -> ActualsHeader | None:
    """A project's actuals, by their own id."""
    return await reader.row(projection.sql["actuals"], {"at": at, "actuals_id": actuals_id}, ActualsHeader)


async def of_project(reader: Reader, project_id: UUID, *, at: int) -> ActualsHeader | None:
    """A project's actuals; None before they are opened."""
    return await reader.row(projection.sql["of_project"], {"at": at, "project_id": project_id}, ActualsHeader)


async def entries(
    reader: Reader, actuals_id: UUID, *, at: int, limit: int, after: UUID | None = None, code: str | None = None
) -> list[CostEntry]:
    """A page of entries in order of id, those after `after`; of one code if asked."""
    values = {"at": at, "actuals_id": actuals_id, "limit": limit, "after": after or UUID(int=0), "code": code}
    return await reader.rows(projection.sql["entries"], values, CostEntry)


async def sums(
    reader: Reader, actuals_id: UUID, *, at: int, limit: int | None = None, after: str | None = None
) -> list[CodeSum]:
    """What was booked by code and by mark-up, in order of `scope_key`: a page after the key `after`, or all of it."""
    values = {"at": at, "actuals_id": actuals_id, "limit": limit, "after": after}
    return await reader.rows(projection.sql["sums"], values, CodeSum)


async def corrections(
    reader: Reader,
    actuals_id: UUID,
    *,
    at: int,
    limit: int,
    after: tuple[int, int] | None = None,
    entry_id: UUID | None = None,
    risk_id: UUID | None = None,
) -> list[Correction]:
    """A page of corrections and removals, newest first, those older than the (position, seq) `after`; of one entry or
    risk if asked.
    """
    position, seq = after or (POSITION_MAX, 0)
    values = {
        "at": at,
        "actuals_id": actuals_id,
        "limit": limit,
        "after_position": position,
        "after_seq": seq,
        "entry_id": entry_id,
        "risk_id": risk_id,
    }
    return await reader.rows(projection.sql["corrections"], values, Correction)


async def findings(
    reader: Reader, actuals_id: UUID, *, at: int, limit: int, after: UUID | None = None, kind: str | None = None
) -> list[FindingRow]:
    """A page of findings in order of id, those after `after`."""
    values = {"at": at, "actuals_id": actuals_id, "limit": limit, "after": after or UUID(int=0), "kind": kind}
    return await reader.rows(projection.sql["findings"], values, FindingRow)


async def durations(
    reader: Reader, actuals_id: UUID, *, at: int, limit: int, after: str | None = None
) -> list[DurationRow]:
    """A page of durations of codes, those after the key `after`."""
    values = {"at": at, "actuals_id": actuals_id, "limit": limit, "after": after}
    return await reader.rows(projection.sql["durations"], values, DurationRow)


async def explanations(reader: Reader, actuals_id: UUID, *, at: int) -> list[ExplanationRow]:
    """All that is said of the variance."""
    return await reader.rows(projection.sql["explanations"], {"at": at, "actuals_id": actuals_id}, ExplanationRow)


async def risks(reader: Reader, actuals_id: UUID, *, at: int, limit: int, after: UUID | None = None) -> list[RiskCost]:
    """A page of risks that came true, in order of id, those after `after`."""
    values = {"at": at, "actuals_id": actuals_id, "limit": limit, "after": after or UUID(int=0)}
    return await reader.rows(projection.sql["risks"], values, RiskCost)
