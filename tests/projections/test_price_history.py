"""Prices of a code, worked out once more from the log alone; and what counts as having been seen."""

from collections.abc import Sequence
from datetime import UTC, date
from decimal import Decimal
from statistics import median
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from domain.decider import Command, Ref
from domain.estimate_events import (
    EstimateStarted,
    EstimateSubmitted,
    LineAdded,
    LineRemoved,
    LineRestored,
    LineRevised,
    LinesImported,
    LinesRemoved,
)
from domain.lines import Line
from domain.project import ProjectCreated, ProjectDeleted, ProjectRenamed, ProjectRestored
from eventstore import log
from eventstore.db import Reader
from eventstore.log import POSITION_MAX
from projections import price_history
from projections.engine import Engine
from projections.price_history import Place, PriceGroup, PriceObservation, Wanted, place_of
from tests.projections.commands import command, edit, estimate, line, project
from tests.projections.conftest import Company, World
from tests.strategies import ESTIMATE_IDS, LINE_IDS, PROJECT_IDS

NOW = POSITION_MAX
SOLD = ("code", "code_set", "code_edition", "unit", "quantity", "unit_price", "firmness", "pricing")

_priced = st.fixed_dictionaries(
    {"unit": st.sampled_from(["EA", "LF"]), "unit_price": st.sampled_from(["1", "1.00", "2.5", "3", "-4"])},
    optional={
        "code": st.sampled_from(["A", "A", "A", "B", None]),
        "code_set": st.sampled_from(["MnDOT", None]),
        "code_edition": st.sampled_from(["2018", "2020", None]),
        "firmness": st.sampled_from(["firm", "plug"]),
    },
)


def _steps(verb: str, body: st.SearchStrategy[dict[str, Any]]) -> Any:
    return st.builds(
        lambda id, given: (Ref("estimate", id), command("estimate", verb, **given)),
        st.sampled_from(ESTIMATE_IDS),
        body,
    )


_ids = st.sampled_from(LINE_IDS).map(str)
_started = st.builds(
    lambda project_id, parent, currency, more: (
        {"project_id": str(project_id), "currency": currency} | ({"parent_id": str(parent)} if parent else {}) | more
    ),
    st.sampled_from(PROJECT_IDS),
    st.none() | st.sampled_from(ESTIMATE_IDS[:2]),
    st.sampled_from(["USD", "USD", "EUR"]),
    st.sampled_from([{}, {"effective_on": "1999-12-31"}, {"effective_on": "2022-01-28"}]),
)
steps = st.one_of(
    _steps("start-estimate", _started),
    _steps("add-line", st.builds(lambda id, given: line(1, line_id=id, **given), _ids, _priced)),
    _steps("revise-line", st.builds(lambda id, given: {"line_id": id, **given}, _ids, _priced)),
    _steps("revise-line", _ids.map(lambda id: {"line_id": id, "note": "remark"})),
    _steps("remove-line", _ids.map(lambda id: {"line_id": id})),
    _steps("undo-change", st.integers(1, 9).map(lambda version: {"stream_version": version})),
    _steps("submit-estimate", st.just({})),
    st.builds(
        lambda id, verb: (Ref("project", id), command("project", verb)),
        st.sampled_from(PROJECT_IDS),
        st.sampled_from(["delete-project", "restore-project"]),
    ),
)


def opening() -> list[tuple[Ref, Command]]:
    """Two projects; an estimate with three prices, and a version after it."""
    made = [
        (Ref("project", each), command("project", "create-project", name=f"P {number}"))
        for number, each in enumerate(PROJECT_IDS)
    ]
    first, second = (Ref("estimate", each) for each in ESTIMATE_IDS[:2])
    body = {"project_id": str(PROJECT_IDS[0]), "currency": "USD"}
    lines = [line(1, line_id=str(id), code="A", unit_price=str(price)) for price, id in enumerate(LINE_IDS[:3])]
    return [
        *made,
        (first, command("estimate", "start-estimate", **body)),
        (first, command("estimate", "import-lines", lines=lines)),
        (second, command("estimate", "start-estimate", **body, parent_id=str(first.id))),
    ]


