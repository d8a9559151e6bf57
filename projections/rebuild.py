"""Builds a read model anew beside the live one, compares the two, and switches; or goes back to the one before."""

from collections.abc import Callable
from functools import partial
from uuid import UUID

import msgspec
import psycopg

from eventstore import log
from eventstore.db import Database, Reader
from eventstore.sql import beside
from projections import builds
from projections.builds import SQL as BUILD_SQL
from projections.builds import Build
from projections.engine import Engine, Fenced, Target
from projections.registry import projection_of
from projections.settings import EngineSettings
from projections.tables import Digest

SQL = beside(__file__)


class Progress(msgspec.Struct, frozen=True):
    """How far a rebuild has come: events applied of those in the logs."""

    model: str
    done: int
    total: int
    stage: str


class Difference(msgspec.Struct, frozen=True):
    """A table whose rebuilt history is not the live one's, at the same position."""

    tenant: UUID
    table: str
    position: int
    live: Digest
    rebuilt: Digest


class Differs(Exception):
    """The rebuilt tables are not the live ones; nothing was switched."""

    def __init__(self, differences: list[Difference]) -> None:
        named = ", ".join(f"{each.table} of {each.tenant} at {each.position}" for each in differences[:5])
        super().__init__(f"{len(differences)} tables differ: {named}")
        self.differences = differences


class Busy(Exception):
    """The model is being rebuilt by somebody else, or has no build to go back to."""


class Rebuilt(msgspec.Struct, frozen=True):
    """The build that is live now. `compared`: how many tables, each of each company, were compared whole."""

    build: Build
    events: int
    compared: int
    differences: list[Difference]


Say = Callable[[Progress], None]


def _silent(progress: Progress) -> None:
    """For those who don't watch."""


async def finish(engine: Engine, target: Target) -> bool:
    """Brings a build to the head of every log while its model stands still, and makes it the live one.

    Answers False when another process did it meanwhile, or when the model could not be held: try again then.
    """
    model = target.build.model
    try:
        async with engine.database.connection() as connection, connection.transaction():
            await connection.execute(SQL["wait_for_model"])
            await connection.execute(BUILD_SQL["hold_appends"], {"model": model})
            found = await builds.builds_of(connection, [model])
            if not any(each.build == target.build.build and each.state == target.build.state for each in found):
                return False
            for head in await log.heads(connection):
                engine.forget(head.tenant)
                await engine.advance(head.tenant, targets=[target])
            await builds.switch(connection, inline=target.projection.inline, to=target.build)
    except (psycopg.OperationalError, Fenced):  # lock timeout, deadlock, too long idle: readers and appends go first
        return False
    return True


async def rebuild(
    database: Database,
    model: str,
    say: Say = _silent,
    *,
    settings: EngineSettings | None = None,
    accept_differences: bool = False,
) -> Rebuilt:
    """Replays every log into a new build while the live one goes on, compares whole histories, and switches.

    The build that was live is kept for `rollback`, older ones are dropped. Raises Differs when the histories are not
    equal and `accept_differences` is not given; Busy when the model is being rebuilt already.
    """
    async with database.connection() as alone:
        cursor = await alone.execute(SQL["try_alone"], {"model": model})
        row = await cursor.fetchone()
        if row is None or not row[0]:
            raise Busy(f"{model} is being rebuilt already")
        try:
            return await _rebuild(Rebuilding(database, model, say, settings), accept_differences)
        finally:
            await alone.execute(SQL["not_alone"], {"model": model})


