"""What was paid for: the unit prices of a cost code, as the lines of all projects have them.

An observation is a line with the code, in one estimate version, as the line stands there; its date is the day the
estimate takes effect, or the day the price was recorded. A line that came with the parent's lines is a copy and no
observation until its price, or what the price is for, is changed in this version, or the line removed and brought back.
So a price counts once however many versions repeat it, where it was entered and as it stands there, and `submitted`
speaks of that version. Prices of different code sets, units or currencies are never put together. What a deleted
project holds is left out.
"""

from datetime import date, datetime
from decimal import Decimal
from typing import Final, NamedTuple
from uuid import UUID

import msgspec
from msgspec.structs import replace

from domain import actuals, codeset, company, membership, pricebook
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
)
from domain.lines import Line
from domain.project import (
    ActualsOpened,
    MetadataChanged,
    ProjectCreated,
    ProjectDeleted,
    ProjectRenamed,
    ProjectRestored,
    StatusChanged,
    VersionNumbered,
)
from domain.registry import OF_UPSTREAMS
from domain.simulation import SimulationEvent
from eventstore.db import Reader
from eventstore.sql import beside
from projections.projection import Key, Projection, Seen, Table, change, changes, identity, of_stream
from projections.told import named_line, told_lines


class LinePrice(msgspec.Struct, frozen=True):
    """A line's price and what it is for. `recorded_at` is when one of them last changed; `copied` until then, if the
    line came from the parent.
    """

    estimate_id: UUID
    line_id: UUID
    code: str | None
    code_set: str | None
    code_edition: str | None
    unit: str
    quantity: Decimal
    unit_price: Decimal
    firmness: str
    pricing: str
    copied: bool
    recorded_at: datetime


class EstimateFacts(msgspec.Struct, frozen=True):
    """What dates and places a line's price."""

    estimate_id: UUID
    project_id: UUID
    version: int
    currency: str
    effective_on: date | None
    submitted: bool


class ProjectFacts(msgspec.Struct, frozen=True):
    """What an observation says of its project."""

    project_id: UUID
    name: str
    deleted: bool


class PriceGroup(msgspec.Struct, frozen=True):
    """Prices that can be compared: of one code set, unit and currency. The median of an even number of prices is the
    middle of the two in the middle, exactly.
    """

    code_set: str | None
    unit: str
    currency: str
    count: int
    lowest: Decimal
    highest: Decimal
    median: Decimal
    latest_price: Decimal
    latest_on: date
    latest_project_id: UUID
    latest_project_name: str
    code_editions: list[str]


class PriceObservation(msgspec.Struct, frozen=True):
    """A unit price in one estimate version; `dated_on` is the estimate's effective date or the day it was recorded."""

    code: str
    code_set: str | None
    code_edition: str | None
    unit: str
    currency: str
    unit_price: Decimal
    quantity: Decimal
    dated_on: date
    recorded_at: datetime
    project_id: UUID
    project_name: str
    estimate_id: UUID
    version: int
    line_id: UUID
    submitted: bool
    firmness: str
    pricing: str


class Place(NamedTuple):
    """Where a page of observations ended."""

    dated_on: date
    recorded_at: datetime
    estimate_id: UUID
    line_id: UUID


