"""Whatever happened, and however it was cut into batches: the same rows; and the past is what a replay says it was."""

from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from itertools import accumulate
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domain.actuals import Actuals, recorded_amount
from domain.costs import Entry, code_key
from domain.decider import Command, Ref
from domain.estimate_state import Estimate, bridge_of
from domain.lines import Line, in_order
from domain.project import Project
from domain.registry import BY_CATEGORY
from domain.risks import exposure
from eventstore import log
from eventstore.db import Reader
from projections import (
    accuracy,
    actuals_detail,
    builds,
    delivery,
    estimate_detail,
    project_list,
    project_names,
    variance,
)
from projections.engine import Engine, Target
from projections.registry import FOLLOWED, PROJECTIONS
from tests.projections.commands import command, line
from tests.projections.conftest import Company, World
from tests.strategies import ACTUALS_IDS, ESTIMATE_IDS, LINE_IDS, PROJECT_IDS, scripts

Script = Sequence[tuple[Ref, Command]]
MODELS = [projection.name for projection in PROJECTIONS]
CATEGORIES = ("project", "estimate", "membership", "company")
OF_COSTS = ("actuals", "codeset", "pricebook", "project")


def opening() -> list[tuple[Ref, Command]]:
    """Gives random commands something to meet: projects, estimates, lines and an owner."""
    owner = command("membership", "add-member", name="Ada", email="ada@northern.example", role="owner")
    created = [
        (Ref("project", each), command("project", "create-project", name=f"P {number}"))
        for number, each in enumerate(PROJECT_IDS)
    ]
    body = {"project_id": str(PROJECT_IDS[0]), "currency": "USD", "target_margin": "0.1"}
    started = [(Ref("estimate", each), command("estimate", "start-estimate", **body)) for each in ESTIMATE_IDS[:2]]
    lines = [
        (Ref("estimate", ESTIMATE_IDS[0]), command("estimate", "add-line", **line(1, line_id=str(each))))
        for each in LINE_IDS[:3]
    ]
    return [(Ref("membership", UUID(int=99)), owner), *created, *started, *lines]


def costing() -> list[tuple[Ref, Command]]:
    """A submitted estimate, and actual costs beside it."""
    own, actuals = Ref("estimate", ESTIMATE_IDS[3]), Ref("actuals", ACTUALS_IDS[0])
    started = {"project_id": str(PROJECT_IDS[1]), "currency": "USD"}
    codes = [
        {"code": "A"},
        {"code": "A", "code_set": "MnDOT"},
        {},
        {"code": "A", "unit": "SY"},
        {"pricing": "alternate"},
    ]
    risk = {"kind": "threat", "title": "Peat", "probability": "0.4", "low": "20", "high": "60"}
    markup = {"kind": "overhead", "name": "Overhead", "markup_id": str(LINE_IDS[0]), "on": "direct", "rate": "0.1"}
    overhead = {"entry_id": str(LINE_IDS[2]), "markup_id": str(LINE_IDS[0]), "code": None}
    named = {"estimate_id": str(own.id), "risk_id": str(LINE_IDS[0])}
    occurred = {**named, "cost": "48", "occurred_on": "2020-01-01", "note": "Peat"}
    cost = {"amount": "12.34", "booked_on": "2020-01-01", "quantity": "7", "unit": "EA", "code": "A"}
    return [
        (own, command("estimate", "start-estimate", **started)),
        (own, command("estimate", "import-lines", lines=[line(n, **each) for n, each in enumerate(codes)])),
        (own, command("estimate", "add-risk", risk_id=str(LINE_IDS[0]), **risk)),
        (own, command("estimate", "set-markups", markups=[markup])),
        (own, command("estimate", "submit-estimate")),
        (actuals, command("actuals", "open-actuals", baseline_id=str(own.id), project_id=str(PROJECT_IDS[1]))),
        (actuals, command("actuals", "record-costs", entries=[{"entry_id": str(LINE_IDS[0]), **cost}])),
        (actuals, command("actuals", "record-costs", entries=[{"entry_id": str(LINE_IDS[1]), **cost, "code": None}])),
        (actuals, command("actuals", "record-costs", entries=[{**cost, **overhead}])),
        (actuals, command("actuals", "record-risk-occurrence", **occurred)),
        (actuals, command("actuals", "correct-risk-cost", cost="9", reason="Account", **named)),
    ]