async def seen_until(reader: Reader, at: int) -> list[PriceObservation]:
    """Every observation, the latest first, by a plain reading of the log."""
    names: dict[UUID, str] = {}
    deleted: set[UUID] = set()
    started: dict[UUID, EstimateStarted] = {}
    submitted: set[UUID] = set()
    lines: dict[tuple[UUID, UUID], tuple[Line, Any]] = {}
    for stored in await log.read_log(reader, to=at, limit=1_000):
        seen = stored.decoded()
        id, when = seen.stream_id, seen.recorded_at
        match seen.event:
            case ProjectCreated(name=name) | ProjectRestored(name=name):
                names[id] = name
                deleted.discard(id)
            case ProjectRenamed(now=name):
                names[id] = name
            case ProjectDeleted():
                deleted.add(id)
            case EstimateStarted() as event:
                started[id] = event
            case EstimateSubmitted():
                submitted.add(id)
            case LineAdded(line=added) | LineRestored(line=added):
                lines[id, added.line_id] = (added, when)
            case LinesImported(source=source, lines=several):
                lines |= {(id, each.line_id): (each, when if source == "import" else None) for each in several}
            case LineRevised(line_id=line_id, now=now):
                before, then = lines[id, line_id]
                touched = any(field in now.given() for field in SOLD)
                lines[id, line_id] = (replace(before, **now.given()), when if touched else then)
            case LineRemoved(line=gone):
                del lines[id, gone.line_id]
            case LinesRemoved(lines=several):
                for each in several:
                    del lines[id, each.line_id]
    told = [
        PriceObservation(
            code=each.code,
            code_set=each.code_set,
            code_edition=each.code_edition,
            unit=each.unit,
            currency=started[estimate_id].currency,
            unit_price=each.unit_price,
            quantity=each.quantity,
            dated_on=started[estimate_id].effective_on or when.astimezone(UTC).date(),
            recorded_at=when,
            project_id=started[estimate_id].project_id,
            project_name=names[started[estimate_id].project_id],
            estimate_id=estimate_id,
            version=started[estimate_id].version,
            line_id=line_id,
            submitted=estimate_id in submitted,
            firmness=each.firmness,
            pricing=each.pricing,
        )
        for (estimate_id, line_id), (each, when) in lines.items()
        if when is not None and each.code is not None and started[estimate_id].project_id not in deleted
    ]
    return sorted(told, key=place_of, reverse=True)


def grouped(observed: Sequence[PriceObservation]) -> list[PriceGroup]:
    """What observations come to; in no particular order."""
    groups: dict[tuple[str | None, str, str], list[PriceObservation]] = {}
    for each in observed:
        groups.setdefault((each.code_set, each.unit, each.currency), []).append(each)
    return [
        PriceGroup(
            *key,
            count=len(those),
            lowest=min(each.unit_price for each in those),
            highest=max(each.unit_price for each in those),
            median=median(each.unit_price for each in those),
            latest_price=those[0].unit_price,
            latest_on=those[0].dated_on,
            latest_project_id=those[0].project_id,
            latest_project_name=those[0].project_name,
            code_editions=sorted({each.code_edition for each in those if each.code_edition is not None}),
        )
        for key, those in groups.items()
    ]


def _fits(wanted: Wanted, each: PriceObservation) -> bool:
    return (
        each.code == wanted.code
        and wanted.code_set in (None, each.code_set)
        and wanted.unit in (None, each.unit)
        and wanted.currency in (None, each.currency)
        and (wanted.from_on is None or each.dated_on >= wanted.from_on)
        and (wanted.to_on is None or each.dated_on <= wanted.to_on)
    )


