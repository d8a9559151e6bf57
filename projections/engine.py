"""Applies events to read models: rows, deliveries and checkpoint in one fenced transaction, exactly once."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID, uuid4

import msgspec
import psycopg

from eventstore import log, traces
from eventstore.db import Connection, Database, Reader
from eventstore.log import POSITION_MAX
from projections import builds
from projections.builds import Build
from projections.delivery import Deliveries
from projections.folding import PAYLOAD, Batch, Read, read_one
from projections.projection import Projection
from projections.settings import EngineSettings
from projections.tables import SQL, BuildTables, Unwritable, load_types

Committed = Callable[[UUID, str, int], None]
"""Called after a commit: tenant, model, position reached."""


class Fenced(Exception):
    """Another process has taken this company's checkpoint over; nothing was written."""


@dataclass(frozen=True, eq=False)
class Target:
    """A build to bring on, with what is needed to write it."""

    projection: Projection
    build: Build
    tables: BuildTables


class Behind(msgspec.Struct, frozen=True):
    """A company whose log goes beyond a build's checkpoint."""

    tenant: UUID
    head: int
    model: str
    build: int
    position: int


class Pages:
    """The log of one company, read once for all its models, the next page while the last is being written."""

    def __init__(self, database: Database, tenant: UUID, settings: EngineSettings) -> None:
        self._database = database
        self._tenant = tenant
        self._settings = settings
        self._limit = min(500, settings.projection_batch_events_max)
        self._ahead: tuple[tuple[int, int], asyncio.Task[tuple[list[Read], bool]]] | None = None

    async def after(self, position: int, to: int) -> tuple[list[Read], bool]:
        """The events after a position, up to `to`, and whether there may be more behind them."""
        ahead, self._ahead = self._ahead, None
        if ahead is not None and ahead[0] == (position, to):
            events, more = await ahead[1]
        else:
            await self._end(ahead)
            events, more = await self._read(position, to)
        if more:
            following = (events[-1].position, to)
            self._ahead = following, asyncio.create_task(self._read(*following))
        return events, more

    async def close(self) -> None:
        """Ends what is being read ahead."""
        ahead, self._ahead = self._ahead, None
        await self._end(ahead)

    async def _end(self, ahead: "tuple[object, asyncio.Task[tuple[list[Read], bool]]] | None") -> None:
        if ahead is not None:
            ahead[1].cancel()
            await asyncio.gather(ahead[1], return_exceptions=True)

    async def _read(self, position: int, to: int) -> tuple[list[Read], bool]:
        limit = self._limit
        async with self._database.bound(self._tenant) as reader:
            page = await log.read_log(reader, after=position, to=to, limit=limit)
        size = sum(len(stored.row[PAYLOAD]) for stored in page) + 1
        fitting = int(len(page) * self._settings.projection_batch_bytes_max / size)
        self._limit = max(1, min(self._settings.projection_batch_events_max, fitting, limit * 4))
        return [read_one(stored) for stored in page], len(page) == limit