class Rebuilding:
    """One rebuild under way."""

    def __init__(self, database: Database, model: str, say: Say, settings: EngineSettings | None = None) -> None:
        self.database = database
        self.projection = projection_of(model)
        self.say = say
        self.engine = Engine(database, [self.projection], settings, committed=None)

    async def begin(self, state: str) -> Target:
        """A new, empty build."""
        async with self.database.connection() as connection:
            for left in await builds.builds_of(connection, [self.projection.name]):
                if left.state == state:  # of a rebuild that died
                    await builds.drop(self.database, left)
            async with connection.transaction():
                build = await builds.create(connection, self.projection, state)
            return await self.engine.target(connection, build)

    async def replay(self, target: Target) -> int:
        """Brings the build to where the logs were when this began. Answers how many events that were."""
        async with self.database.connection() as connection:
            heads = await log.heads(connection)
        total = sum(head.position for head in heads)
        done = 0
        for head in heads:
            await self._replay_one(target, head, done, total)
            done += head.position
        return total

    async def _replay_one(self, target: Target, head: log.Head, done: int, total: int) -> None:
        step = 50_000
        for to in range(step, head.position + step, step):
            await self.engine.advance(head.tenant, targets=[target], to=min(to, head.position))
            self.say(Progress(self.projection.name, done + min(to, head.position), total, "replaying"))

    async def compare(self, live: Target, rebuilt: Target) -> tuple[int, list[Difference]]:
        """Whole histories of every company at a position both have reached. Answers how many, and which differ."""
        async with self.database.connection() as connection:
            heads = await log.heads(connection)
        compared, differences = 0, []
        for number, head in enumerate(heads, 1):
            found = await self._compare_one(head, live, rebuilt)
            compared += len(rebuilt.projection.tables)
            differences += found
            self.say(Progress(self.projection.name, number, len(heads), "comparing"))
        return compared, differences

    async def _compare_one(self, head: log.Head, live: Target, rebuilt: Target) -> list[Difference]:
        async with self.database.bound(head.tenant) as reader:
            ours = await self._position(reader, rebuilt.build)
            theirs = head.position if live.projection.inline else await self._position(reader, live.build)
            position = min(ours, theirs)
            before, after = await live.tables.digests(reader, position), await rebuilt.tables.digests(reader, position)
        return [
            Difference(head.tenant, name, position, before[name], after[name])
            for name in before
            if before[name] != after[name]
        ]

    async def _position(self, reader: Reader, build: Build) -> int:
        rows = await reader.tuples(SQL["checkpoint"], {"model": build.model, "build": build.build})
        return int(rows[0][0])


async def _rebuild(work: Rebuilding, accept_differences: bool) -> Rebuilt:
    target = await work.begin("rebuilding")
    events = await work.replay(target)
    async with work.database.connection() as connection:
        live = await builds.live_build(connection, target.build.model)
        comparable = live is not None and live.version == target.projection.version
        before = await work.engine.target(connection, live) if live is not None and comparable else None
    compared, differences = (0, []) if before is None else await work.compare(before, target)
    if differences and not accept_differences:
        await builds.drop(work.database, target.build)
        raise Differs(differences)
    while not await finish(work.engine, target):
        await work.replay(target)
    await _drop_older(work.database, target.build)
    return Rebuilt(msgspec.structs.replace(target.build, state="live"), events, compared, differences)


async def _drop_older(database: Database, live: Build) -> None:
    """Keeps the build before the live one, and drops those before it."""
    async with database.connection() as connection:
        found = await builds.builds_of(connection, [live.model])
    kept = [build for build in found if build.state == "kept"]
    for build in kept[:-1]:
        await builds.drop(database, build)


async def rollback(database: Database, model: str) -> Build:
    """Makes the build that was live before live again, once it has caught up. Raises Busy when there is none."""
    work = Rebuilding(database, model, _silent)
    async with database.connection() as connection:
        kept = [build for build in await builds.builds_of(connection, [model]) if build.state == "kept"]
        if not kept:
            raise Busy(f"{model} has no build to go back to")
        if kept[-1].version != work.projection.version:  # its code is another release's: that one will bring it on
            await builds.retrying(database, partial(builds.switch, inline=work.projection.inline, to=kept[-1]))
            return msgspec.structs.replace(kept[-1], state="live")
        target = await work.engine.target(connection, kept[-1])
    await work.replay(target)
    while not await finish(work.engine, target):
        await work.replay(target)
    return msgspec.structs.replace(target.build, state="live")


async def replay_to(database: Database, model: str, tenant: UUID, at: int, say: Say = _silent) -> Target:
    """A scratch build with one company's rows as a full replay to a position makes them. `builds.drop` it after."""
    work = Rebuilding(database, model, say)
    target = await work.begin("scratch")
    await work.engine.advance(tenant, targets=[target], to=at)
    return target


async def proves(database: Database, model: str, tenant: UUID, at: int, say: Say = _silent) -> list[Difference]:
    """Checks that as-of answers tell the truth: the live build's history up to `at` against a full replay to it."""
    work = Rebuilding(database, model, say)
    async with database.connection() as connection:
        live = await builds.live_build(connection, model)
        assert live is not None
        target = await work.engine.target(connection, live)
    scratch = await replay_to(database, model, tenant, at, say)
    async with database.bound(tenant) as reader:
        before, after = await target.tables.digests(reader, at), await scratch.tables.digests(reader, at)
    await builds.drop(database, scratch.build)
    return [Difference(tenant, name, at, before[name], after[name]) for name in before if before[name] != after[name]]
