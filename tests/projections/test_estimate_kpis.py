"""Figures by category: never counted again, and equal to a count from scratch, now and at any position."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings

from domain.decider import Command, Ref
from domain.estimate_state import Estimate
from domain.lines import Line
from domain.money import ZERO
from domain.project import Project
from domain.registry import BY_CATEGORY
from eventstore import log
from eventstore.db import Reader
from projections import estimate_kpis
from projections.estimate_kpis import Dimension, Kpi, Picked, code_section
from tests.projections.conftest import Company, World
from tests.projections.test_properties import opening
from tests.strategies import scripts

DIMENSIONS: tuple[Dimension, ...] = ("all", "cost_type", "code_section", "wbs")


@pytest.mark.parametrize(
    ("code", "section"),
    [
        (None, ""),
        ("03 30 00", "03"),
        ("2452.503/02018", "2452"),
        ("2104504/00120", "2104"),
        ("A1010", "A101"),
        ("-7", "7"),
        ("---", ""),
    ],
)
def test_a_code_is_in_the_section_it_begins_with(code: str | None, section: str) -> None:
    assert code_section(code) == section


def _buckets(line: Line, dimension: Dimension) -> list[tuple[str | None, tuple[str, ...] | None]]:
    if dimension == "wbs":
        return [("", line.wbs_path[: level + 1]) for level in range(min(3, len(line.wbs_path)))]
    section = code_section(line.code) or None
    return [({"all": None, "cost_type": line.cost_type, "code_section": section}[dimension], None)]


def _counted(lines: Sequence[Line], dimension: Dimension) -> dict[Any, list[Any]]:
    """From scratch, the slow and plain way."""
    found: dict[Any, list[Any]] = defaultdict(lambda: [0, ZERO, ZERO, ZERO, 0, 0, 0])
    for line in lines:
        for bucket in _buckets(line, dimension):
            sums = found[bucket]
            sums[0] += 1
            sums[1 + ("base", "allowance", "alternate").index(line.pricing)] += line.extension
            sums[4] += line.firmness == "plug"
            sums[5] += not code_section(line.code)
            sums[6] += not line.extension
    return found


def _told(rows: Sequence[Kpi]) -> dict[Any, list[Any]]:
    return {
        (row.bucket, None) if row.path is None else ("", tuple(row.path)): [
            row.lines,
            row.base,
            row.allowance,
            row.alternate,
            row.plugs,
            row.uncoded,
            row.unpriced,
        ]
        for row in rows
    }


async def _states(reader: Reader, at: int) -> dict[Ref, Any]:
    states: dict[Ref, Any] = {}
    for stored in await log.read_log(reader, to=at, limit=1_000):
        seen = stored.decoded()
        ref = Ref(seen.category, seen.stream_id)
        states[ref] = BY_CATEGORY[ref.category].evolve(states.get(ref, BY_CATEGORY[ref.category].initial), seen.event)
    return states


@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(script=scripts("project", "estimate", longest=30))
async def test_figures_equal_a_count_from_scratch(world: World, script: Sequence[tuple[Ref, Command]]) -> None:
    company = world.company()
    reached = await company.run([*opening(), *script])
    engine = await world.engine(projection_batch_events_max=7)
    for end in (reached // 3, reached // 2, reached):
        await engine.advance(company.tenant, to=end)
    async with company.reading() as reader:
        for at in (reached // 2, reached):
            await _same_figures(reader, await _states(reader, at), at)


async def _same_figures(reader: Reader, states: dict[Ref, Any], at: int) -> None:
    latest: dict[UUID, list[Line]] = {}
    numbers: dict[UUID, int] = {}
    for ref, state in states.items():
        if not isinstance(state, Estimate):
            continue
        lines = list(state.lines.values())
        if state.version > numbers.get(state.project_id, 0):
            numbers[state.project_id], latest[state.project_id] = state.version, lines
        for dimension in DIMENSIONS:
            rows = await estimate_kpis.of_estimate(reader, ref.id, dimension, at=at)
            assert _told(rows) == _counted(lines, dimension)
    live = {ref.id for ref, state in states.items() if isinstance(state, Project) and not state.deleted}
    together = [line for project, lines in latest.items() if project in live for line in lines]
    for dimension in DIMENSIONS:
        rows = await estimate_kpis.of_company(reader, dimension, Picked(), at=at)
        assert _told(rows) == _counted(together, dimension)


async def test_the_company_is_added_up_by_what_is_picked(world: World, company: Company) -> None:
    await company.run(opening())
    await (await world.engine()).advance(company.tenant)
    async with company.reading() as reader:
        everything = await estimate_kpis.of_company(reader, "all", Picked(), at=1_000)
        drafts = await estimate_kpis.of_company(reader, "all", Picked(estimate_status="draft"), at=1_000)
        others = await estimate_kpis.of_company(reader, "all", Picked(estimate_status="awarded"), at=1_000)
    assert [row.currency for row in drafts] == [row.currency for row in everything]
    assert others == []
