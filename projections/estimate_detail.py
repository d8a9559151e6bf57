"""An estimate version in full: what it is, what it adds up to, and its lines."""

from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
from msgspec.structs import replace

from domain import actuals, codeset, company, membership, pricebook, project
from domain.decider import Event, members
from domain.estimate_events import (
    ChangeUndone,
    Classified,
    EstimateStarted,
    EstimateStatusChanged,
    EstimateSubmitted,
    LineAdded,
    LineMoved,
    LineRemoved,
    LineRestored,
    LineRevised,
    LinesImported,
    LinesRemoved,
    MarginChanged,
    MarkupsSet,
    MitigationApplied,
    MitigationWithdrawn,
    NotesChanged,
    OccurrenceCorrected,
    RiskAdded,
    RiskClosed,
    RiskOccurred,
    RiskRemoved,
    RiskReopened,
    RiskRestored,
    RiskRevised,
    RisksCopied,
    Tagged,
    Untagged,
    adjustment_after,
)
from domain.lines import Line
from domain.markups import Bridge, bridge
from domain.money import ZERO
from domain.registry import OF_UPSTREAMS
from domain.simulation import SimulationEvent
from eventstore.db import Reader
from eventstore.sql import beside
from projections.estimate_risks import (
    EstimateRisk,
    EstimateTag,
    named_tag,
    risk_came,
    risk_changed,
    risk_removed,
    risks_table,
    tagged,
    tags_table,
    untagged,
)
from projections.projection import Key, Projection, Seen, Table, change, changes, identity, of_stream
from projections.told import named_line, named_risk, told_lines, told_risks
from projections.totals import as_document, as_priced, as_stored, cost_and_bid, lines_more, totals_after


class EstimateHeader(msgspec.Struct, frozen=True):
    """An estimate version without its lines and risks. The cost is base total, risk adjustment and mark-ups, the final
    bid is the cost with the margin. `stream_version` is what a command expecting no other edit names.
    """

    estimate_id: UUID
    project_id: UUID
    version: int
    parent_id: UUID | None
    title: str | None
    notes: str | None
    status: str
    currency: str
    effective_on: date | None
    aace_class: int | None
    basis: str | None
    target_margin: Decimal
    base_total: Decimal
    allowance_total: Decimal
    alternate_total: Decimal
    risk_adjustment: Decimal
    markups: list[dict[str, Any]]
    cost: Decimal
    final_bid: Decimal
    line_count: int
    risk_count: int
    started_at: datetime
    started_by: UUID
    submitted_at: datetime | None
    submitted_by: UUID | None
    content_hash: str | None
    content_format: int | None
    stream_version: int
    updated_at: datetime
    updated_by: UUID


class EstimateLine(msgspec.Struct, frozen=True):
    """A line. `submitted` says that its extension was given, not derived from quantity and unit price."""

    estimate_id: UUID
    line_id: UUID
    ordinal: Decimal
    wbs_path: list[str]
    description: str
    quantity: Decimal
    unit: str
    unit_price: Decimal
    extension: Decimal
    submitted: bool
    code: str | None
    code_set: str | None
    code_edition: str | None
    cost_type: str
    note: str | None
    quote_reference: str | None
    firmness: str
    pricing: str
    conversion: dict[str, Any] | None
    updated_at: datetime


class CodeBudget(msgspec.Struct, frozen=True):
    """Base lines of one cost code. `quantity` is that of all of them, if they are in one `unit`."""

    code: str | None
    code_set: str | None
    code_edition: str | None
    amount: Decimal
    quantity: Decimal | None
    unit: str | None


class TypeBudget(msgspec.Struct, frozen=True):
    """Base lines of one kind of money."""

    estimate_id: UUID
    cost_type: str
    amount: Decimal


estimates_table = Table("estimate_detail_estimates", EstimateHeader, key=("estimate_id",))
lines_table = Table("estimate_detail_lines", EstimateLine, key=("estimate_id", "line_id"))


def estimate_started(row: EstimateHeader | None, seen: Seen, key: Key) -> EstimateHeader:
    event: EstimateStarted = seen.event
    actor = identity(seen.raw_actor)
    started = EstimateHeader(
        estimate_id=key[0],
        project_id=event.project_id,
        version=event.version,
        parent_id=event.parent_id,
        title=event.title,
        notes=event.notes,
        status="draft",
        currency=event.currency,
        effective_on=event.effective_on,
        aace_class=event.aace_class,
        basis=event.basis,
        target_margin=event.target_margin,
        base_total=ZERO,
        allowance_total=ZERO,
        alternate_total=ZERO,
        risk_adjustment=ZERO,
        markups=as_stored(event.markups),
        cost=ZERO,
        final_bid=ZERO,
        line_count=0,
        risk_count=0,
        started_at=seen.recorded_at,
        started_by=actor,
        submitted_at=None,
        submitted_by=None,
        content_hash=None,
        content_format=None,
        stream_version=seen.stream_version,
        updated_at=seen.recorded_at,
        updated_by=actor,
    )
    return _priced(started)


