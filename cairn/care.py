"""Looking after read models: make them, build them anew, and see to what is parked."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from uuid import UUID

from cairn.client import ApiError
from eventstore import log
from eventstore.db import Database, role_url
from eventstore.settings import StoreSettings
from projections import builds, parking, registry
from projections.engine import Engine
from projections.rebuild import Progress, rebuild

OPERATOR = UUID(int=0)
Advance = Callable[[str, int, int | None], None]


@asynccontextmanager
async def projector(store: StoreSettings) -> AsyncIterator[Database]:
    """A few connections of the role that owns the read models and sees how far every company is."""
    assert store.database_url is not None
    conninfo = role_url(store.database_url, "cairn_projector", store.database_role_password)
    database = Database(conninfo, name="command line", connections_max=4, statement_seconds_max=3600)
    await database.open()
    try:
        yield database
    finally:
        await database.close()


async def prepare(store: StoreSettings) -> None:
    """Make the read models there are none of yet, so that the API can serve at once."""
    async with projector(store) as database:
        await builds.prepare(database, registry.PROJECTIONS)


async def rebuilt(store: StoreSettings, model: str, advance: Advance, *, accept_differences: bool = False) -> str:
    """Build a model beside the one that serves, compare, switch. Answers what happened."""
    _must_exist(model)

    def say(progress: Progress) -> None:
        advance(f"{progress.stage} {model}", progress.done, progress.total)

    async with projector(store) as database:
        done = await rebuild(database, model, say, accept_differences=accept_differences)
    seen = f"{done.events} events replayed, {done.compared} tables compared, {len(done.differences)} different"
    return f"{model}: build {done.build.build} serves now, the one before is kept; {seen}"


async def parked(store: StoreSettings) -> list[tuple[object, ...]]:
    """What is parked, of every company."""
    rows: list[tuple[object, ...]] = []
    async with projector(store) as database:
        async with database.connection() as connection:
            companies = [head.tenant for head in await log.heads(connection)]
        for tenant in companies:
            async with database.bound(tenant) as reader:
                rows += [
                    (tenant, each.model, each.key, each.events, each.first_position, each.type, each.error)
                    for each in await parking.waiting(reader)
                ]
    return rows


async def replayed(store: StoreSettings, tenant: UUID, model: str, key: str) -> str:
    """Try what is parked under a key again."""
    _must_exist(model)
    async with projector(store) as database:
        done = await parking.replay(await _engine(database), tenant, model, key)
    return f"{done.handled} events handled, {done.waiting} still wait"


async def skipped(store: StoreSettings, tenant: UUID, model: str, key: str, reason: str) -> str:
    """Leave out the event that failed."""
    _must_exist(model)
    async with projector(store) as database:
        done = await parking.skip(await _engine(database), tenant, model, key, reason, OPERATOR)
    return f"one event left out, {done.handled} handled, {done.waiting} still wait"


async def _engine(database: Database) -> Engine:
    engine = Engine(database, registry.PROJECTIONS)
    await engine.prepare()
    return engine


def _must_exist(model: str) -> None:
    names = [projection.name for projection in registry.PROJECTIONS]
    if model not in names:
        raise ApiError(f"There is no read model {model!r}. There are: {', '.join(names)}.")
