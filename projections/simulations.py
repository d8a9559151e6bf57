"""Simulations of estimates' risks: what was asked for, what is still waited for, what was found."""

from datetime import datetime
from decimal import Decimal
from typing import Final
from uuid import UUID

import msgspec
from msgspec.structs import replace

from domain import actuals, codeset, company, estimate, membership, pricebook, project
from domain.decider import Event
from domain.registry import OF_UPSTREAMS
from domain.simulation import Figures, SimulatedRisk, SimulationCompleted, SimulationFailed, SimulationRequested
from eventstore.db import Reader
from eventstore.log import POSITION_MAX
from eventstore.sql import beside
from projections.projection import Change, Key, Projection, Seen, Table, change, identity

REQUESTED: Final = "requested"
COMPLETED: Final = "completed"
FAILED: Final = "failed"


class SimulationRow(msgspec.Struct, frozen=True):
    """A simulation as it is stored; `figures` of one that is completed, `reason` of one that failed."""

    estimate_id: UUID
    simulation_id: UUID
    requested_position: int
    status: str
    trials: int
    seed: int
    method: str
    input_version: int
    currency: str
    expected: Decimal
    risks: tuple[SimulatedRisk, ...]
    requested_at: datetime
    requested_by: UUID
    request_event_id: UUID
    finished_at: datetime | None
    figures: Figures | None
    reason: str | None


class SimulationListed(msgspec.Struct, frozen=True):
    """A simulation without what it was drawn from."""

    estimate_id: UUID
    simulation_id: UUID
    requested_position: int
    status: str
    trials: int
    seed: int
    method: str
    input_version: int
    currency: str
    expected: Decimal
    risk_count: int
    requested_at: datetime
    requested_by: UUID
    finished_at: datetime | None
    figures: Figures | None
    reason: str | None


runs_table = Table("simulations_runs", SimulationRow, key=("estimate_id", "simulation_id"))


def of_simulation(seen: Seen) -> list[Key]:
    return [(identity(seen.raw_stream_id), seen.event.simulation_id)]


def requested(row: SimulationRow | None, seen: Seen, key: Key) -> SimulationRow:
    event: SimulationRequested = seen.event
    return SimulationRow(
        estimate_id=key[0],
        simulation_id=key[1],
        requested_position=seen.position,
        status=REQUESTED,
        trials=event.trials,
        seed=event.seed,
        method=event.method,
        input_version=event.input_version,
        currency=event.currency,
        expected=event.expected,
        risks=event.risks,
        requested_at=seen.recorded_at,
        requested_by=identity(seen.raw_actor),
        request_event_id=identity(seen.raw_event_id),
        finished_at=None,
        figures=None,
        reason=None,
    )


def completed(row: SimulationRow | None, seen: Seen, key: Key) -> SimulationRow:
    return _finished(row, seen, status=COMPLETED, figures=seen.event.figures)


def failed(row: SimulationRow | None, seen: Seen, key: Key) -> SimulationRow:
    return _finished(row, seen, status=FAILED, reason=seen.event.reason)


def _finished(row: SimulationRow | None, seen: Seen, **found: object) -> SimulationRow:
    if row is None:
        raise LookupError("the simulation was never requested")
    return replace(row, finished_at=seen.recorded_at, **found)


_ON: Final[dict[type[Event], tuple[Change, ...]]] = {
    SimulationRequested: (change(runs_table, of_simulation, requested),),
    SimulationCompleted: (change(runs_table, of_simulation, completed),),
    SimulationFailed: (change(runs_table, of_simulation, failed),),
}

projection = Projection(
    name="simulations",
    version=1,
    sql=beside(__file__),
    tables=(runs_table,),
    on=_ON,
    ignores=frozenset[type[Event]](
        (
            *actuals.actuals.events,
            *codeset.codeset.events,
            *pricebook.pricebook.events,
            *company.company.events,
            *membership.membership.events,
            *project.project.events,
            *(event for event in estimate.estimate.events if event not in _ON),
            *OF_UPSTREAMS,
        )
    ),
)


async def simulation(reader: Reader, estimate_id: UUID, simulation_id: UUID, *, at: int) -> SimulationRow | None:
    """One simulation with all it was drawn from."""
    values = {"estimate_id": estimate_id, "simulation_id": simulation_id, "at": at}
    rows = await _rows(reader, "simulation", values)
    return rows[0] if rows else None


async def of_estimate(
    reader: Reader, estimate_id: UUID, *, at: int, limit: int, after: int | None = None
) -> list[SimulationListed]:
    """A page of an estimate's simulations, the latest first: those requested before the position `after`."""
    values = {"estimate_id": estimate_id, "at": at, "limit": limit, "after": POSITION_MAX if after is None else after}
    found = await reader.rows(projection.sql["of_estimate"], values, SimulationListed)
    return [replace(row, figures=msgspec.convert(row.figures, Figures | None)) for row in found]


async def waiting(reader: Reader, *, limit: int) -> list[SimulationRow]:
    """What the bound company asked for and nobody has finished, in the order it was asked for."""
    return await _rows(reader, "waiting", {"at": POSITION_MAX, "limit": limit})


async def _rows(reader: Reader, statement: str, values: dict[str, object]) -> list[SimulationRow]:
    found = await reader.rows(projection.sql[statement], values, SimulationRow)
    return [
        replace(
            row,
            risks=msgspec.convert(row.risks, tuple[SimulatedRisk, ...]),
            figures=msgspec.convert(row.figures, Figures | None),
        )
        for row in found
    ]