class Bench:
    """Two further builds of every model, for companies to be replayed into."""

    def __init__(self, world: World, engine: Engine, whole: list[Target], part: list[Target]) -> None:
        self.world = world
        self.engine = engine
        self.whole = whole
        self.part = part

    async def live(self) -> list[Target]:
        """The builds that queries see, of every model."""
        async with self.world.projector.connection() as connection:
            found = await builds.builds_of(connection, MODELS)
            return [await self.engine.target(connection, build) for build in found if build.state == "live"]

    async def digests(self, targets: Sequence[Target], tenant: UUID, at: int) -> dict[str, Any]:
        """Of every table."""
        found: dict[str, Any] = {}
        async with self.world.projector.bound(tenant) as reader:
            for target in targets:
                found |= await target.tables.digests(reader, at)
        return found


@pytest.fixture
async def bench(world: World) -> Bench:
    """Builds beside the live ones."""
    engine = await world.engine()
    made: list[list[Target]] = []
    for _ in range(2):
        async with world.projector.connection() as connection:
            row = []
            for projection in PROJECTIONS:
                async with connection.transaction():
                    build = await builds.create(connection, projection, "scratch")
                row.append(await engine.target(connection, build))
            made.append(row)
    return Bench(world, engine, made[0], made[1])


@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(script=scripts(*CATEGORIES, longest=30), cuts=st.lists(st.integers(1, 9), min_size=1), part=st.integers(0, 100))
async def test_batches_do_not_matter_and_the_past_is_what_a_replay_says(
    bench: Bench, script: Script, cuts: list[int], part: int
) -> None:
    await _hold(bench, [*opening(), *script], cuts, part)


@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(script=scripts(*OF_COSTS, longest=30), cuts=st.lists(st.integers(1, 9), min_size=1), part=st.integers(0, 100))
async def test_the_same_of_actual_costs(bench: Bench, script: Script, cuts: list[int], part: int) -> None:
    await _hold(bench, [*opening(), *costing(), *script], cuts, part)


async def _hold(bench: Bench, script: Script, cuts: list[int], part: int) -> None:
    company = bench.world.company()
    reached = await company.run(script)
    at = 1 + part * (reached - 1) // 100
    engine = await bench.world.engine(projection_batch_events_max=cuts[0] * 4)
    for cut in accumulate(cuts):  # ends of batches elsewhere, and everything asked for twice
        for _ in range(2):
            await engine.advance(company.tenant, to=min(reached, cut))
    await engine.advance(company.tenant)
    await bench.engine.advance(company.tenant, targets=bench.whole)
    await bench.engine.advance(company.tenant, targets=bench.part, to=at)
    live = await bench.live()
    assert await bench.digests(live, company.tenant, reached) == await bench.digests(
        bench.whole, company.tenant, reached
    )
    assert await bench.digests(live, company.tenant, at) == await bench.digests(bench.part, company.tenant, at)
    await _tells_what_the_domain_says(company, at)
    await _tells_what_the_domain_says(company, reached)
    async with company.reading() as reader:
        verified = [await delivery.verify(reader, each.name) for each in FOLLOWED]
        assert verified == [[]] * len(FOLLOWED)


async def _states(reader: Reader, at: int) -> dict[Ref, Any]:
    """Every stream's state at a position, by the domain's own fold."""
    states: dict[Ref, Any] = {}
    for stored in await log.read_log(reader, to=at, limit=1_000):
        seen = stored.decoded()
        ref = Ref(seen.category, seen.stream_id)
        decider = BY_CATEGORY[ref.category]
        states[ref] = decider.evolve(states.get(ref, decider.initial), seen.event)
    return states