class Engine:
    """Brings builds of read models up to date, one batch of one company after the other.

    Several may run against one database: whoever claimed a company's checkpoint last owns it, and only the owner's
    batches commit.
    """

    def __init__(
        self,
        database: Database,
        projections: Sequence[Projection],
        settings: EngineSettings | None = None,
        *,
        owner: UUID | None = None,
        committed: Committed | None = None,
    ) -> None:
        self.database = database
        self.projections = {projection.name: projection for projection in projections}
        self.settings = settings or EngineSettings()
        self.owner = owner or uuid4()
        self.committed = committed
        self.targets: dict[tuple[str, int], Target] = {}
        self._positions: dict[tuple[str, int, UUID], int] = {}

    async def prepare(self) -> None:
        """Sees that builds exist, and finds those to follow."""
        await builds.prepare(self.database, list(self.projections.values()))
        await self.refresh()

    async def refresh(self) -> None:
        """Finds the builds to follow: the live ones, and those that this release's code is to replace them with."""
        async with self.database.connection() as connection:
            found = builds.followed(await builds.builds_of(connection, list(self.projections)), self.projections)
            wanted = {(build.model, build.build): build for build in found}
            for key, build in wanted.items():
                known = self.targets.get(key)
                if known is None:
                    self.targets[key] = await self.target(connection, build)
                elif known.build != build:
                    self.targets[key] = replace(known, build=build)
        for key in set(self.targets) - set(wanted):
            del self.targets[key]

    async def target(self, connection: Connection, build: Build) -> Target:
        """A build with its tables, whatever its state."""
        projection = self.projections[build.model]
        types = await load_types(connection, projection, build.schema)
        return Target(projection, build, BuildTables(projection, build.schema, types))

    async def behind(self) -> list[Behind]:
        """Companies with events that a followed build has not seen."""
        keys = list(self.targets)
        values = {"models": [model for model, _ in keys], "builds": [build for _, build in keys]}
        async with self.database.connection() as connection:
            cursor = await connection.execute(SQL["behind"], values, binary=True)
            return [Behind(*row) for row in await cursor.fetchall()]

    async def advance(self, tenant: UUID, *, targets: Sequence[Target] | None = None, to: int = POSITION_MAX) -> None:
        """Brings a company's read models up to the head of its log, or to `to`. The models run side by side.

        Raises Fenced when another process took one over; the others have been brought on all the same.
        """
        chosen = list(self.targets.values()) if targets is None else targets
        positions, faults = await self._positions_of(tenant, chosen)
        pages = Pages(self.database, tenant, self.settings)
        try:
            while positions:
                await self._next_page(tenant, pages, positions, faults, to)
        finally:
            await pages.close()
        for fault in faults:
            raise fault

    async def _positions_of(
        self, tenant: UUID, targets: Sequence[Target]
    ) -> tuple[dict[Target, int], list[BaseException]]:
        positions: dict[Target, int] = {}
        faults: list[BaseException] = []
        for target in targets:
            position = self._positions.pop((target.build.model, target.build.build, tenant), None)
            try:
                positions[target] = await self.claim(target.build, tenant) if position is None else position
            except psycopg.Error as error:
                faults.append(error)
        return positions, faults

    async def _next_page(
        self, tenant: UUID, pages: Pages, positions: dict[Target, int], faults: list[BaseException], to: int
    ) -> None:
        """Applies one page to the models that are furthest behind, side by side: they never drift apart."""
        lowest = min(positions.values())
        behind = [target for target, position in positions.items() if position == lowest]
        ceiling = min((position for position in positions.values() if position > lowest), default=to)
        events, more = await pages.after(lowest, ceiling)
        ends: list[int | BaseException] = [lowest] * len(behind)
        if events:
            ends = await asyncio.gather(
                *(self.apply(target, tenant, lowest, events) for target in behind), return_exceptions=True
            )
        for target, end in zip(behind, ends, strict=True):
            if isinstance(end, BaseException):
                del positions[target]
                faults.append(end)
            elif more or (ceiling < to and end == ceiling):
                positions[target] = end
            else:
                del positions[target]
                self._positions[target.build.model, target.build.build, tenant] = end

    def forget(self, tenant: UUID) -> None:
        """Drops what is remembered of a company that another process now owns."""
        for key in [key for key in self._positions if key[2] == tenant]:
            del self._positions[key]

    async def claim(self, build: Build, tenant: UUID) -> int:
        """Becomes the owner of a company's checkpoint; answers where it stands."""
        async with self.database.bound(tenant) as reader:
            values = {"model": build.model, "build": build.build, "owner": self.owner}
            position: int = (await reader.tuples(SQL["claim"], values))[0][0]
        return position

    async def apply(self, target: Target, tenant: UUID, position: int, events: Sequence[Read]) -> int:
        """Applies the events that follow `position`, and commits. Answers the position reached.

        When PostgreSQL refuses a value, the batch is halved until the event at fault is alone, and its key parked.
        """
        try:
            with traces.span(f"project {target.build.model}", tenant=str(tenant), events=len(events)):
                await self._commit(target, tenant, position, events, None)
        except (psycopg.DataError, psycopg.IntegrityError, Unwritable) as error:
            if len(events) == 1:
                await self._commit(target, tenant, position, events, f"{type(error).__name__}: {error}")
            else:
                middle = len(events) // 2
                reached = await self.apply(target, tenant, position, events[:middle])
                return await self.apply(target, tenant, reached, events[middle:])
        reached = events[-1].position
        if self.committed is not None and target.build.state == "live":
            self.committed(tenant, target.build.model, reached)
        return reached

    async def _commit(
        self, target: Target, tenant: UUID, position: int, events: Sequence[Read], refused: str | None
    ) -> None:
        batch = Batch(target.projection, events)
        touched = batch.touched()
        async with self.database.bound(tenant) as reader:
            waiting = await self._lock(reader, target.build, position)
            for name, found in (await target.tables.current(reader, touched)).items():
                batch.begin(name, found)
            if refused is None:
                batch.fold(waiting)
            else:
                batch.park(events[0], refused)
            await target.tables.write(reader.connection, batch.rows)
            await self._record(reader, target.build, position, events[-1].position, batch)

    async def _lock(self, reader: Reader, build: Build, position: int) -> set[str]:
        """Holds the checkpoint for this transaction. Answers the keys that wait."""
        values: dict[str, Any] = {"model": build.model, "build": build.build}
        if build.state == "live":
            await reader.connection.execute(SQL["stand_by"], values)
        await reader.connection.execute(SQL["steady_plans"])
        rows = await reader.tuples(SQL["lock"], values | {"position": position, "owner": self.owner})
        if not rows:
            raise Fenced(f"{build.model} of {reader.tenant} was taken over at {position}")
        if not rows[0][0]:
            return set()
        return {row[0] for row in await reader.tuples(SQL["waiting_keys"], values)}

    async def _record(self, reader: Reader, build: Build, position: int, reached: int, batch: Batch) -> None:
        values: dict[str, Any] = {"model": build.model, "build": build.build}
        deliveries = Deliveries()
        deliveries.add("handled", batch.handled)
        deliveries.add("ignored", batch.ignored)
        deliveries.add("parked", [parked.event for parked in batch.parked])
        await deliveries.write(reader.connection, build)
        for parked in batch.parked:
            event = {
                "position": parked.event.position,
                "key": parked.key,
                "type": parked.event.type,
                "error": parked.error,
            }
            await reader.connection.execute(SQL["park"], values | event)
        fence = {"position": position, "reached": reached, "parked": len(batch.parked), "owner": self.owner}
        if not await reader.tuples(SQL["advance"], values | fence):
            raise Fenced(f"{build.model} of {reader.tenant} was taken over at {position}")