def place_of(row: PriceObservation) -> Place:
    """Where a page ends that ends with this row."""
    return Place(row.dated_on, row.recorded_at, row.estimate_id, row.line_id)


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Which prices: of a code; in a set, unit, currency and range of dates (both included) if they are given."""

    code: str
    code_set: str | None = None
    unit: str | None = None
    currency: str | None = None
    from_on: date | None = None
    to_on: date | None = None


lines_table = Table("price_history_lines", LinePrice, key=("estimate_id", "line_id"))
estimates_table = Table("price_history_estimates", EstimateFacts, key=("estimate_id",))
projects_table = Table("price_history_projects", ProjectFacts, key=("project_id",))

_COMPARED: Final = ("code", "code_set", "code_edition", "unit", "quantity", "unit_price", "firmness", "pricing")


def line_added(row: LinePrice | None, seen: Seen, line: Line) -> LinePrice:
    return LinePrice(
        identity(seen.raw_stream_id),
        line.line_id,
        line.code,
        line.code_set,
        line.code_edition,
        line.unit,
        line.quantity,
        line.unit_price,
        line.firmness,
        line.pricing,
        isinstance(seen.event, LinesImported) and seen.event.source == "parent",
        seen.recorded_at,
    )


def line_revised(row: LinePrice | None, seen: Seen, key: Key) -> LinePrice:
    if row is None:
        raise LookupError("the line was never added")
    given = seen.event.now.given()
    changed = {field: given[field] for field in _COMPARED if field in given}
    return replace(row, **changed, copied=False, recorded_at=seen.recorded_at) if changed else row


def line_removed(row: LinePrice | None, seen: Seen, part: object) -> None:
    return None


def estimate_started(row: EstimateFacts | None, seen: Seen, key: Key) -> EstimateFacts:
    event: EstimateStarted = seen.event
    return EstimateFacts(
        estimate_id=key[0],
        project_id=event.project_id,
        version=event.version,
        currency=event.currency,
        effective_on=event.effective_on,
        submitted=False,
    )


def estimate_submitted(row: EstimateFacts | None, seen: Seen, key: Key) -> EstimateFacts:
    if row is None:
        raise LookupError("the estimate was never started")
    return replace(row, submitted=True)


def project_named(row: ProjectFacts | None, seen: Seen, key: Key) -> ProjectFacts:
    return ProjectFacts(key[0], seen.event.name, False)


def project_renamed(row: ProjectFacts | None, seen: Seen, key: Key) -> ProjectFacts:
    return replace(_known(row), name=seen.event.now)


def project_deleted(row: ProjectFacts | None, seen: Seen, key: Key) -> ProjectFacts:
    return replace(_known(row), deleted=True)


def _known(row: ProjectFacts | None) -> ProjectFacts:
    if row is None:
        raise LookupError("the project was never created")
    return row


projection = Projection(
    name="price_history",
    version=1,
    sql=beside(__file__),
    tables=(lines_table, estimates_table, projects_table),
    on={
        ProjectCreated: (change(projects_table, of_stream, project_named),),
        ProjectRestored: (change(projects_table, of_stream, project_named),),
        ProjectRenamed: (change(projects_table, of_stream, project_renamed),),
        ProjectDeleted: (change(projects_table, of_stream, project_deleted),),
        EstimateStarted: (change(estimates_table, of_stream, estimate_started),),
        EstimateSubmitted: (change(estimates_table, of_stream, estimate_submitted),),
        LineAdded: (changes(lines_table, told_lines, line_added),),
        LineRestored: (changes(lines_table, told_lines, line_added),),
        LinesImported: (changes(lines_table, told_lines, line_added),),
        LinesRemoved: (changes(lines_table, told_lines, line_removed),),
        LineRevised: (change(lines_table, named_line, line_revised),),
        LineRemoved: (changes(lines_table, told_lines, line_removed),),
    },
    ignores=frozenset[type[Event]](
        (
            MetadataChanged,
            StatusChanged,
            VersionNumbered,
            LineMoved,
            MarginChanged,
            NotesChanged,
            MarkupsSet,
            RiskAdded,
            RiskRestored,
            RisksCopied,
            RiskRevised,
            RiskRemoved,
            MitigationApplied,
            MitigationWithdrawn,
            RiskClosed,
            RiskReopened,
            OccurrenceCorrected,
            RiskOccurred,
            Classified,
            Tagged,
            Untagged,
            EstimateStatusChanged,
            ChangeUndone,
            ActualsOpened,
            *members(SimulationEvent),
            *actuals.actuals.events,
            *codeset.codeset.events,
            *pricebook.pricebook.events,
            *company.company.events,
            *membership.membership.events,
            *OF_UPSTREAMS,
        )
    ),
)


async def first_page(
    reader: Reader, wanted: Wanted, *, at: int, limit: int
) -> tuple[list[PriceGroup], list[PriceObservation]]:
    """What the observations come to, those with the most first; and the latest of them."""
    values = msgspec.structs.asdict(wanted) | {"at": at, "limit": limit}
    [[groups, observations]] = await reader.tuples(projection.sql["first_page"], values)
    return msgspec.json.decode(groups, type=list[PriceGroup]), msgspec.json.decode(
        observations, type=list[PriceObservation]
    )


async def next_page(reader: Reader, wanted: Wanted, after: Place, *, at: int, limit: int) -> list[PriceObservation]:
    """Observations before `after`, the latest first."""
    values = msgspec.structs.asdict(wanted) | {
        "at": at,
        "limit": limit,
        "after_on": after.dated_on,
        "after_at": after.recorded_at,
        "after_estimate_id": after.estimate_id,
        "after_line_id": after.line_id,
    }
    return await reader.rows(projection.sql["next_page"], values, PriceObservation)
