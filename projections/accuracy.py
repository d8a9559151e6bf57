"""Finished projects, each with what it was estimated to cost and what it did: how good the estimates are."""

from collections.abc import Iterable
from datetime import date
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

import msgspec
from msgspec.structs import replace

from domain import codeset, company, pricebook
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
from domain.costs import Booked, booked, dearer
from domain.decider import Event, tag_of
from domain.estimate import estimate
from domain.estimate_events import EstimateSubmitted
from domain.membership import MemberAdded, membership
from domain.money import EXACT, ZERO
from domain.project import (
    MetadataChanged,
    ProjectCreated,
    ProjectDeleted,
    ProjectRenamed,
    ProjectRestored,
    project,
)
from domain.registry import OF_UPSTREAMS
from eventstore.db import Reader
from eventstore.sql import beside
from eventstore.vault import Keys, Vault
from projections.projection import Change, Key, Projection, Seen, Table, change, changes, identity, of_stream


class ProjectRow(msgspec.Struct, frozen=True):
    """What is said of a project in a comparison."""

    project_id: UUID
    name: str
    building_type: str | None
    deleted: bool


class MemberRow(msgspec.Struct, frozen=True):
    """Who may have submitted an estimate. The name is sealed."""

    member_id: UUID
    name: str


class BudgetRow(msgspec.Struct, frozen=True):
    """A submitted estimate: what the work was to cost, without the margin."""

    estimate_id: UUID
    budget: Decimal
    aace_class: int | None
    submitted_by: UUID


class ActualsRow(msgspec.Struct, frozen=True):
    """What a project has cost; `finished_on` is null while its books are open."""

    actuals_id: UUID
    project_id: UUID
    baseline_id: UUID
    currency: str
    amount: Decimal
    finished_on: date | None


class CostTypeRow(msgspec.Struct, frozen=True):
    """What it cost of one kind of money, in so many entries; what was booked against mark-ups is of none."""

    actuals_id: UUID
    cost_type: str
    amount: Decimal
    entries: int


class FinishedProject(msgspec.Struct, frozen=True):
    """A finished project: budget without the margin, and actual cost. `estimator_id` submitted the estimate; in an
    answer the name is clear, or erased.
    """

    project_id: UUID
    actuals_id: UUID
    baseline_id: UUID
    name: str
    building_type: str | None
    estimator_id: UUID
    estimator_name: str | None
    aace_class: int | None
    currency: str
    budget: Decimal
    actual: Decimal
    finished_on: date


class SpentOnType(msgspec.Struct, frozen=True):
    """What a finished project cost of one kind of money."""

    baseline_id: UUID
    cost_type: str
    amount: Decimal


_ADDED: Final = tag_of(MemberAdded)

projects_table = Table("accuracy_projects", ProjectRow, key=("project_id",))
members_table = Table("accuracy_members", MemberRow, key=("member_id",))
budgets_table = Table("accuracy_budgets", BudgetRow, key=("estimate_id",))
actuals_table = Table("accuracy_actuals", ActualsRow, key=("actuals_id",))
types_table = Table("accuracy_types", CostTypeRow, key=("actuals_id", "cost_type"))


def project_created(row: ProjectRow | None, seen: Seen, key: Key) -> ProjectRow:
    return ProjectRow(key[0], seen.event.name, seen.event.building_type, False)


def project_changed(row: ProjectRow | None, seen: Seen, key: Key) -> ProjectRow:
    if row is None:
        raise LookupError("the project was never created")
    return replace(row, **_of_project(seen.event))


def _of_project(event: Event) -> dict[str, Any]:
    if isinstance(event, ProjectRenamed):
        return {"name": event.now}
    if isinstance(event, ProjectRestored):
        return {"name": event.name, "deleted": False}
    if isinstance(event, MetadataChanged):
        return {name: value for name, value in event.now.given().items() if name == "building_type"}
    return {"deleted": True}


def member_added(row: MemberRow | None, seen: Seen, key: Key) -> MemberRow:
    return MemberRow(key[0], seen.event.name)


def submitted(row: BudgetRow | None, seen: Seen, key: Key) -> BudgetRow:
    event: EstimateSubmitted = seen.event
    cost = event.totals.base if event.cost is None else event.cost
    return BudgetRow(key[0], cost, event.aace_class, identity(seen.raw_actor))


def opened(row: ActualsRow | None, seen: Seen, key: Key) -> ActualsRow:
    event: Opened = seen.event
    return ActualsRow(key[0], event.project_id, event.baseline_id, event.currency, ZERO, None)


