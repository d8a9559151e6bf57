"""The company's projects, each with the figures of its latest estimate version."""

from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final, Literal, TypeAlias
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
    LineMoved,
    MarginChanged,
    MarkupsSet,
    NotesChanged,
    OccurrenceCorrected,
    RiskOccurred,
    Tagged,
    Untagged,
    adjustment_after,
)
from domain.money import ZERO
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
from projections.projection import Key, Projection, Seen, Table, change, of_stream
from projections.totals import ADJUSTING, COUNTED, as_stored, base_after, cost_and_bid, lines_more


class ProjectRow(msgspec.Struct, frozen=True):
    """A project as its own stream tells it. `latest_version` is 0 before the first estimate."""

    project_id: UUID
    name: str
    status: str
    building_type: str | None
    location: str | None
    metadata: dict[str, str]
    created_at: datetime
    created_by: UUID
    deleted_at: datetime | None
    deleted_by: UUID | None
    latest_version: int
    latest_estimate_id: UUID | None
    updated_at: datetime


class EstimateRow(msgspec.Struct, frozen=True):
    """The figures of an estimate version."""

    estimate_id: UUID
    project_id: UUID
    version: int
    effective_on: date | None
    aace_class: int | None
    status: str
    currency: str
    line_count: int
    base_total: Decimal
    risk_adjustment: Decimal
    markups: list[dict[str, Any]]
    cost: Decimal
    target_margin: Decimal
    final_bid: Decimal
    updated_at: datetime


class ProjectSummary(msgspec.Struct, frozen=True):
    """A project and its latest version's figures, which are null before the first estimate."""

    project_id: UUID
    name: str
    status: str
    building_type: str | None
    location: str | None
    metadata: dict[str, str]
    created_at: datetime
    created_by: UUID
    deleted_at: datetime | None
    deleted_by: UUID | None
    latest_version: int
    latest_estimate_id: UUID | None
    estimate_status: str | None
    currency: str | None
    base_total: Decimal | None
    risk_adjustment: Decimal | None
    cost: Decimal | None
    target_margin: Decimal | None
    final_bid: Decimal | None
    updated_at: datetime


TOUCHING: Final = (LineMoved, NotesChanged, RiskOccurred, OccurrenceCorrected, Tagged, Untagged, ChangeUndone)
"""The events that change an estimate, but none of its figures."""

Grouping: TypeAlias = Literal["estimate_status", "project_status", "building_type", "aace_class"]


class PortfolioRow(msgspec.Struct, frozen=True):
    """Latest versions of one group, in one currency. `group` is null where a project has no such fact.

    `margin` is final bid less cost, and `margin_fraction` that as a fraction of the bid (six places), null at bid 0.
    """

    currency: str
    group: str | None
    projects: int
    base_total: Decimal
    risk_adjustment: Decimal
    cost: Decimal
    final_bid: Decimal
    margin: Decimal
    margin_fraction: Decimal | None


class ForecastRow(msgspec.Struct, frozen=True):
    """What projects were to cost as of a business date: of each the newest version effective by then, by currency.

    `without_figure` counts those whose version of that date had no line: absent, which is not zero.
    """

    currency: str
    projects: int
    without_figure: int
    base_total: Decimal
    cost: Decimal
    final_bid: Decimal


projects_table = Table("project_list_projects", ProjectRow, key=("project_id",))
estimates_table = Table("project_list_estimates", EstimateRow, key=("estimate_id",))


def project_created(row: ProjectRow | None, seen: Seen, key: Key) -> ProjectRow:
    event: ProjectCreated = seen.event
    return ProjectRow(
        project_id=key[0],
        name=event.name,
        status=event.status,
        building_type=event.building_type,
        location=event.location,
        metadata=event.metadata,
        created_at=seen.recorded_at,
        created_by=seen.actor,
        deleted_at=None,
        deleted_by=None,
        latest_version=row.latest_version if row else 0,
        latest_estimate_id=row.latest_estimate_id if row else None,
        updated_at=seen.recorded_at,
    )


