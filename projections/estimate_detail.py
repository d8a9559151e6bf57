"""An estimate version in full: what it is, what it adds up to, and its lines."""

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from uuid import UUID

import msgspec
from msgspec.structs import replace

from domain import company, membership, project
from domain.decider import Event
from domain.estimate_events import (
    EstimateStarted,
    EstimateSubmitted,
    LineAdded,
    LineMoved,
    LineRemoved,
    LineRevised,
    LinesImported,
    MarginChanged,
    NotesChanged,
)
from domain.lines import Line
from domain.money import ZERO, final_bid
from eventstore.db import Reader
from eventstore.sql import beside
from projections.projection import Key, Projection, Seen, Table, change, changes, identity, of_stream
from projections.totals import totals_after


class EstimateHeader(msgspec.Struct, frozen=True):
    """An estimate version without its lines. `stream_version` is what a command expecting no other edit names."""

    estimate_id: UUID
    project_id: UUID
    version: int
    parent_id: UUID | None
    title: str | None
    notes: str | None
    status: str
    currency: str
    target_margin: Decimal
    base_total: Decimal
    allowance_total: Decimal
    alternate_total: Decimal
    final_bid: Decimal
    line_count: int
    started_at: datetime
    started_by: UUID
    submitted_at: datetime | None
    submitted_by: UUID | None
    content_hash: str | None
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
    updated_at: datetime


estimates_table = Table("estimate_detail_estimates", EstimateHeader, key=("estimate_id",))
lines_table = Table("estimate_detail_lines", EstimateLine, key=("estimate_id", "line_id"))


def estimate_started(row: EstimateHeader | None, seen: Seen, key: Key) -> EstimateHeader:
    event: EstimateStarted = seen.event
    actor = identity(seen.raw_actor)
    return EstimateHeader(
        estimate_id=key[0],
        project_id=event.project_id,
        version=event.version,
        parent_id=event.parent_id,
        title=event.title,
        notes=event.notes,
        status="draft",
        currency=event.currency,
        target_margin=event.target_margin,
        base_total=ZERO,
        allowance_total=ZERO,
        alternate_total=ZERO,
        final_bid=ZERO,
        line_count=0,
        started_at=seen.recorded_at,
        started_by=actor,
        submitted_at=None,
        submitted_by=None,
        content_hash=None,
        stream_version=seen.stream_version,
        updated_at=seen.recorded_at,
        updated_by=actor,
    )


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


def lines_counted(row: EstimateHeader | None, seen: Seen, key: Key) -> EstimateHeader:
    if row is None:
        raise LookupError("the estimate was never started")
    totals = totals_after(row.base_total, row.allowance_total, row.alternate_total, seen)
    bid = row.final_bid if totals.base == row.base_total else final_bid(totals.base, row.target_margin)
    return _touched(
        row,
        seen,
        base_total=totals.base,
        allowance_total=totals.allowance,
        alternate_total=totals.alternate,
        final_bid=bid,
        line_count=row.line_count + _lines_more(seen.event),
    )


def _lines_more(event: Event) -> int:
    if isinstance(event, LinesImported):
        return len(event.lines)
    return {LineAdded: 1, LineRemoved: -1}.get(type(event), 0)


def line_moved_in(row: EstimateHeader | None, seen: Seen, key: Key) -> EstimateHeader:
    return _touched(row, seen)


def margin_changed(row: EstimateHeader | None, seen: Seen, key: Key) -> EstimateHeader:
    margin: Decimal = seen.event.now
    return _touched(row, seen, target_margin=margin, final_bid=final_bid(row.base_total if row else ZERO, margin))


def notes_changed(row: EstimateHeader | None, seen: Seen, key: Key) -> EstimateHeader:
    return _touched(row, seen, **seen.event.now.given())


def estimate_submitted(row: EstimateHeader | None, seen: Seen, key: Key) -> EstimateHeader:
    return _touched(
        row,
        seen,
        status="submitted",
        submitted_at=seen.recorded_at,
        submitted_by=identity(seen.raw_actor),
        content_hash=seen.event.content_hash,
    )


def new_lines(seen: Seen) -> Iterable[tuple[Key, Line]]:
    """Each line of the event with its key."""
    estimate_id = identity(seen.raw_stream_id)
    event: LineAdded | LinesImported = seen.event
    lines = (event.line,) if isinstance(event, LineAdded) else event.lines
    return [((estimate_id, line.line_id), line) for line in lines]


def removed_line(seen: Seen) -> Iterable[Key]:
    return [(identity(seen.raw_stream_id), seen.event.line.line_id)]


def named_line(seen: Seen) -> Iterable[Key]:
    return [(identity(seen.raw_stream_id), seen.event.line_id)]


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
        seen.recorded_at,
    )


def line_revised(row: EstimateLine | None, seen: Seen, key: Key) -> EstimateLine:
    if row is None:
        raise LookupError("the line was never added")
    return replace(row, updated_at=seen.recorded_at, **seen.event.now.given())


def line_moved(row: EstimateLine | None, seen: Seen, key: Key) -> EstimateLine:
    if row is None:
        raise LookupError("the line was never added")
    place = seen.event.now.given()
    if "wbs_path" in place:
        place["wbs_path"] = list(place["wbs_path"])
    return replace(row, updated_at=seen.recorded_at, **place)


def line_removed(row: EstimateLine | None, seen: Seen, key: Key) -> None:
    return None


counting = change(estimates_table, of_stream, lines_counted)
projection = Projection(
    name="estimate_detail",
    version=1,
    sql=beside(__file__),
    tables=(estimates_table, lines_table),
    on={
        EstimateStarted: (change(estimates_table, of_stream, estimate_started),),
        LineAdded: (counting, changes(lines_table, new_lines, line_added)),
        LinesImported: (counting, changes(lines_table, new_lines, line_added)),
        LineRevised: (counting, change(lines_table, named_line, line_revised)),
        LineRemoved: (counting, change(lines_table, removed_line, line_removed)),
        LineMoved: (
            change(estimates_table, of_stream, line_moved_in),
            change(lines_table, named_line, line_moved),
        ),
        MarginChanged: (change(estimates_table, of_stream, margin_changed),),
        NotesChanged: (change(estimates_table, of_stream, notes_changed),),
        EstimateSubmitted: (change(estimates_table, of_stream, estimate_submitted),),
    },
    ignores=frozenset[type[Event]]((*company.company.events, *membership.membership.events, *project.project.events)),
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
