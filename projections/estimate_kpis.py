"""What estimates add up to, by cost type, code section and work breakdown: counts, sums, and what is missing."""

import re
from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Any, Final, Literal, TypeAlias
from uuid import UUID

import msgspec
from msgspec.structs import replace

from domain import actuals, codeset, company, membership, pricebook
from domain import estimate as estimates
from domain.decider import Event
from domain.estimate_events import (
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
)
from domain.lines import Line
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
from eventstore.db import Reader
from eventstore.sql import beside
from projections.projection import Key, Projection, Seen, Sums, Table, change, changes, identity, of_stream
from projections.told import named_line, told_lines

Dimension: TypeAlias = Literal["cost_type", "code_section", "wbs", "all"]
"""What the lines are counted by. `wbs` has a bucket for every place of the work breakdown, down to `WBS_LEVELS`."""

WBS_LEVELS: Final = 3
_SECTION: Final = re.compile(r"[^\s.\-/_]{1,4}")


class KpiProject(msgspec.Struct, frozen=True):
    """What a project's figures are picked by."""

    project_id: UUID
    status: str
    building_type: str | None
    deleted: bool
    latest_estimate_id: UUID | None


class KpiEstimate(msgspec.Struct, frozen=True):
    """What an estimate's figures are picked by."""

    estimate_id: UUID
    project_id: UUID
    status: str
    currency: str


class KpiLine(msgspec.Struct, frozen=True):
    """What a line counts with, and where."""

    estimate_id: UUID
    line_id: UUID
    cost_type: str
    code_section: str
    wbs_path: list[str]
    pricing: str
    extension: Decimal
    plug: bool
    priced: bool


class KpiCell(msgspec.Struct, frozen=True):
    """The lines of an estimate in one bucket: "" for lines without a code, and for `wbs` a JSON array of text."""

    estimate_id: UUID
    dimension: str
    bucket: str
    lines: int
    base: Decimal
    allowance: Decimal
    alternate: Decimal
    plugs: int
    uncoded: int
    unpriced: int


class Kpi(msgspec.Struct, frozen=True):
    """One bucket, added up. `bucket` is null for lines without a code; `path` is given for the dimension `wbs` alone.

    `base`, `allowance` and `alternate` are sums of extensions in `currency`, never added together. Of the lines,
    `plugs` await a quote, `uncoded` have no code and `unpriced` cost nothing.
    """

    currency: str
    bucket: str | None
    path: list[str] | None
    estimates: int
    lines: int
    base: Decimal
    allowance: Decimal
    alternate: Decimal
    plugs: int
    uncoded: int
    unpriced: int


projects_table = Table("estimate_kpis_projects", KpiProject, key=("project_id",))
estimates_table = Table("estimate_kpis_estimates", KpiEstimate, key=("estimate_id",))
lines_table = Table("estimate_kpis_lines", KpiLine, key=("estimate_id", "line_id"))
cells_table = Table("estimate_kpis_cells", KpiCell, key=("estimate_id", "dimension", "bucket"))


def code_section(code: str | None) -> str:
    """The code's first level: what stands before its first space, dot, hyphen or slash, four characters at most. So
    `03 30 00` is in 03, and `2452.503/02018` and `2452503/02018` are both in 2452. "" without a code.
    """
    found = _SECTION.search(code or "")
    return found[0] if found else ""


def contributions(line: KpiLine) -> Iterator[tuple[Key, tuple[Any, ...]]]:
    """Where a line counts, and with what."""
    amounts = tuple(
        line.extension if line.pricing == pricing else ZERO for pricing in ("base", "allowance", "alternate")
    )
    measures = (1, *amounts, int(line.plug), int(not line.code_section), int(not line.priced))
    yield (line.estimate_id, "all", ""), measures
    yield (line.estimate_id, "cost_type", line.cost_type), measures
    yield (line.estimate_id, "code_section", line.code_section), measures
    for level in range(1, min(len(line.wbs_path), WBS_LEVELS) + 1):
        yield (line.estimate_id, "wbs", wbs_bucket(line.wbs_path[:level])), measures


def wbs_bucket(path: Iterable[str]) -> str:
    """The bucket of a place in the work breakdown."""
    return msgspec.json.encode(list(path)).decode()


def project_created(row: KpiProject | None, seen: Seen, key: Key) -> KpiProject:
    event: ProjectCreated = seen.event
    return KpiProject(key[0], event.status, event.building_type, False, None)


def status_changed(row: KpiProject | None, seen: Seen, key: Key) -> KpiProject:
    return replace(_known(row), status=seen.event.now)


def metadata_changed(row: KpiProject | None, seen: Seen, key: Key) -> KpiProject:
    now = seen.event.now.given()
    return replace(_known(row), building_type=now["building_type"]) if "building_type" in now else _known(row)


def project_deleted(row: KpiProject | None, seen: Seen, key: Key) -> KpiProject:
    return replace(_known(row), deleted=True)


def project_restored(row: KpiProject | None, seen: Seen, key: Key) -> KpiProject:
    return replace(_known(row), deleted=False)


def version_numbered(row: KpiProject | None, seen: Seen, key: Key) -> KpiProject:
    return replace(_known(row), latest_estimate_id=seen.event.estimate_id)