def project_renamed(row: ProjectRow | None, seen: Seen, key: Key) -> ProjectRow:
    return replace(_known(row), name=seen.event.now, updated_at=seen.recorded_at)


def status_changed(row: ProjectRow | None, seen: Seen, key: Key) -> ProjectRow:
    return replace(_known(row), status=seen.event.now, updated_at=seen.recorded_at)


def metadata_changed(row: ProjectRow | None, seen: Seen, key: Key) -> ProjectRow:
    before = _known(row)
    given: dict[str, Any] = seen.event.now.given()
    merged = {**before.metadata, **given.pop("metadata", {})}
    kept = {name: value for name, value in merged.items() if value is not None}
    return replace(before, **given, metadata=kept, updated_at=seen.recorded_at)


def project_deleted(row: ProjectRow | None, seen: Seen, key: Key) -> ProjectRow:
    return replace(_known(row), deleted_at=seen.recorded_at, deleted_by=seen.actor, updated_at=seen.recorded_at)


def project_restored(row: ProjectRow | None, seen: Seen, key: Key) -> ProjectRow:
    return replace(_known(row), name=seen.event.name, deleted_at=None, deleted_by=None, updated_at=seen.recorded_at)


def version_numbered(row: ProjectRow | None, seen: Seen, key: Key) -> ProjectRow:
    event: VersionNumbered = seen.event
    return replace(
        _known(row), latest_version=event.version, latest_estimate_id=event.estimate_id, updated_at=seen.recorded_at
    )


def _known(row: ProjectRow | None) -> ProjectRow:
    if row is None:
        raise LookupError("the project was never created")
    return row


def estimate_started(row: EstimateRow | None, seen: Seen, key: Key) -> EstimateRow:
    event: EstimateStarted = seen.event
    started = EstimateRow(
        estimate_id=key[0],
        project_id=event.project_id,
        version=event.version,
        effective_on=event.effective_on,
        aace_class=event.aace_class,
        status="draft",
        currency=event.currency,
        line_count=0,
        base_total=ZERO,
        risk_adjustment=ZERO,
        markups=as_stored(event.markups),
        cost=ZERO,
        target_margin=event.target_margin,
        final_bid=ZERO,
        updated_at=seen.recorded_at,
    )
    return _repriced(started, seen)


def total_changed(row: EstimateRow | None, seen: Seen, key: Key) -> EstimateRow:
    before = _started(row)
    base = base_after(before.base_total, seen)
    lines = before.line_count + lines_more(seen.event)
    if base == before.base_total:
        return replace(before, line_count=lines, updated_at=seen.recorded_at)
    return _repriced(before, seen, line_count=lines, base_total=base)


def adjustment_changed(row: EstimateRow | None, seen: Seen, key: Key) -> EstimateRow:
    before = _started(row)
    return _repriced(before, seen, risk_adjustment=adjustment_after(before.risk_adjustment, seen.event))


def margin_changed(row: EstimateRow | None, seen: Seen, key: Key) -> EstimateRow:
    return _repriced(_started(row), seen, target_margin=seen.event.now)


def markups_set(row: EstimateRow | None, seen: Seen, key: Key) -> EstimateRow:
    return _repriced(_started(row), seen, markups=as_stored(seen.event.now))


def _repriced(before: EstimateRow, seen: Seen, **changed: Any) -> EstimateRow:
    row = replace(before, updated_at=seen.recorded_at, **changed)
    cost, bid = cost_and_bid(row.base_total, row.risk_adjustment, row.markups, row.target_margin)
    return replace(row, cost=cost, final_bid=bid)


def estimate_submitted(row: EstimateRow | None, seen: Seen, key: Key) -> EstimateRow:
    return replace(_started(row), status="submitted", updated_at=seen.recorded_at)


def estimate_status_changed(row: EstimateRow | None, seen: Seen, key: Key) -> EstimateRow:
    return replace(_started(row), status=seen.event.now, updated_at=seen.recorded_at)


