"""Builds side by side: made beside the live one, compared, switched to, gone back to."""

import asyncio
from uuid import UUID, uuid4

import pytest

from eventstore.log import POSITION_MAX
from projections import builds, delivery, estimate_detail, positions, project_list, project_names, rebuild
from projections.follower import Follower
from projections.rebuild import Differs, Progress
from projections.registry import FOLLOWED
from projections.settings import EngineSettings
from tests.eventstore.units import appended, unit, writer
from tests.projections import models
from tests.projections.commands import command, edit, estimate, line, project
from tests.projections.conftest import Company, World, least_position

QUICK = EngineSettings(
    projector_poll_seconds=0.02,
    projector_heartbeat_seconds=0.05,
    projector_lease_seconds=0.5,
    projection_batch_events_max=5,
)
FOLLOWED_MODELS = [projection.name for projection in FOLLOWED]


async def _some(company: Company) -> UUID:
    estimate_id = await estimate(company, await project(company))
    for number in range(1, 6):
        await edit(company, estimate_id, "add-line", **line(number))
    return estimate_id


async def _states(world: World, model: str) -> list[tuple[int, str]]:
    async with world.projector.connection() as connection:
        return [(build.build, build.state) for build in await builds.builds_of(connection, [model])]


@pytest.mark.parametrize("model", ["estimate_detail", "project_names", "version_history"])
async def test_a_rebuild_equals_the_live_build_and_takes_its_place(world: World, company: Company, model: str) -> None:
    await _some(company)
    await (await world.engine()).advance(company.tenant)
    said: list[Progress] = []
    done = await rebuild.rebuild(world.projector, model, said.append)
    assert done.differences == []
    assert done.compared > 0
    assert said[-1].done == said[-1].total
    assert await _states(world, model) == [(1, "kept"), (2, "live")]
    await rebuild.rebuild(world.projector, model)
    assert await _states(world, model) == [(2, "kept"), (3, "live")]
    await project(company, "after the switch")
    await (await world.engine()).advance(company.tenant)
    async with company.reading() as reader:
        assert await positions.position_of(reader, model) == 9
        held = await project_names.holder(reader, "after the switch", at=POSITION_MAX)
    assert held is not None


async def test_a_rebuild_that_differs_is_not_switched_to(world: World, company: Company) -> None:
    await _some(company)
    await (await world.engine()).advance(company.tenant)
    async with world.projector.bound(company.tenant) as reader:
        await reader.connection.execute(
            "update estimate_detail_v2_b1.estimate_detail_lines set note = 'tampered' where ordinal = 2"
        )
    with pytest.raises(Differs) as differs:
        await rebuild.rebuild(world.projector, "estimate_detail")
    [difference] = differs.value.differences
    assert (difference.table, difference.tenant) == ("estimate_detail_lines", company.tenant)
    assert await _states(world, "estimate_detail") == [(1, "live")]
    await rebuild.rebuild(world.projector, "estimate_detail", accept_differences=True)
    assert await rebuild.proves(world.projector, "estimate_detail", company.tenant, 5) == []


async def test_going_back_catches_up_first(world: World, company: Company) -> None:
    await _some(company)
    await (await world.engine()).advance(company.tenant)
    await rebuild.rebuild(world.projector, "project_list")
    await project(company, "newer")
    await (await world.engine()).advance(company.tenant)
    back = await rebuild.rollback(world.projector, "project_list")
    assert back.build == 1
    assert await _states(world, "project_list") == [(1, "live"), (2, "kept")]
    async with company.reading() as reader:
        assert len(await project_list.projects(reader, at=POSITION_MAX, limit=9)) == 2


async def test_a_newer_version_is_built_beside_and_switched_to(world: World, company: Company) -> None:
    await _some(company)
    older = await world.engine([models.model(1)])
    await older.advance(company.tenant)
    newer = await world.engine([models.model(2)])
    assert await _states(world, "names_seen") == [(1, "live"), (2, "building")]
    await newer.advance(company.tenant)
    [target] = newer.targets.values()
    assert await rebuild.finish(newer, target)
    assert not await rebuild.finish(newer, target)
    assert await _states(world, "names_seen") == [(1, "kept"), (2, "live")]


async def test_an_inline_model_made_late_knows_what_came_before(world: World, company: Company) -> None:
    await project(company, "before")
    async with world.projector.connection() as connection, connection.transaction():
        await connection.execute("update cairn.builds set state = 'kept' where model = 'project_names'")
    stopping = asyncio.Event()
    follower = Follower(world.projector, QUICK)
    running = asyncio.create_task(follower.run(stopping))
    async with asyncio.timeout(20):
        while (2, "live") not in await _states(world, "project_names"):  # noqa: ASYNC110  another session's work
            await asyncio.sleep(0.02)
    stopping.set()
    await running
    with pytest.raises(Exception, match="name-taken"):
        await project(company, "BEFORE")


