"""How well the company's estimates met what finished projects really cost."""

from collections import defaultdict
from collections.abc import Iterable
from datetime import date
from decimal import Decimal
from typing import Final, Literal, TypeAlias
from uuid import UUID

import msgspec
from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import FromQuery

from api.views import Page, PagedView, View
from domain.accuracy import Accuracy, accuracy
from domain.money import EXACT, ZERO
from domain.variance import fraction_of, word_of
from projections import accuracy as model
from projections import estimate_detail
from projections.accuracy import FinishedProject

By: TypeAlias = Literal["building-type", "cost-type", "estimator", "aace-class"]

_OF_ACCURACY: Final = {"model": "accuracy", "persons": True}
_OF_BOTH: Final = {"model": "accuracy", "beside": ("estimate_detail",), "persons": True}


class ComparedProject(msgspec.Struct, frozen=True, kw_only=True):
    """A finished project. `variance` is actual − budget, `fraction` it as a fraction of the budget; null at 0."""

    project_id: UUID
    actuals_id: UUID
    baseline_id: UUID
    name: str
    building_type: str | None
    estimator_id: UUID
    estimator_name: str | None
    aace_class: int | None
    currency: str
    finished_on: date
    budget: Decimal
    actual: Decimal
    variance: Decimal
    word: str
    fraction: Decimal | None


class AccuracyGroup(msgspec.Struct, frozen=True, kw_only=True):
    """The accuracy of the projects of one group; `group` is null where they do not say."""

    group: str | None
    name: str | None
    accuracy: Accuracy


class AccuracyAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The accuracy over all finished projects, and group by group. Deleted projects are left out."""

    by: str
    overall: Accuracy
    groups: list[AccuracyGroup]


@get("/accuracy/projects", operation_id="FinishedProjects", tags=["accuracy"], opt=_OF_ACCURACY)
async def finished_projects(paged: NamedDependency[PagedView]) -> Response[Page[ComparedProject]]:
    """Every finished project with its budget and its actual cost, both without the margin."""
    rows = await model.finished(paged.reader, paged.vault, at=paged.at, limit=paged.limit + 1, after=paged.after(UUID))
    return paged.page([_compared(row) for row in rows], lambda row: row.project_id)


def _compared(row: FinishedProject) -> ComparedProject:
    variance = EXACT.subtract(row.actual, row.budget)
    return ComparedProject(
        **msgspec.structs.asdict(row),
        variance=variance,
        word=word_of(variance),
        fraction=fraction_of(variance, row.budget),
    )


@get("/accuracy", operation_id="Accuracy", tags=["accuracy"], opt=_OF_BOTH)
async def accuracy_of_estimates(
    view: NamedDependency[View], by: FromQuery[By] = "building-type"
) -> Response[AccuracyAnswer]:
    """How far actual costs of finished projects were from their budgets: bias, spread, median and mean size of the
    variance as a fraction of the budget; over all, and by building type, kind of money, estimator or AACE class.
    """
    rows = [_compared(row) for row in await model.finished(view.reader, view.vault, at=view.at)]
    groups = await _by_cost_type(view, rows) if by == "cost-type" else [_grouping(row, by) for row in rows]
    overall = accuracy(row.fraction for row in rows)
    return view.answer(AccuracyAnswer(by=by, overall=overall, groups=_groups(groups)))


Fractions: TypeAlias = tuple[str | None, str | None, Decimal | None]
"""Group, its name, and a fraction in it."""


def _grouping(row: ComparedProject, by: By) -> Fractions:
    if by == "estimator":
        return str(row.estimator_id), row.estimator_name, row.fraction
    if by == "aace-class":
        return None if row.aace_class is None else str(row.aace_class), None, row.fraction
    return row.building_type, None, row.fraction


async def _by_cost_type(view: View, rows: Iterable[ComparedProject]) -> list[Fractions]:
    """A fraction for each project and kind of money that was budgeted or spent in it; base lines and codes alone."""
    baselines = [row.baseline_id for row in rows]
    budgeted: dict[tuple[UUID, str], Decimal] = {
        (each.estimate_id, each.cost_type): each.amount
        for each in await estimate_detail.base_by_cost_type(view.reader, baselines, at=view.at)
    }
    spent = {
        (each.baseline_id, each.cost_type): each.amount for each in await model.by_cost_type(view.reader, at=view.at)
    }
    found: list[Fractions] = []
    for key in sorted({*budgeted, *spent}):
        budget = budgeted.get(key, ZERO)
        found.append((key[1], None, fraction_of(EXACT.subtract(spent.get(key, ZERO), budget), budget)))
    return found


def _groups(rows: Iterable[Fractions]) -> list[AccuracyGroup]:
    """In order of their group, those without one last."""
    gathered: dict[tuple[str | None, str | None], list[Decimal | None]] = defaultdict(list)
    for group, name, fraction in rows:
        gathered[group, name].append(fraction)
    in_order = sorted(gathered.items(), key=lambda each: (each[0][0] is None, each[0][0] or ""))
    return [AccuracyGroup(group=group, name=name, accuracy=accuracy(each)) for (group, name), each in in_order]


PAGED = (finished_projects,)
SINGLE = (accuracy_of_estimates,)