def _touched(row: EstimateHeader | None, seen: Seen, **changed: object) -> EstimateHeader:
    if row is None:
        raise LookupError("the estimate was never started")
    return replace(
        row,
        stream_version=seen.stream_version,
        updated_at=seen.recorded_at,
        updated_by=identity(seen.raw_actor),
        **changed,
    )


def _priced(row: EstimateHeader) -> EstimateHeader:
    cost, bid = cost_and_bid(row.base_total, row.risk_adjustment, row.markups, row.target_margin)
    return replace(row, cost=cost, final_bid=bid)


def lines_counted(row: EstimateHeader | None, seen: Seen, key: Key) -> EstimateHeader:
    if row is None:
        raise LookupError("the estimate was never started")
    totals = totals_after(row.base_total, row.allowance_total, row.alternate_total, seen)
    after = _touched(
        row,
        seen,
        base_total=totals.base,
        allowance_total=totals.allowance,
        alternate_total=totals.alternate,
        line_count=row.line_count + lines_more(seen.event),
    )
    return after if totals.base == row.base_total else _priced(after)


def touched(row: EstimateHeader | None, seen: Seen, key: Key) -> EstimateHeader:
    return _touched(row, seen)


def margin_changed(row: EstimateHeader | None, seen: Seen, key: Key) -> EstimateHeader:
    return _priced(_touched(row, seen, target_margin=seen.event.now))


def markups_set(row: EstimateHeader | None, seen: Seen, key: Key) -> EstimateHeader:
    return _priced(_touched(row, seen, markups=as_stored(seen.event.now)))


def risks_adjusted(row: EstimateHeader | None, seen: Seen, key: Key) -> EstimateHeader:
    before = ZERO if row is None else row.risk_adjustment
    count = (0 if row is None else row.risk_count) + _risks_more(seen.event)
    return _priced(_touched(row, seen, risk_adjustment=adjustment_after(before, seen.event), risk_count=count))


def _risks_more(event: Event) -> int:
    if isinstance(event, RisksCopied):
        return len(event.risks)
    return {RiskAdded: 1, RiskRestored: 1, RiskRemoved: -1}.get(type(event), 0)


def status_changed(row: EstimateHeader | None, seen: Seen, key: Key) -> EstimateHeader:
    return _touched(row, seen, status=seen.event.now)


def fields_changed(row: EstimateHeader | None, seen: Seen, key: Key) -> EstimateHeader:
    return _touched(row, seen, **seen.event.now.given())


def estimate_submitted(row: EstimateHeader | None, seen: Seen, key: Key) -> EstimateHeader:
    return _touched(
        row,
        seen,
        status="submitted",
        submitted_at=seen.recorded_at,
        submitted_by=identity(seen.raw_actor),
        content_hash=seen.event.content_hash,
        content_format=seen.event.content_format,
    )


def simulated(row: EstimateHeader | None, seen: Seen, key: Key) -> EstimateHeader:
    """Nothing in the estimate changes, but the stream version that a command names does."""
    if row is None:
        raise LookupError("the estimate was never started")
    return replace(row, stream_version=seen.stream_version)


def line_added(row: EstimateLine | None, seen: Seen, line: Line) -> EstimateLine:
    return EstimateLine(
        identity(seen.raw_stream_id),
        line.line_id,
        line.ordinal,
        list(line.wbs_path),
        line.description,
        line.quantity,
        line.unit,
        line.unit_price,
        line.extension,
        line.submitted,
        line.code,
        line.code_set,
        line.code_edition,
        line.cost_type,
        line.note,
        line.quote_reference,
        line.firmness,
        line.pricing,
        as_document(line.conversion),
        seen.recorded_at,
    )


def line_revised(row: EstimateLine | None, seen: Seen, key: Key) -> EstimateLine:
    if row is None:
        raise LookupError("the line was never added")
    given = seen.event.now.given()
    if "conversion" in given:
        given["conversion"] = as_document(given["conversion"])
    return replace(row, updated_at=seen.recorded_at, **given)


def line_moved(row: EstimateLine | None, seen: Seen, key: Key) -> EstimateLine:
    if row is None:
        raise LookupError("the line was never added")
    place = seen.event.now.given()
    if "wbs_path" in place:
        place["wbs_path"] = list(place["wbs_path"])
    return replace(row, updated_at=seen.recorded_at, **place)


def line_removed(row: EstimateLine | None, seen: Seen, part: object) -> None:
    return None


