"""The whole company's work: figures by category, the portfolio, and what projects were forecast to cost."""

from datetime import date
from typing import Annotated
from uuid import UUID

import msgspec
from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, QueryParameter

from api.problems import Problem
from api.views import View
from projections import estimate_kpis, project_list
from projections.estimate_kpis import Dimension, Kpi, Picked
from projections.project_list import ForecastRow, Grouping, PortfolioRow

By = Annotated[Dimension, QueryParameter(description="What lines are counted by; `all` for one sum.")]


class Portfolio(msgspec.Struct, frozen=True):
    """The latest version of each project that is not deleted, added up by group and currency. `without_estimate` counts
    projects that have none yet.
    """

    by: Grouping
    groups: list[PortfolioRow]
    without_estimate: int


class Forecast(msgspec.Struct, frozen=True):
    """What projects were to cost as of a business date, by currency."""

    effective_on: date
    sums: list[ForecastRow]


class Kpis(msgspec.Struct, frozen=True):
    """Figures by one dimension."""

    by: Dimension
    buckets: list[Kpi]


@get("/portfolio", operation_id="Portfolio", tags=["portfolio"], opt={"model": "project_list"})
async def portfolio(
    view: NamedDependency[View],
    by: Annotated[Grouping, QueryParameter(description="What projects are grouped by.")] = "estimate_status",
) -> Response[Portfolio]:
    """Pipeline, awarded and lost work: projects, cost, risk, bid and margin of their latest versions."""
    groups = await project_list.portfolio(view.reader, by, at=view.at)
    return view.answer(Portfolio(by, groups, await project_list.without_estimate(view.reader, at=view.at)))


@get("/portfolio/forecast", operation_id="PortfolioForecast", tags=["portfolio"], opt={"model": "project_list"})
async def portfolio_forecast(
    view: NamedDependency[View],
    effective_on: Annotated[date, QueryParameter(description="A business date.")],
) -> Response[Forecast]:
    """What all projects were to cost as of a business date: of each the newest version effective by then. `at=` asks
    what was known of it at a position.
    """
    return view.answer(Forecast(effective_on, await project_list.forecast(view.reader, effective_on, at=view.at)))


@get("/portfolio/kpis", operation_id="PortfolioKpis", tags=["portfolio"], opt={"model": "estimate_kpis"})
async def portfolio_kpis(
    view: NamedDependency[View],
    *,
    by: By = "cost_type",
    project_id: FromQuery[UUID | None] = None,
    project_status: FromQuery[str | None] = None,
    estimate_status: FromQuery[str | None] = None,
    building_type: FromQuery[str | None] = None,
) -> Response[Kpis]:
    """Counts, sums and what is missing over the latest versions of the projects picked."""
    picked = Picked(
        project_id=project_id,
        project_status=project_status,
        estimate_status=estimate_status,
        building_type=building_type,
    )
    return view.answer(Kpis(by, await estimate_kpis.of_company(view.reader, by, picked, at=view.at)))


@get("/estimates/{id:uuid}/kpis", operation_id="KpisOfEstimate", tags=["estimate"], opt={"model": "estimate_kpis"})
async def kpis_of_estimate(view: NamedDependency[View], id: FromPath[UUID], by: By = "cost_type") -> Response[Kpis]:
    """Counts, sums and what is missing in one version."""
    if not await estimate_kpis.is_known(view.reader, id, at=view.at):
        raise Problem("thing.unknown")
    return view.answer(Kpis(by, await estimate_kpis.of_estimate(view.reader, id, by, at=view.at)))


PAGED = ()
SINGLE = (portfolio, portfolio_forecast, portfolio_kpis, kpis_of_estimate)