async def _tells_what_the_domain_says(company: Company, at: int) -> None:
    async with company.reading() as reader:
        states = await _states(reader, at)
        for ref, state in states.items():
            if isinstance(state, Estimate):
                await _same_estimate(reader, ref.id, state, at)
            if isinstance(state, Actuals):
                await _same_actuals(company, reader, ref.id, states, at)
            if isinstance(state, Project):
                await _same_project(reader, ref.id, state, at)


async def _same_estimate(reader: Reader, estimate_id: UUID, state: Estimate, at: int) -> None:
    header = await estimate_detail.estimate(reader, estimate_id, at=at)
    assert header is not None
    totals = state.totals
    assert (header.base_total, header.allowance_total, header.alternate_total) == (
        totals.base,
        totals.allowance,
        totals.alternate,
    )
    assert (header.version, header.title, header.notes) == (state.version, state.title, state.notes)
    bid = bridge_of(state)
    assert (header.risk_adjustment, header.cost, header.final_bid) == (state.risk_adjustment, bid.cost, bid.final_bid)
    assert estimate_detail.bridge_of(header) == bid
    assert (header.status, header.line_count) == (state.status, len(state.lines))
    assert (header.aace_class, header.basis, header.effective_on) == (
        state.aace_class,
        state.basis,
        state.effective_on,
    )
    risks = await estimate_detail.risks_of(reader, estimate_id, at=at, limit=1_000)
    assert [(each.risk_id, each.title, each.status, each.occurred_cost, each.exposure) for each in risks] == [
        (each.risk_id, each.title, each.status, each.occurred_cost, exposure(each))
        for each in sorted(state.risks.values(), key=lambda risk: risk.risk_id)
    ]
    assert sum((each.contribution for each in risks), Decimal(0)) == state.risk_adjustment
    tags = await estimate_detail.tags_of(reader, estimate_id, at=at, limit=1_000)
    assert [each.tag for each in tags] == list(state.tags)
    lines = await estimate_detail.lines_of(reader, estimate_id, at=at, limit=1_000)
    shown = [(each.line_id, each.extension, each.note, each.ordinal, tuple(each.wbs_path)) for each in lines]
    expected = in_order(state.lines.values())
    assert shown == [(each.line_id, each.extension, each.note, each.ordinal, each.wbs_path) for each in expected]


async def _same_actuals(company: Company, reader: Reader, actuals_id: UUID, states: dict[Ref, Any], at: int) -> None:
    state: Actuals = states[Ref("actuals", actuals_id)]
    header = await actuals_detail.actuals(reader, actuals_id, at=at)
    assert header is not None
    assert header == await actuals_detail.of_project(reader, state.project_id, at=at)
    assert (header.amount, header.entry_count) == (recorded_amount(state), len(state.entries))
    assert header.risk_amount == sum((each.cost for each in state.risk_costs.values()), Decimal(0))
    occurred = await actuals_detail.risks(reader, actuals_id, at=at, limit=1_000)
    assert {each.risk_id: (each.estimate_id, each.cost, each.occurred_on, each.note) for each in occurred} == {
        risk_id: (each.estimate_id, each.cost, each.occurred_on, each.note)
        for risk_id, each in state.risk_costs.items()
    }
    assert (header.baseline_id, header.finished_on) == (state.baseline_id, state.finished_on)
    assert header.duration_days == state.durations.get("")
    entries = await actuals_detail.entries(reader, actuals_id, at=at, limit=1_000)
    assert [tuple(getattr(each, name) for name in Entry.__struct_fields__) for each in entries] == [
        tuple(getattr(each, name) for name in Entry.__struct_fields__)
        for each in sorted(state.entries.values(), key=lambda entry: entry.entry_id)
    ]
    findings = await actuals_detail.findings(reader, actuals_id, at=at, limit=1_000)
    assert {each.finding_id: each.text for each in findings} == {
        each.finding_id: each.text for each in state.findings.values()
    }
    durations = await actuals_detail.durations(reader, actuals_id, at=at, limit=1_000)
    assert {each.code_key: each.days for each in durations} == {k: v for k, v in state.durations.items() if k}
    await _same_variance(reader, actuals_id, state, states[Ref("estimate", state.baseline_id)], at)
    finished = await accuracy.finished(reader, company.world.vault, at=at)
    project = states[Ref("project", state.project_id)]
    counted = state.finished_on is not None and not project.deleted
    assert [(each.actual, each.name, each.building_type) for each in finished if each.actuals_id == actuals_id] == (
        [(header.amount, project.name, project.building_type)] if counted else []
    )