def _known(row: KpiProject | None) -> KpiProject:
    if row is None:
        raise LookupError("the project was never created")
    return row


def estimate_started(row: KpiEstimate | None, seen: Seen, key: Key) -> KpiEstimate:
    event: EstimateStarted = seen.event
    return KpiEstimate(key[0], event.project_id, "draft", event.currency)


def estimate_submitted(row: KpiEstimate | None, seen: Seen, key: Key) -> KpiEstimate:
    return _in_status(row, "submitted")


def estimate_status_changed(row: KpiEstimate | None, seen: Seen, key: Key) -> KpiEstimate:
    return _in_status(row, seen.event.now)


def _in_status(row: KpiEstimate | None, status: str) -> KpiEstimate:
    if row is None:
        raise LookupError("the estimate was never started")
    return replace(row, status=status)


def line_in(row: KpiLine | None, seen: Seen, line: Line) -> KpiLine:
    return KpiLine(
        identity(seen.raw_stream_id),
        line.line_id,
        line.cost_type,
        code_section(line.code),
        list(line.wbs_path),
        line.pricing,
        line.extension,
        line.firmness == "plug",
        bool(line.extension),
    )


def line_revised(row: KpiLine | None, seen: Seen, key: Key) -> KpiLine:
    before = _line(row)
    event: LineRevised = seen.event
    now = event.now.given()
    counted = event.counted_now
    changed: dict[str, Any] = {"extension": counted.extension, "pricing": counted.pricing}
    changed["priced"] = bool(counted.extension)
    if "code" in now:
        changed["code_section"] = code_section(now["code"])
    if "cost_type" in now:
        changed["cost_type"] = now["cost_type"]
    if "firmness" in now:
        changed["plug"] = now["firmness"] == "plug"
    return replace(before, **changed)


def line_moved(row: KpiLine | None, seen: Seen, key: Key) -> KpiLine:
    before = _line(row)
    place = seen.event.now.given()
    return replace(before, wbs_path=list(place["wbs_path"])) if "wbs_path" in place else before


def line_out(row: KpiLine | None, seen: Seen, line: Line) -> None:
    return None


def _line(row: KpiLine | None) -> KpiLine:
    if row is None:
        raise LookupError("the line was never added")
    return row


bringing = (changes(lines_table, told_lines, line_in),)
taking = (changes(lines_table, told_lines, line_out),)
handled: dict[type[Event], Any] = {
    ProjectCreated: (change(projects_table, of_stream, project_created),),
    StatusChanged: (change(projects_table, of_stream, status_changed),),
    MetadataChanged: (change(projects_table, of_stream, metadata_changed),),
    ProjectDeleted: (change(projects_table, of_stream, project_deleted),),
    ProjectRestored: (change(projects_table, of_stream, project_restored),),
    VersionNumbered: (change(projects_table, of_stream, version_numbered),),
    EstimateStarted: (change(estimates_table, of_stream, estimate_started),),
    EstimateSubmitted: (change(estimates_table, of_stream, estimate_submitted),),
    EstimateStatusChanged: (change(estimates_table, of_stream, estimate_status_changed),),
    LineAdded: bringing,
    LineRestored: bringing,
    LinesImported: bringing,
    LineRemoved: taking,
    LinesRemoved: taking,
    LineRevised: (change(lines_table, named_line, line_revised),),
    LineMoved: (change(lines_table, named_line, line_moved),),
}
projection = Projection(
    name="estimate_kpis",
    version=1,
    sql=beside(__file__),
    tables=(projects_table, estimates_table, lines_table, cells_table),
    on=handled,
    ignores=frozenset[type[Event]](
        (
            ProjectRenamed,
            ActualsOpened,
            *company.company.events,
            *membership.membership.events,
            *estimates.estimate.events,
            *actuals.actuals.events,
            *codeset.codeset.events,
            *pricebook.pricebook.events,
            *OF_UPSTREAMS,
        )
    )
    - frozenset(handled),
    sums=(Sums(lines_table, cells_table, contributions),),
)


async def of_estimate(reader: Reader, estimate_id: UUID, dimension: Dimension, *, at: int) -> list[Kpi]:
    """An estimate by one dimension, the largest base first."""
    values = {"at": at, "estimate_id": estimate_id, "dimension": dimension}
    return await reader.rows(projection.sql["of_estimate"], values, Kpi)


async def is_known(reader: Reader, estimate_id: UUID, *, at: int) -> bool:
    """Whether the estimate had been started."""
    return bool(await reader.tuples(projection.sql["is_known"], {"at": at, "estimate_id": estimate_id}))


class Picked(msgspec.Struct, frozen=True):
    """Of the latest versions of projects that are not deleted, those that are added up."""

    project_id: UUID | None = None
    project_status: str | None = None
    estimate_status: str | None = None
    building_type: str | None = None


async def of_company(reader: Reader, dimension: Dimension, picked: Picked, *, at: int) -> list[Kpi]:
    """Latest versions by one dimension, added up by currency, the largest base first."""
    values = {"at": at, "dimension": dimension} | msgspec.structs.asdict(picked)
    return await reader.rows(projection.sql["of_company"], values, Kpi)