def actuals_changed(row: ActualsRow | None, seen: Seen, key: Key) -> ActualsRow:
    if row is None:
        raise LookupError("the actuals were never opened")
    event = seen.event
    if isinstance(event, BaselineChanged):
        return replace(row, baseline_id=event.now)
    if isinstance(event, Finished):
        return replace(row, finished_on=event.finished_on)
    if isinstance(event, Reopened):
        return replace(row, finished_on=None)
    if isinstance(event, RiskCostRecorded):
        return replace(row, amount=EXACT.add(row.amount, event.cost))
    if isinstance(event, RiskCostCorrected):
        return replace(row, amount=EXACT.add(row.amount, dearer(event.was, event.now)))
    amount = row.amount
    for part, sign in _parts(event):
        amount = EXACT.add(amount, part.amount * sign)
    return replace(row, amount=amount)


def _parts(event: CostsRecorded | CostCorrected | CostRemoved) -> Iterable[tuple[Booked, int]]:
    if isinstance(event, CostsRecorded):
        return [(booked(entry), 1) for entry in event.entries]
    if isinstance(event, CostCorrected):
        return [(event.booked_was, -1), (event.booked_now, 1)]
    return [(booked(event.entry), -1)]


def types_changed(seen: Seen) -> Iterable[tuple[Key, tuple[Key, Decimal, int]]]:
    """One part per kind of money, however many entries the event has."""
    found: dict[str, tuple[Decimal, int]] = {}
    for part, sign in _parts(seen.event):
        if part.markup_id is not None:
            continue
        amount, entries = found.get(part.cost_type, (ZERO, 0))
        found[part.cost_type] = EXACT.add(amount, part.amount * sign), entries + sign
    actuals_id = identity(seen.raw_stream_id)
    return [((actuals_id, kind), ((actuals_id, kind), *each)) for kind, each in found.items()]


def type_changed(row: CostTypeRow | None, seen: Seen, part: tuple[Key, Decimal, int]) -> CostTypeRow | None:
    key, amount, entries = part
    if row is not None:
        amount, entries = EXACT.add(row.amount, amount), row.entries + entries
    return CostTypeRow(key[0], key[1], amount, entries) if entries else None


changing = change(actuals_table, of_stream, actuals_changed)
costing = (changing, changes(types_table, types_changed, type_changed))
project_changing = change(projects_table, of_stream, project_changed)

_HANDLED: dict[type[Event], tuple[Change, ...]] = {
    ProjectCreated: (change(projects_table, of_stream, project_created),),
    ProjectRenamed: (project_changing,),
    MetadataChanged: (project_changing,),
    ProjectDeleted: (project_changing,),
    ProjectRestored: (project_changing,),
    MemberAdded: (change(members_table, of_stream, member_added),),
    EstimateSubmitted: (change(budgets_table, of_stream, submitted),),
    Opened: (change(actuals_table, of_stream, opened),),
    BaselineChanged: (changing,),
    CostsRecorded: costing,
    CostCorrected: costing,
    CostRemoved: costing,
    RiskCostRecorded: (changing,),
    RiskCostCorrected: (changing,),
    Finished: (changing,),
    Reopened: (changing,),
}

projection = Projection(
    name="accuracy",
    version=1,
    sql=beside(__file__),
    tables=(projects_table, members_table, budgets_table, actuals_table, types_table),
    on=_HANDLED,
    ignores=frozenset[type[Event]](
        (
            *(event for event in (*project.events, *membership.events, *estimate.events) if event not in _HANDLED),
            *codeset.codeset.events,
            *company.company.events,
            *pricebook.pricebook.events,
            DurationSet,
            FindingAdded,
            FindingRevised,
            FindingRemoved,
            VarianceExplained,
            *OF_UPSTREAMS,
        )
    ),
)


async def finished(
    reader: Reader, vault: Vault, *, at: int, limit: int | None = None, after: UUID | None = None
) -> list[FinishedProject]:
    """Projects whose books are finished, in order of id: a page after `after`, or all. Deleted ones are left out."""
    values = {"at": at, "limit": limit, "after": after or UUID(int=0)}
    rows = await reader.rows(projection.sql["finished"], values, FinishedProject)
    keys = await vault.fetch(reader, {row.estimator_id for row in rows})
    return [_shown(row, keys) for row in rows]


def _shown(row: FinishedProject, keys: Keys) -> FinishedProject:
    if row.estimator_name is None:
        return row
    return replace(row, estimator_name=keys.shown(row.estimator_id, _ADDED, "name", row.estimator_name))


async def by_cost_type(reader: Reader, *, at: int) -> list[SpentOnType]:
    """What finished projects cost, by kind of money; not what was booked against mark-ups."""
    return await reader.rows(projection.sql["by_cost_type"], {"at": at}, SpentOnType)