async def test_followers_share_the_work_and_one_takes_over(world: World) -> None:
    companies = [world.company() for _ in range(6)]
    stops = [asyncio.Event(), asyncio.Event()]
    seen: list[tuple[UUID, str, int]] = []
    followers = [Follower(world.projector, QUICK, committed=lambda *moved: seen.append(moved)) for _ in stops]
    running = [asyncio.create_task(each.run(stop)) for each, stop in zip(followers, stops, strict=True)]
    await asyncio.gather(*(each.wait_ready() for each in followers))
    ids = {company.tenant: await _some(company) for company in companies}
    await _caught_up(world, companies, 8)
    stops[0].set()
    await running[0]
    for company in companies:
        await project(company, "after one has gone")
    await _caught_up(world, companies, 9)
    async with asyncio.timeout(20):
        while followers[1].waiting_seconds():  # noqa: ASYNC110  it ends with the follower's own pass
            await asyncio.sleep(0.02)
    stops[1].set()
    await running[1]
    assert {model for _, model, _ in seen} == {each.name for each in FOLLOWED}
    for company in companies:
        async with company.reading() as reader:
            assert len(await estimate_detail.lines_of(reader, ids[company.tenant], at=POSITION_MAX, limit=9)) == 5


async def _caught_up(world: World, companies: list[Company], position: int) -> None:
    async with asyncio.timeout(20):
        for company in companies:
            while True:
                async with company.reading() as reader:
                    reached = await least_position(reader, FOLLOWED_MODELS)
                if reached == position:
                    break
                await asyncio.sleep(0.02)


async def test_case_03_writer_paused_during_a_rebuild_and_forced_catch_up(
    world: World, company: Company, database_url: str
) -> None:
    """What a paused writer has numbered is in no build, and in all of them afterwards."""
    await _some(company)
    engine = await world.engine()
    await engine.advance(company.tenant)
    async with await writer(database_url) as paused:
        async with paused.transaction():
            (outcome,) = await appended(paused, company.tenant, unit((uuid4(), 0, 3)))
            await rebuild.rebuild(world.projector, "activity_log")
            await engine.refresh()
            await engine.advance(company.tenant)
            async with company.reading() as reader:
                assert await positions.position_of(reader, "activity_log") == outcome.first - 1
        await engine.advance(company.tenant)
    async with company.reading() as reader:
        assert await positions.position_of(reader, "activity_log") == outcome.first + 2
        assert await delivery.verify(reader, "activity_log") == []
    assert await rebuild.proves(world.projector, "activity_log", company.tenant, outcome.first + 2) == []


async def test_a_rebuild_beside_a_company_at_work(world: World, company: Company) -> None:
    estimate_id = await _some(company)
    stopping = asyncio.Event()
    follower = Follower(world.projector, QUICK)
    running = asyncio.create_task(follower.run(stopping))
    await follower.wait_ready()

    async def work() -> int:
        last = 0
        for number in range(10, 40):
            last = await edit(company, estimate_id, "add-line", **line(number))
            await company.send(
                "project", await project(company, f"P {number}"), command("project", "change-status", status="lost")
            )
            follower.hint(company.tenant, last)
        return last

    working = asyncio.create_task(work())
    for model in ("estimate_detail", "project_names", "activity_log"):
        assert (await rebuild.rebuild(world.projector, model)).differences == []
    await working
    async with company.reading() as reader:
        head = await positions.position_of(reader, "access")
    await _caught_up(world, [company], head)
    stopping.set()
    await running
    for model in ("estimate_detail", "activity_log", "project_list"):
        assert await rebuild.proves(world.projector, model, company.tenant, head - 7) == []


@pytest.mark.parametrize("plan", ["force_custom_plan", "force_generic_plan"])
async def test_a_question_about_now_leaves_the_past_out(world: World, company: Company, plan: str) -> None:
    """Whatever was, however often: the plan does not look there."""
    statement = (
        b"explain (analyze, costs off, timing off, summary off, buffers off) "
        b"select from read.estimate_detail_lines where valid_from <= %(at)s and valid_to > %(at)s"
    )
    await _some(company)
    await (await world.engine()).advance(company.tenant)
    async with company.reading() as reader:
        await reader.connection.execute(b"select set_config('plan_cache_mode', %(plan)s, true)", {"plan": plan})
        shown = {}
        for at in (POSITION_MAX, 5):
            cursor = await reader.connection.execute(statement, {"at": at}, prepare=True)
            shown[at] = "\n".join(row[0] for row in await cursor.fetchall())
    assert "_past" not in shown[POSITION_MAX], shown[POSITION_MAX]
    assert "_past" in shown[5]


async def test_rows_that_hold_are_known_by_their_key(world: World) -> None:
    """What a version that holds is replaced by: the engine names these columns as the conflict."""
    statement = (
        "select array_agg(a.attname::text) from pg_index i join pg_attribute a on a.attrelid = i.indrelid "
        "and a.attnum = any (i.indkey) where i.indrelid = to_regclass(%s) and i.indisprimary"
    )
    async with world.projector.connection() as connection:
        for build in await builds.builds_of(connection, FOLLOWED_MODELS):
            for table in next(each.tables for each in FOLLOWED if each.name == build.model):
                if not table.append_only:
                    row = await (await connection.execute(statement, [f"{build.schema}.{table.name}"])).fetchone()
                    assert row is not None
                    assert sorted(row[0]) == sorted(["tenant", *table.key, "valid_to"]), table.name