def estimate_touched(row: EstimateRow | None, seen: Seen, key: Key) -> EstimateRow:
    return replace(_started(row), updated_at=seen.recorded_at)


def classified(row: EstimateRow | None, seen: Seen, key: Key) -> EstimateRow:
    now = seen.event.now.given()
    before = _started(row)
    return replace(before, aace_class=now.get("aace_class", before.aace_class), updated_at=seen.recorded_at)


def _started(row: EstimateRow | None) -> EstimateRow:
    if row is None:
        raise LookupError("the estimate was never started")
    return row


projection = Projection(
    name="project_list",
    version=2,
    sql=beside(__file__),
    prompt=True,
    tables=(projects_table, estimates_table),
    on={
        ProjectCreated: (change(projects_table, of_stream, project_created, new=True),),
        ProjectRenamed: (change(projects_table, of_stream, project_renamed),),
        StatusChanged: (change(projects_table, of_stream, status_changed),),
        MetadataChanged: (change(projects_table, of_stream, metadata_changed),),
        ProjectDeleted: (change(projects_table, of_stream, project_deleted),),
        ProjectRestored: (change(projects_table, of_stream, project_restored),),
        VersionNumbered: (change(projects_table, of_stream, version_numbered),),
        EstimateStarted: (change(estimates_table, of_stream, estimate_started, new=True),),
        MarginChanged: (change(estimates_table, of_stream, margin_changed),),
        EstimateSubmitted: (change(estimates_table, of_stream, estimate_submitted),),
        MarkupsSet: (change(estimates_table, of_stream, markups_set),),
        EstimateStatusChanged: (change(estimates_table, of_stream, estimate_status_changed),),
        Classified: (change(estimates_table, of_stream, classified),),
        **{event: (change(estimates_table, of_stream, estimate_touched),) for event in TOUCHING},
        **{event: (change(estimates_table, of_stream, adjustment_changed),) for event in ADJUSTING},
        **{event: (change(estimates_table, of_stream, total_changed),) for event in COUNTED},
    },
    ignores=frozenset[type[Event]](
        (
            ActualsOpened,
            *actuals.actuals.events,
            *codeset.codeset.events,
            *pricebook.pricebook.events,
            *company.company.events,
            *membership.membership.events,
            *members(SimulationEvent),
            *OF_UPSTREAMS,
        )
    ),
)


async def projects(
    reader: Reader,
    *,
    at: int,
    limit: int,
    after: UUID | None = None,
    status: str | None = None,
    search: str | None = None,
    include_deleted: bool = False,
) -> list[ProjectSummary]:
    """A page of projects in order of id, those after `after`. `search` is part of a name, in any letter case."""
    values = {
        "at": at,
        "limit": limit,
        "after": after or UUID(int=0),
        "status": status,
        "search": search,
        "include_deleted": include_deleted,
    }
    return await reader.rows(projection.sql["projects"], values, ProjectSummary)


async def project(reader: Reader, project_id: UUID, *, at: int) -> ProjectSummary | None:
    """One project, deleted or not."""
    return await reader.row(projection.sql["project"], {"at": at, "project_id": project_id}, ProjectSummary)


async def portfolio(reader: Reader, by: Grouping, *, at: int) -> list[PortfolioRow]:
    """The latest versions of projects that are not deleted, added up by group and currency."""
    return await reader.rows(projection.sql["portfolio"], {"at": at, "by": by}, PortfolioRow)


async def without_estimate(reader: Reader, *, at: int) -> int:
    """How many projects that are not deleted have no estimate yet."""
    count: int = (await reader.tuples(projection.sql["without_estimate"], {"at": at}))[0][0]
    return count


async def forecast(reader: Reader, effective_on: date, *, at: int) -> list[ForecastRow]:
    """What projects that are not deleted were to cost as of a business date, whenever that was entered."""
    return await reader.rows(projection.sql["forecast"], {"at": at, "effective_on": effective_on}, ForecastRow)
