"""Simulations of an estimate's risks: how far they are, what they found, and the curve."""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

import msgspec
from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath

from api import curve
from api.problems import Problem
from api.views import Page, PagedView, View, found
from domain.simulation import Figures, SimulatedRisk
from eventstore import operations
from eventstore.log import POSITION_MAX
from eventstore.operations import Progress
from projections import estimate_detail, simulations
from projections.simulations import REQUESTED, SimulationListed, SimulationRow

PERCENTS: Final = (1, *range(5, 100, 5), 99)
RUNNING: Final = "running"
_MOVING: Final = {"model": "simulations", "volatile": True}
"""A simulation moves on without an event, so no answer is good for longer than it takes to read it."""


class Percentile(msgspec.Struct, frozen=True):
    """The least total that so many percent of the trials do not exceed."""

    percent: int
    amount: Decimal


class MadeWith(msgspec.Struct, frozen=True):
    """What must be the same for the same seed to give the same figures."""

    method_version: int
    bit_generator: str
    numpy_version: str


class Distribution(msgspec.Struct, frozen=True, kw_only=True):
    """What the trials came to. `mean` is drawn, and nears the expected value; neither is a percentile."""

    mean: Decimal
    standard_deviation: Decimal
    percentiles: list[Percentile]
    made_with: MadeWith


class Simulation(msgspec.Struct, frozen=True, kw_only=True):
    """A simulation. `status`: requested, running, completed or failed; `progress` is that of a running one, in trials.

    `expected_value` is the sum of the risks' contributions, worked out exactly; `input_version` the stream version of
    the estimate whose risks were drawn.
    """

    estimate_id: UUID
    simulation_id: UUID
    status: str
    trials: int
    seed: int
    method: str
    input_version: int
    currency: str
    risk_count: int
    requested_at: datetime
    requested_by: UUID
    finished_at: datetime | None
    progress: Progress | None
    expected_value: Decimal
    distribution: Distribution | None
    reason: str | None


class SimulationInFull(Simulation, frozen=True, kw_only=True):
    """A simulation with all it was drawn from, and its curve: percentiles 0 to 100."""

    risks: tuple[SimulatedRisk, ...]
    curve: list[Percentile] | None


@get("/estimates/{id:uuid}/simulations", operation_id="SimulationsOfEstimate", tags=["estimate"], opt=_MOVING)
async def simulations_of_estimate(paged: NamedDependency[PagedView], id: FromPath[UUID]) -> Response[Page[Simulation]]:
    """Its simulations, the latest first, without curve and inputs."""
    rows = await simulations.of_estimate(paged.reader, id, at=paged.at, limit=paged.limit + 1, after=paged.after(int))
    if not rows:
        found(await estimate_detail.estimate(paged.reader, id, at=paged.at))
    progress = await _progress(paged, rows)
    positions = {row.simulation_id: row.requested_position for row in rows}
    listed = [Simulation(**_told(row, progress), risk_count=row.risk_count) for row in rows]
    return paged.page(listed, lambda row: positions[row.simulation_id])


@get(
    "/estimates/{id:uuid}/simulations/{simulation_id:uuid}",
    operation_id="Simulation",
    tags=["estimate"],
    opt=_MOVING,
)
async def simulation(
    view: NamedDependency[View], id: FromPath[UUID], simulation_id: FromPath[UUID]
) -> Response[SimulationInFull]:
    """One simulation: how far it is, or what it found, and the inputs it was drawn from."""
    row = found(await simulations.simulation(view.reader, id, simulation_id, at=view.at))
    told = _told(row, await _progress(view, [row]))
    points = None if row.figures is None else _percentiles(row.figures, range(101))
    return view.answer(SimulationInFull(**told, risk_count=len(row.risks), risks=row.risks, curve=points))


@get(
    "/estimates/{id:uuid}/simulations/{simulation_id:uuid}/curve.svg",
    operation_id="CurveOfSimulation",
    tags=["estimate"],
    opt={"model": "simulations"},
    media_type="image/svg+xml",
)
async def curve_of_simulation(
    view: NamedDependency[View], id: FromPath[UUID], simulation_id: FromPath[UUID]
) -> Response[str]:
    """The curve as a picture: how sure it is that the risks cost no more than an amount."""
    row = found(await simulations.simulation(view.reader, id, simulation_id, at=view.at))
    if row.figures is None:
        raise Problem("simulation.no-curve", status=row.status)
    picture = curve.svg(curve.Curve(row.figures.curve, row.expected, row.currency, row.trials, row.seed))
    headers = view.headers | {"Content-Security-Policy": "default-src 'none'", "X-Content-Type-Options": "nosniff"}
    return Response(picture, media_type="image/svg+xml", headers=headers)


async def _progress(view: View, rows: list[SimulationListed] | list[SimulationRow]) -> Mapping[UUID, Progress]:
    """Of those that are computed now. The past shows none: how far a computation was is not kept."""
    moving = [row.simulation_id for row in rows if row.status == REQUESTED]
    return await operations.progress(view.reader, moving) if moving and view.at == POSITION_MAX else {}


def _told(row: SimulationListed | SimulationRow, progress: Mapping[UUID, Progress]) -> dict[str, Any]:
    same = set(Simulation.__struct_fields__) & set(row.__struct_fields__) - {"risk_count"}
    moving = progress.get(row.simulation_id)
    return {name: getattr(row, name) for name in same} | {
        "status": row.status if moving is None else RUNNING,
        "progress": moving,
        "expected_value": row.expected,
        "distribution": None if row.figures is None else _distribution(row.figures),
    }


def _distribution(figures: Figures) -> Distribution:
    return Distribution(
        mean=figures.mean,
        standard_deviation=figures.standard_deviation,
        percentiles=_percentiles(figures, PERCENTS),
        made_with=MadeWith(figures.method_version, figures.bit_generator, figures.numpy_version),
    )


def _percentiles(figures: Figures, percents: range | tuple[int, ...]) -> list[Percentile]:
    return [Percentile(percent, figures.curve[percent]) for percent in percents]


PAGED = (simulations_of_estimate,)
SINGLE = (simulation, curve_of_simulation)
