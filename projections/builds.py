"""Builds of read models: each a schema of its own, filled beside the live one, switched to in one transaction."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial

import msgspec
import psycopg
from psycopg import sql

from eventstore import log
from eventstore.db import Connection, Database
from eventstore.sql import beside
from projections.projection import Projection

SQL = beside(__file__)
SWITCH_ATTEMPTS = 100
LOCK_WAIT_MILLISECONDS = 200


class Build(msgspec.Struct, frozen=True):
    """One build of a model. `state`: building (the projector brings it up), rebuilding (whoever asked for it does),
    scratch (an answer being checked), live (what queries see), kept (what was live before).
    """

    model: str
    build: int
    version: int
    schema: str
    state: str
    table_names: list[str]


def _statement(name: str, **parts: sql.Composable) -> bytes:
    return sql.SQL(SQL[name].decode()).format(**parts).as_bytes()


async def builds_of(connection: Connection, models: Sequence[str]) -> list[Build]:
    """Every build of these models, oldest first."""
    cursor = await connection.execute(SQL["builds"], {"models": list(models)})
    return [Build(*row) for row in await cursor.fetchall()]


async def live_build(connection: Connection, model: str) -> Build | None:
    """The build that queries see."""
    return next((build for build in await builds_of(connection, [model]) if build.state == "live"), None)


async def create(connection: Connection, projection: Projection, state: str) -> Build:
    """A new, empty build. Call it in a transaction."""
    await connection.execute(SQL["lock_model"], {"model": projection.name})
    cursor = await connection.execute(SQL["next_build"], {"model": projection.name})
    row = await cursor.fetchone()
    assert row is not None
    schema = f"{projection.name}_v{projection.version}_b{row[0]}"
    names = [table.name for table in projection.tables]
    build = Build(projection.name, row[0], projection.version, schema, state, names)
    await connection.execute(_statement("create_schema", schema=sql.Identifier(schema)))
    await connection.execute(_statement("grant_schema", schema=sql.Identifier(schema)))
    await apply_schema(connection, projection, build)
    for name in names:
        await connection.execute(_statement("check_once", table=sql.Identifier(schema, name)))
    values = {"model": build.model, "build": build.build, "version": build.version, "schema_name": schema}
    await connection.execute(SQL["add_build"], values | {"table_names": names, "state": state})
    return build


async def apply_schema(connection: Connection, projection: Projection, build: Build) -> None:
    """Runs the model's own `schema` statements, which are idempotent, then dresses its tables."""
    await connection.execute(SQL["use_schema"], {"schema": build.schema})
    await connection.execute(projection.sql["schema"])
    await connection.execute(SQL["use_schema"], {"schema": "pg_catalog"})
    for table in projection.tables:
        values = {
            "schema": build.schema,
            "table": table.name,
            "append_only": table.append_only,
            "inline": projection.inline,
        }
        await connection.execute(SQL["dress_table"], values)


async def switch(connection: Connection, *, inline: bool, to: Build) -> None:
    """Makes a build the live one: its views, and the position they stand for. Call it in a transaction."""
    await connection.execute(SQL["lock_model"], {"model": to.model})
    await connection.execute(SQL["lock_wait"], {"milliseconds": str(LOCK_WAIT_MILLISECONDS)})
    before = await live_build(connection, to.model)
    position = sql.Identifier("read", f"{to.model}_position")
    await connection.execute(_statement("drop_view", view=position))
    for name in sorted({*to.table_names, *(before.table_names if before else ())}):
        await connection.execute(_statement("drop_view", view=sql.Identifier("read", name)))
    kind = "head_view" if inline else "position_view"
    parts = {"model": sql.Literal(to.model), "build": sql.Literal(to.build)}
    await connection.execute(_statement(kind, view=position, **parts))
    await connection.execute(_statement("grant_view", view=position))
    for name in to.table_names:
        view, table = sql.Identifier("read", name), sql.Identifier(to.schema, name)
        await connection.execute(_statement("point_view", view=view, table=table))
        await connection.execute(_statement("grant_view", view=view))
    if before:
        await connection.execute(SQL["set_state"], {"model": to.model, "build": before.build, "state": "kept"})
    await connection.execute(SQL["set_state"], {"model": to.model, "build": to.build, "state": "live"})


async def drop(database: Database, build: Build) -> None:
    """Removes a build that is not live, and all that is known of its progress."""
    async with database.connection() as connection:
        tenants = [head.tenant for head in await log.heads(connection)]
        async with connection.transaction():
            await connection.execute(_statement("drop_schema", schema=sql.Identifier(build.schema)))
            await connection.execute(SQL["forget_builds_row"], {"model": build.model, "build": build.build})
    for tenant in tenants:
        async with database.bound(tenant) as reader:
            for name in ("forget_checkpoints", "forget_deliveries", "forget_parked"):
                await reader.connection.execute(SQL[name], {"model": build.model, "build": build.build})


async def prepare(database: Database, projections: Sequence[Projection]) -> None:
    """Sees that every model has a build of the code's version. Harmless when done before, and by several at once.

    The first build is live at once (an inline one when the log is still empty); one of a newer version than the live
    one is made beside it, for the projector to bring up and switch to.
    """
    for projection in projections:
        await retrying(database, partial(_prepare_one, projection=projection))


async def _prepare_one(connection: Connection, projection: Projection) -> None:
    await connection.execute(SQL["lock_model"], {"model": projection.name})
    builds = await builds_of(connection, [projection.name])
    live = next((build for build in builds if build.state == "live"), None)
    current = [build for build in builds if build.version == projection.version and build.state in ("live", "building")]
    for build in current:
        await apply_schema(connection, projection, build)
    if current or (live is not None and live.version >= projection.version):
        return
    build = await create(connection, projection, "building")
    if live is None and (not projection.inline or not await log.heads(connection)):
        await switch(connection, inline=projection.inline, to=build)


async def retrying(database: Database, work: Callable[[Connection], Awaitable[None]]) -> None:
    """Runs `work` in a transaction of its own, again while it has to give way to readers."""
    for attempt in range(1, SWITCH_ATTEMPTS + 1):
        async with database.connection() as connection:
            try:
                async with connection.transaction():
                    await work(connection)
                return
            except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected):
                if attempt == SWITCH_ATTEMPTS:
                    raise


def followed(builds: Sequence[Build], projections: Mapping[str, Projection]) -> list[Build]:
    """Those the projector brings on: of the code's version, live (unless inline) or being built."""
    return [
        build
        for build in builds
        if build.version == projections[build.model].version
        and (build.state == "building" or (build.state == "live" and not projections[build.model].inline))
    ]