async def _same_variance(reader: Reader, actuals_id: UUID, state: Actuals, baseline: Estimate, at: int) -> None:
    """Every row, reckoned from the domain's states in fractions."""
    found = await variance.of_actuals(reader, actuals_id, at=at, threshold=Decimal("0.1"))
    assert found is not None
    bid = bridge_of(baseline)
    assert (found.total.budget, found.total.actual) == (bid.cost, recorded_amount(state))
    rows = [*found.codes, found.risks, *found.markups]
    assert sum(row.budget for row in rows) == found.total.budget
    assert sum(row.actual for row in rows) == found.total.actual
    assert sum(row.variance for row in rows) == found.total.variance
    lines = [each for each in baseline.lines.values() if each.pricing == "base"]
    entries = list(state.entries.values())
    marked = [each for each in entries if each.markup_id is not None]
    budgets = {step.markup_id: step.amount for step in bid.steps if step.markup_id}
    others = sorted({each.markup_id for each in marked if each.markup_id} - set(budgets))
    assert [(row.markup_id, row.budget) for row in found.markups] == [
        *budgets.items(),
        *((each, Decimal(0)) for each in others),
    ]
    for row in found.markups:
        assert row.actual == sum((each.amount for each in marked if each.markup_id == row.markup_id), Decimal(0))
    entries = [each for each in entries if each.markup_id is None]
    keys = sorted({*map(_code, lines), *map(_code, entries)})
    assert [_code(row) for row in found.codes] == keys
    for key, row in zip(keys, found.codes, strict=True):
        planned = [each for each in lines if _code(each) == key]
        spent = [each for each in entries if _code(each) == key]
        budget = sum((Fraction(each.extension) for each in planned), Fraction(0))
        actual = sum((Fraction(each.amount) for each in spent), Fraction(0))
        assert (Fraction(row.budget), Fraction(row.actual)) == (budget, actual)
        assert row.needs_explanation == (abs(actual - budget) > abs(budget) / 10)
        assert row.explained == (key in state.explanations)
        units = {each.unit for each in planned}, {each.unit for each in spent if each.unit}
        done = sum((Fraction(each.quantity or 0) for each in spent), Fraction(0))
        wanted = sum((Fraction(each.quantity) for each in planned), Fraction(0))
        if units[0] == units[1] and len(units[0]) == 1 and wanted:
            assert row.quantity_part is not None
            assert row.price_part is not None
            assert abs(Fraction(row.quantity_part) - (done - wanted) * budget / wanted) <= Fraction(1, 200)
            assert row.quantity_part + row.price_part == row.variance
        else:
            assert row.quantity_part is row.price_part is None


def _code(of: Line | Entry | variance.VarianceRow) -> str:
    return code_key(of.code_set, of.code_edition, of.code)


async def _same_project(reader: Reader, project_id: UUID, state: Project, at: int) -> None:
    found = await project_list.project(reader, project_id, at=at)
    assert found is not None
    assert (found.name, found.status, found.metadata) == (state.name, state.status, state.metadata)
    assert (found.deleted_at is not None, found.latest_version) == (state.deleted, state.versions)
    holder = await project_names.holder(reader, state.name, at=at)
    assert (holder == project_id) == (not state.deleted)


async def test_two_events_on_one_row_in_a_batch_leave_both_versions(world: World, company: Company) -> None:
    script = opening()
    await company.run(script)
    await (await world.engine()).advance(company.tenant)
    async with company.reading() as reader:
        found = [await estimate_detail.estimate(reader, ESTIMATE_IDS[0], at=at) for at in range(1, 12)][:-1]
    totals = [header.base_total for header in found if header is not None]
    assert totals == [Decimal(0), Decimal(0), Decimal(0), Decimal("15"), Decimal("30"), Decimal("45")]
