"""The read model of simulations: what waits, what was found, now and as of a position."""

from decimal import Decimal
from uuid import UUID, uuid4

from domain.simulation import PERCENTS, SimulatedRisk
from eventstore.log import POSITION_MAX
from projections import activity_log, estimate_detail, simulations
from tests.projections.commands import edit, estimate, project
from tests.projections.conftest import Company, World

NOW = POSITION_MAX
FIGURES = {
    "mean": "30.00",
    "standard_deviation": "1.00",
    "curve": [str(percent) for percent in range(PERCENTS)],
    "method_version": 1,
    "bit_generator": "PCG64",
    "numpy_version": "2",
}
RISK = UUID(int=9)


async def test_what_waits_and_what_was_found(world: World, company: Company) -> None:
    id_ = await estimate(company, await project(company))
    figures = {"probability": "0.15", "low": "100000", "high": "300000"}
    await edit(company, id_, "add-risk", risk_id=str(RISK), kind="threat", title="Utilities", **figures)
    first, second = uuid4(), uuid4()
    for simulation in (first, second):
        body = {"simulation_id": str(simulation), "trials": 1_000, "seed": 2**63 - 1}
        asked = await edit(company, id_, "request-simulation", **body)
    await edit(company, id_, "record-simulation", simulation_id=str(first), figures=FIGURES)
    done = await edit(company, id_, "fail-simulation", simulation_id=str(second), reason="No memory.")
    await (await world.engine()).advance(company.tenant, to=asked)
    async with company.reading() as reader:
        assert [row.simulation_id for row in await simulations.waiting(reader, limit=10)] == [first, second]
    await (await world.engine(projection_batch_events_max=1)).advance(company.tenant)
    async with company.reading() as reader:
        assert await simulations.waiting(reader, limit=10) == []
        [failed, completed] = await simulations.of_estimate(reader, id_, at=NOW, limit=10)
        then = await simulations.of_estimate(reader, id_, at=asked, limit=10)
        row = await simulations.simulation(reader, id_, first, at=NOW)
        head = await estimate_detail.estimate(reader, id_, at=NOW)
        told = await activity_log.entries(reader, world.vault, at=NOW, limit=4)
    assert (failed.status, failed.reason, failed.figures) == ("failed", "No memory.", None)
    assert (completed.status, completed.reason, completed.risk_count) == ("completed", None, 1)
    assert [each.status for each in then] == ["requested", "requested"]
    assert row is not None
    assert row.risks == (
        SimulatedRisk(risk_id=RISK, probability=Decimal("0.15"), low=Decimal(100_000), high=Decimal(300_000)),
    )
    assert (row.seed, row.input_version, row.expected) == (2**63 - 1, 2, Decimal(30_000))
    assert row.figures is not None
    assert row.figures.curve == tuple(map(Decimal, range(PERCENTS)))
    assert head is not None
    assert (head.stream_version, head.updated_at) == (
        6,
        told[-1].recorded_at - (told[-1].recorded_at - head.updated_at),
    )
    assert [each.type.partition(".")[2] for each in told] == [
        "simulation-failed",
        "simulation-completed",
        "simulation-requested",
        "simulation-requested",
    ]
    assert told[2].now["risk_count"] == 1
    assert "risks" not in told[2].now
    assert done == told[0].position