counting = change(estimates_table, of_stream, lines_counted)
adjusting = change(estimates_table, of_stream, risks_adjusted)
touching = change(estimates_table, of_stream, touched)
risk_coming = (adjusting, changes(risks_table, told_risks, risk_came, new=True))
risk_changing = (adjusting, change(risks_table, named_risk, risk_changed))
risk_occurring = (touching, change(risks_table, named_risk, risk_changed))
projection = Projection(
    name="estimate_detail",
    version=2,
    sql=beside(__file__),
    prompt=True,
    tables=(estimates_table, lines_table, risks_table, tags_table),
    on={
        EstimateStarted: (change(estimates_table, of_stream, estimate_started, new=True),),
        LineAdded: (counting, changes(lines_table, told_lines, line_added, new=True)),
        LinesImported: (counting, changes(lines_table, told_lines, line_added, new=True)),
        LineRestored: (counting, changes(lines_table, told_lines, line_added, new=True)),
        LineRevised: (counting, change(lines_table, named_line, line_revised)),
        LineRemoved: (counting, changes(lines_table, told_lines, line_removed)),
        LinesRemoved: (counting, changes(lines_table, told_lines, line_removed)),
        LineMoved: (touching, change(lines_table, named_line, line_moved)),
        MarginChanged: (change(estimates_table, of_stream, margin_changed),),
        MarkupsSet: (change(estimates_table, of_stream, markups_set),),
        NotesChanged: (change(estimates_table, of_stream, fields_changed),),
        Classified: (change(estimates_table, of_stream, fields_changed),),
        RiskAdded: risk_coming,
        RiskRestored: risk_coming,
        RisksCopied: risk_coming,
        RiskRemoved: (adjusting, changes(risks_table, told_risks, risk_removed)),
        RiskRevised: risk_changing,
        MitigationApplied: risk_changing,
        MitigationWithdrawn: risk_changing,
        RiskClosed: risk_changing,
        RiskReopened: risk_changing,
        RiskOccurred: risk_occurring,
        OccurrenceCorrected: risk_occurring,
        Tagged: (touching, change(tags_table, named_tag, tagged)),
        Untagged: (touching, change(tags_table, named_tag, untagged)),
        EstimateStatusChanged: (change(estimates_table, of_stream, status_changed),),
        ChangeUndone: (touching,),
        EstimateSubmitted: (change(estimates_table, of_stream, estimate_submitted),),
        **{event: (change(estimates_table, of_stream, simulated),) for event in members(SimulationEvent)},
    },
    ignores=frozenset[type[Event]](
        (
            *actuals.actuals.events,
            *codeset.codeset.events,
            *pricebook.pricebook.events,
            *company.company.events,
            *membership.membership.events,
            *project.project.events,
            *OF_UPSTREAMS,
        )
    ),
)


async def estimate(reader: Reader, estimate_id: UUID, *, at: int) -> EstimateHeader | None:
    """One estimate version."""
    return await reader.row(projection.sql["estimate"], {"at": at, "estimate_id": estimate_id}, EstimateHeader)


async def of_project(
    reader: Reader, project_id: UUID, *, at: int, limit: int, after: int | None = None
) -> list[EstimateHeader]:
    """A page of a project's estimates in order of version, those after the version `after`."""
    values = {"at": at, "project_id": project_id, "limit": limit, "after": after or 0}
    return await reader.rows(projection.sql["of_project"], values, EstimateHeader)


async def lines_of(
    reader: Reader, estimate_id: UUID, *, at: int, limit: int, after: tuple[Decimal, UUID] | None = None
) -> list[EstimateLine]:
    """A page of lines in reading order, those after the (ordinal, line id) `after`."""
    values: dict[str, object] = {"at": at, "estimate_id": estimate_id, "limit": limit}
    if after is None:
        return await reader.rows(projection.sql["first_lines_of"], values, EstimateLine)
    values |= {"after_ordinal": after[0], "after_line_id": after[1]}
    return await reader.rows(projection.sql["lines_of"], values, EstimateLine)


async def risks_of(
    reader: Reader, estimate_id: UUID, *, at: int, limit: int, after: UUID | None = None
) -> list[EstimateRisk]:
    """A page of its risks in order of id, those after the risk `after`."""
    values = {"at": at, "estimate_id": estimate_id, "limit": limit, "after": after or UUID(int=0)}
    return await reader.rows(projection.sql["risks_of"], values, EstimateRisk)


async def tags_of(
    reader: Reader, estimate_id: UUID, *, at: int, limit: int, after: int | None = None
) -> list[EstimateTag]:
    """A page of its tags in order of the moments they mark, those after the position `after`."""
    values = {"at": at, "estimate_id": estimate_id, "limit": limit, "after": after or 0}
    return await reader.rows(projection.sql["tags_of"], values, EstimateTag)


def bridge_of(header: EstimateHeader) -> Bridge:
    """The way from base total to final bid, step by step, by the rule the bid itself is reckoned with."""
    return bridge(header.base_total, header.risk_adjustment, as_priced(header.markups), header.target_margin)


async def budget_by_code(reader: Reader, estimate_id: UUID, *, at: int) -> list[CodeBudget]:
    """What the base lines of an estimate add up to, by cost code; in order of nothing."""
    return await reader.rows(projection.sql["by_code"], {"at": at, "estimate_id": estimate_id}, CodeBudget)


async def base_by_cost_type(reader: Reader, estimate_ids: Sequence[UUID], *, at: int) -> list[TypeBudget]:
    """What the base lines of estimates add up to, by kind of money."""
    values = {"at": at, "estimate_ids": list(estimate_ids)}
    return await reader.rows(projection.sql["by_cost_type"], values, TypeBudget)