wishes = st.builds(
    Wanted,
    code=st.sampled_from(["A", "A", "B", "C"]),
    code_set=st.sampled_from([None, None, "MnDOT"]),
    unit=st.sampled_from([None, "EA", "LF"]),
    currency=st.sampled_from([None, "USD", "EUR"]),
    from_on=st.sampled_from([None, None, date(2000, 1, 1), date(2999, 1, 1)]),
    to_on=st.sampled_from([None, None, date(2000, 1, 1), date(2999, 1, 1)]),
)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(script=st.lists(steps, max_size=25), wished=st.lists(wishes, min_size=2, max_size=4), part=st.integers(0, 100))
async def test_prices_are_what_the_log_says(
    engine: Engine, world: World, script: list[tuple[Ref, Command]], wished: list[Wanted], part: int
) -> None:
    company = world.company()
    reached = await company.run([*opening(), *script])
    await engine.advance(company.tenant)
    for at in (1 + part * (reached - 1) // 100, NOW):
        async with company.reading() as reader:
            observed = await seen_until(reader, at)
            for wanted in wished:
                expected = [each for each in observed if _fits(wanted, each)]
                groups, told = await price_history.first_page(reader, wanted, at=at, limit=1_000)
                assert told == expected
                assert sorted(groups, key=repr) == sorted(grouped(expected), key=repr)
                assert [each.count for each in groups] == sorted((each.count for each in groups), reverse=True)


@pytest.fixture
async def engine(world: World) -> Engine:
    """Only the model that is tested."""
    return await world.engine([price_history.projection])


async def prices(company: Company, limit: int = 100, after: Place | None = None) -> list[PriceObservation]:
    """The observations of code A."""
    async with company.reading() as reader:
        wanted = Wanted(code="A")
        if after is None:
            return (await price_history.first_page(reader, wanted, at=NOW, limit=limit))[1]
        return await price_history.next_page(reader, wanted, after, at=NOW, limit=limit)


async def test_a_copy_is_no_observation_until_its_price_changes(engine: Engine, company: Company) -> None:
    project_id = await project(company)
    first = await estimate(company, project_id)
    await edit(company, first, "add-line", **line(1, code="A", unit_price="5"))
    second = await estimate(company, project_id, parent_id=str(first))
    await edit(company, second, "revise-line", line_id=line(1)["line_id"], note="same price")
    await engine.advance(company.tenant)
    assert [(each.version, each.unit_price) for each in await prices(company)] == [(1, Decimal(5))]
    await edit(company, second, "revise-line", line_id=line(1)["line_id"], unit_price="6")
    await edit(company, first, "submit-estimate")
    await engine.advance(company.tenant)
    told = [(each.version, each.unit_price, each.submitted) for each in await prices(company)]
    assert told == [(2, Decimal(6), False), (1, Decimal(5), True)]


async def test_the_median_lies_between_the_two_in_the_middle(engine: Engine, company: Company) -> None:
    estimate_id = await estimate(company, await project(company, "TH 108"))
    for number, price in enumerate(["1", "2.000001", "2.000002", "900"]):
        await edit(company, estimate_id, "add-line", **line(number, code="A", code_edition="2020", unit_price=price))
    await edit(company, estimate_id, "add-line", **line(9, code="A", unit="LF", unit_price="7"))
    await engine.advance(company.tenant)
    async with company.reading() as reader:
        [each_, foot], _ = await price_history.first_page(reader, Wanted(code="A"), at=NOW, limit=1)
    assert (each_.unit, each_.count, each_.median) == ("EA", 4, Decimal("2.0000015"))
    assert (each_.lowest, each_.highest, each_.latest_price) == (Decimal(1), Decimal(900), Decimal(900))
    assert (each_.latest_project_name, each_.code_editions) == ("TH 108", ["2020"])
    assert (foot.unit, foot.median, foot.code_editions) == ("LF", Decimal(7), [])


async def test_observations_come_in_pages(engine: Engine, company: Company) -> None:
    estimate_id = await estimate(company, await project(company))
    await edit(company, estimate_id, "import-lines", lines=[line(number, code="A") for number in range(7)])
    await engine.advance(company.tenant)
    whole = await prices(company)
    assert len(whole) == 7
    paged = await prices(company, limit=3)
    while len(page := await prices(company, limit=3, after=place_of(paged[-1]))) > 0:
        paged += page
    assert paged == whole


async def test_what_a_deleted_project_holds_is_left_out(engine: Engine, company: Company) -> None:
    project_id = await project(company)
    estimate_id = await estimate(company, project_id)
    await edit(company, estimate_id, "add-line", **line(1, code="A"))
    await company.send("project", project_id, command("project", "delete-project"))
    await engine.advance(company.tenant)
    assert await prices(company) == []
    await company.send("project", project_id, command("project", "restore-project"))
    await engine.advance(company.tenant)
    assert len(await prices(company)) == 1
