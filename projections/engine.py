"""Applies events to read models: rows, deliveries and checkpoint in one fenced transaction, exactly once."""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from typing import NamedTuple
from uuid import UUID, uuid4

import msgspec
import psycopg
from psycopg import sql

from eventstore import log, traces
from eventstore.db import Connection, Database, Reader
from eventstore.log import POSITION_MAX, Recorded, Stored
from projections import builds
from projections.builds import Build
from projections.columns import INTEGER, TEXT, Column
from projections.delivery import SQL as DELIVERY_SQL
from projections.delivery import Deliveries, counted
from projections.folding import Batch, Held, Read, read_one, read_run
from projections.projection import Key, Projection, Seen
from projections.settings import EngineSettings
from projections.tables import SQL, Asked, BuildTables, Statement, Unwritable, load_types, packed, run, write

LIVE_EVENTS_MAX = 100
"""Events that are applied to all live models in one transaction; what is further behind takes larger pages."""
LIVE_BYTES_MAX = 1_048_576
"""Payload bytes of these, but for the last, where somebody waits for the model."""
MODELS_AT_ONCE = 4
"""Models that go a long way side by side: each holds up to two connections, and pages in memory."""
PAGES_AHEAD = 1
"""Pages of the log that wait for a model while it writes one."""
PLACES_KEPT_MAX = 48
"""Companies, times prompt models, of which the latest rows are kept in memory."""
ROWS_KEPT_MAX = 256
"""Rows kept of each of their tables."""
SHARED_BYTES_MAX = 4_194_304
"""Payload bytes of large events that are kept decoded: others who follow the log come by in a moment."""
Place = tuple[str, int, UUID]
"""A model's build and a company."""
Pages = asyncio.Queue[tuple[Sequence[Read], Batch] | None]
ADVANCE = sql.SQL(SQL["advance"].decode()).format(deliver=sql.SQL(DELIVERY_SQL["deliver"].decode())).as_bytes()
Committed = Callable[[UUID, str, int], None]
"""Called after a commit: tenant, model, position reached."""


class Fenced(Exception):
    """Another process has taken this company's checkpoint over; nothing was written."""


class Forked(Exception):
    """The log has another event where one was read before: a database without its last moments took over."""


class Waiting(Exception):
    """Keys of the model wait, so that what was folded without them is void; nothing was written."""


@dataclass(frozen=True, eq=False)
class Target:
    """A build to bring on, with what is needed to write it."""

    projection: Projection
    build: Build
    tables: BuildTables


class Kept(NamedTuple):
    """Rows of a company's model as the latest batches left them at a position.

    Only what the checkpoint's owner wrote itself, batch after batch, is kept: the fence says that nobody else wrote
    since. Whoever claims the checkpoint anew, or finds keys that wait, looks everything up.
    """

    position: int
    rows: Held


class Behind(msgspec.Struct, frozen=True):
    """A company whose log goes beyond a build's checkpoint."""

    tenant: UUID
    head: int
    model: str
    build: int
    position: int


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
        self._positions: dict[Place, int] = {}
        self._kept: OrderedDict[Place, Kept] = OrderedDict()
        self._ways: dict[UUID, set[Way]] = {}
        self._shared = Shared()

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
        """Companies with events that a followed build has not seen.

        What stands further back than it is remembered to was set back: its commits were lost with a crash of the
        database, which they do not wait for. Where nothing new is written no commit of ours would meet the fence, so
        what is remembered is dropped here.
        """
        keys = list(self.targets)
        values = {"models": [model for model, _ in keys], "builds": [build for _, build in keys]}
        async with self.database.connection() as connection:
            cursor = await connection.execute(SQL["behind"], values, binary=True)
            found = [Behind(*row) for row in await cursor.fetchall()]
        for each in found:
            if self._positions.get((each.model, each.build, each.tenant), 0) > each.position:
                self.forget(each.tenant)
        return found

    def stir(self, tenant: UUID) -> None:
        """Says that a company's log has moved: who follows it at this moment looks again."""
        for way in self._ways.get(tenant, ()):
            way.moved.set()

    async def advance(
        self,
        tenant: UUID,
        *,
        targets: Sequence[Target] | None = None,
        to: int = POSITION_MAX,
        others_wait: Callable[[], bool] = lambda: True,
    ) -> None:
        """Brings a company's read models up to the head of its log, or to `to`.

        What is live and stands together takes a few events in one transaction; longer ways are gone side by side.
        While a way is gone and no `others_wait`, what comes meanwhile is part of it.
        Raises Fenced when another process took a model over; the others have been brought on all the same.
        """
        chosen = list(self.targets.values()) if targets is None else targets
        positions, faults = await self._positions_of(tenant, chosen)
        if await self._keep_up(tenant, positions, to):
            positions.clear()
        while positions:
            await self._level(tenant, positions, faults, to, others_wait)
        for fault in faults:
            raise fault

    async def _positions_of(
        self, tenant: UUID, targets: Sequence[Target]
    ) -> tuple[dict[Target, int], list[BaseException]]:
        positions: dict[Target, int] = {}
        faults: list[BaseException] = []
        for target in targets:
            position = self._positions.pop(_place(target, tenant), None)
            if position is None:
                self._kept.pop(_place(target, tenant), None)
            try:
                positions[target] = await self.claim(target.build, tenant) if position is None else position
            except psycopg.Error as error:
                faults.append(error)
        return positions, faults

    async def _keep_up(self, tenant: UUID, positions: dict[Target, int], to: int) -> bool:
        """Applies the next events to all models in one transaction, if they are live and stand at one position.

        Answers whether that was all there is. When one of them fails, nothing was changed: each by itself, then.
        """
        if len(set(positions.values())) != 1 or any(target.build.state != "live" for target in positions):
            return False
        targets = sorted(positions, key=lambda target: target.build.model)
        position = positions[targets[0]]
        limit = min(LIVE_EVENTS_MAX, self.settings.projection_batch_events_max)
        prompt = any(target.projection.prompt for target in targets)
        size = LIVE_BYTES_MAX if prompt else self.settings.projection_batch_bytes_max
        try:
            with traces.span("project live", tenant=str(tenant)):
                events, whole = await self._commit_next(targets, tenant, position, min(to, position + limit), size)
        except Forked:
            self._shared.forget()
            return False
        except (psycopg.Error, Unwritable, Fenced):  # whose fault it is, they find out one by one
            return False
        reached = events[-1].position if events else position
        for target in targets:
            positions[target] = reached
            if events:
                self.tell(target, tenant, reached)
        if len(events) == limit or not whole:
            return False
        self._remember(tenant, positions)
        return True

    def _remember(self, tenant: UUID, positions: Mapping[Target, int]) -> None:
        for target, position in positions.items():
            self._positions[_place(target, tenant)] = position

    async def _level(
        self,
        tenant: UUID,
        positions: dict[Target, int],
        faults: list[BaseException],
        to: int,
        others_wait: Callable[[], bool],
    ) -> None:
        """Brings the models that are furthest behind to where the next one stands, or to the end of the log."""
        lowest = min(positions.values())
        behind = [target for target, position in positions.items() if position == lowest][:MODELS_AT_ONCE]
        ceiling = min((position for position in positions.values() if position > lowest), default=to)
        way = Way(others_wait if len(behind) == len(positions) else lambda: True)
        for target, end in zip(behind, await self._side_by_side(tenant, behind, lowest, ceiling, way), strict=True):
            if isinstance(end, BaseException):
                del positions[target]
                faults.append(end)
            elif ceiling < to and end == ceiling:
                positions[target] = end
            else:
                del positions[target]
                self._remember(tenant, {target: end})

    async def _side_by_side(
        self, tenant: UUID, targets: Sequence[Target], position: int, to: int, way: "Way"
    ) -> list[int | BaseException]:
        """Each model in transactions of its own, all from one reading of the log: one is folded while the other is
        written, and the log is read ahead of both. Answers where each came to, or why it did not.
        """
        queues: list[tuple[Target, Pages]] = [(target, asyncio.Queue(PAGES_AHEAD)) for target in targets]
        following = [self._follow(target, pages, tenant, position, way) for target, pages in queues]
        reading = self._hand_out(self._pages(tenant, position, to, _types(targets), way), queues, way)
        ways = self._ways.setdefault(tenant, set())
        ways.add(way)
        try:
            ends = await asyncio.gather(*following, reading, return_exceptions=True)
        finally:
            ways.discard(way)
            if not ways:
                self._ways.pop(tenant, None)
        fault = ends.pop()
        if isinstance(fault, BaseException):
            return [end if isinstance(end, BaseException) else fault for end in ends]
        return [end for end in ends if end is not None]

    async def _pages(
        self, tenant: UUID, position: int, to: int, types: Collection[str], way: "Way"
    ) -> AsyncIterator[Sequence[Read]]:
        """The log after a position, up to `to`, large events only of `types`. Pages grow while they are small."""
        settings = self.settings
        limit = min(500, settings.projection_batch_events_max)
        while True:
            way.moved.clear()
            ends = way.ends()
            async with self.database.bound(tenant) as reader:
                page = await log.read_page(reader, after=position, to=to, limit=limit, types=types)
            if not page and ends:
                return
            if not page:
                await way.moved.wait()
                continue
            position = page[-1].position
            count, size = sum(map(len, page)), sum(run.size for run in page) + 1
            events = [event for run in page for event in read_run(run, types)]
            self._shared.keep(tenant, events)
            yield events
            fitting = int(count * settings.projection_batch_bytes_max / size)
            limit = max(1, min(settings.projection_batch_events_max, fitting, limit * 4))

    async def _hand_out(
        self, pages: AsyncIterator[Sequence[Read]], queues: Sequence[tuple[Target, Pages]], way: "Way"
    ) -> None:
        """Puts each page into every queue, as a batch ready to fold, and None at the end, whatever the end is."""
        fault: Exception | None = None
        try:
            async for events in pages:
                for target, queue in queues:
                    way.under_way += 1
                    await queue.put((events, Batch(target.projection, events, trusting=True)))
        except Exception as error:  # whoever follows must not wait for ever
            fault = error
        for _, queue in queues:
            await queue.put(None)
        if fault is not None:
            raise fault

    async def _follow(self, target: Target, pages: Pages, tenant: UUID, position: int, way: "Way") -> int:
        """Applies page after page. After a fault the rest is let pass, so that nobody waits."""
        fault: Exception | None = None
        course = Course(self, target, tenant, position, way)
        try:
            while (page := await pages.get()) is not None:
                if fault is None:
                    try:
                        await course.take(*page)
                    except Exception as error:  # told once all has passed
                        fault = error
                        way.settle()
                else:
                    way.settle()
            if fault is not None:
                raise fault
            await course.settle()
        finally:
            await course.leave()
        return course.position

    def forget(self, tenant: UUID) -> None:
        """Drops what is remembered of a company: another process owns it now, or it was set back."""
        for key in [key for key in self._positions if key[2] == tenant]:
            del self._positions[key]
        for key in [key for key in self._kept if key[2] == tenant]:
            del self._kept[key]

    async def claim(self, build: Build, tenant: UUID) -> int:
        """Becomes the owner of a company's checkpoint; answers where it stands."""
        async with self.database.bound(tenant) as reader:
            values = {"model": build.model, "build": build.build, "owner": self.owner}
            position: int = (await reader.tuples(SQL["claim"], values))[0][0]
        return position

    async def apply(
        self, target: Target, tenant: UUID, position: int, events: Sequence[Read], batch: Batch | None = None
    ) -> int:
        """Applies the events that follow `position`, and commits. Answers the position reached. `batch`: the same
        events, made ready before.

        When PostgreSQL refuses a value, the batch is halved until the event at fault is alone, and its key parked.
        """
        try:
            with traces.span(f"project {target.build.model}", tenant=str(tenant), events=len(events)):
                await self._commit(target, tenant, position, batch or Batch(target.projection, events), events)
        except (psycopg.DataError, psycopg.IntegrityError, Unwritable) as error:
            if len(events) == 1:
                refused = f"{type(error).__name__}: {error}"
                await self._commit(target, tenant, position, Batch(target.projection, events), events, refused)
            else:
                middle = len(events) // 2
                reached = await self.apply(target, tenant, position, events[:middle])
                return await self.apply(target, tenant, reached, events[middle:])
        reached = events[-1].position
        self.tell(target, tenant, reached)
        return reached

    def tell(self, target: Target, tenant: UUID, reached: int) -> None:
        """Lets whoever asked for it know of a commit."""
        if self.committed is not None and target.build.state == "live":
            self.committed(tenant, target.build.model, reached)

    async def _commit(
        self,
        target: Target,
        tenant: UUID,
        position: int,
        batch: Batch,
        events: Sequence[Read],
        refused: str | None = None,
    ) -> None:
        touched = batch.touched()
        async with self._batch(tenant, [target]) as reader:
            [waiting] = await self._held(reader, [target], position, await self._hold(reader, [target], position))
            await self._begin(reader, [(target, batch, touched)])
            if refused is None:
                batch.fold(waiting)
                await self._add_up(reader, [(target, batch)])
            else:
                batch.park(events[0], refused)
            moving = await self._write(reader, [(target, batch)], position, events[-1].position)
            await self._must_have_moved(tenant, moving, [(target, batch)], position)

    async def fold_ahead(
        self, target: Target, tenant: UUID, batch: Batch, before: Batch | None
    ) -> list[Statement] | None:
        """Folds a batch while the one `before` it is being written, whose rows are known; asks for the other rows,
        which that one leaves alone. Answers what there is to write; None when an event fails.
        """
        if not batch.changes_rows():
            batch.fold(set())
            return None if batch.parked else []
        async with self._batch(tenant, []) as reader:
            await self._begin_ahead(reader, target, batch, batch.touched(), before)
            await self._begin_groups_ahead(reader, target, batch, before)
            batch.fold(set())
            if target.projection.sums:
                await self._begin_ahead(reader, target, batch, batch.summed(), before)
                batch.add_up()
        if batch.parked or not batch.right_to_trust():
            return None
        try:
            return list(packed([(target.tables, batch.rows)]))
        except Unwritable:
            return None

    async def _begin_ahead(
        self, reader: Reader, target: Target, batch: Batch, touched: Mapping[str, Sequence[Key]], before: Batch | None
    ) -> None:
        """Gives the batch the rows of these keys: those that the one before touched as it left them, the others from
        the tables. All are closed by their key, for where they lie may change until then.
        """
        held = {} if before is None else {name: rows.cells for name, rows in before.rows.items()}
        unknown = {name: [key for key in keys if key not in held.get(name, ())] for name, keys in touched.items()}
        found = await target.tables.current(reader, {name: keys for name, keys in unknown.items() if keys})
        for name, rows in found.items():
            batch.begin(name, [(key, row, since, key) for key, row, since, _ in rows])
        if before is not None:
            for name, keys in touched.items():
                batch.begin(name, before.rows[name].held([key for key in keys if key in held[name]]))

    async def _begin_groups_ahead(self, reader: Reader, target: Target, batch: Batch, before: Batch | None) -> None:
        """Gives the batch all rows of the groups it changes, as above."""
        for name, groups in batch.groups().items():
            held = None if before is None else before.rows[name]
            table = target.tables.by_name[name]
            rows = await table.found(await table.ask_groups(reader, groups))
            batch.begin(
                name, [(key, row, since, key) for key, row, since, _ in rows if held is None or key not in held.cells]
            )
            if held is not None:
                batch.begin(name, held.held([key for of in groups for key in held.groups.get(of, ())]))

    async def commit_folded(
        self, target: Target, tenant: UUID, position: int, batch: Batch, statements: Sequence[Statement], reached: int
    ) -> None:
        """Writes what was folded ahead. Raises Waiting when keys wait, which the fold did not know of."""
        with traces.span(f"project {target.build.model}", tenant=str(tenant)):
            async with self._batch(tenant, [target]) as reader:
                [waiting] = await self._held(reader, [target], position, await self._hold(reader, [target], position))
                if waiting:
                    raise Waiting
                await run(reader.connection, statements)
                moving = await self._record(reader, [(target, batch)], position, reached)
                await self._must_have_moved(tenant, moving, [(target, batch)], position)

    async def _commit_next(
        self, targets: Sequence[Target], tenant: UUID, position: int, to: int, size: int
    ) -> tuple[Sequence[Read], bool]:
        """Reads what follows `position`, and applies it to all targets: one transaction, and two round trips where the
        rows are known or new. Answers the events, and whether their size left room for more.
        """
        kept = [self._kept.pop(_place(target, tenant), None) for target in targets]
        known = [each.rows if each is not None and each.position == position else {} for each in kept]
        async with self._batch(tenant, targets) as reader:
            holding = await self._hold(reader, targets, position)
            shared = self._shared.of(tenant, position)
            page = await log.read_within(reader, after=position, to=to, bytes_max=size, known=shared)
            waiting = await self._held(reader, targets, position, holding)
            known = [{} if keys else rows for keys, rows in zip(waiting, known, strict=True)]  # they may be replayed
            events = [_shared_or_read(stored, shared) for stored in page]
            self._shared.keep(tenant, events)
            works = await self._folded(reader, targets, events, waiting, known, trusting=True)
            if not all(batch.right_to_trust() for _, batch in works):
                works = await self._folded(reader, targets, events, waiting, known, trusting=False)
            reached = position
            if events:
                reached = events[-1].position
                moving = await self._write(reader, works, position, reached)
        if events:
            await self._must_have_moved(tenant, moving, works, position)
        for (target, batch), rows, keys in zip(works, known, waiting, strict=True):
            if target.projection.prompt and not keys and not batch.parked:
                self._keep(_place(target, tenant), rows, batch.left(), reached)
        return events, sum(stored.size for stored in page) < size

    async def _folded(
        self,
        reader: Reader,
        targets: Sequence[Target],
        events: Sequence[Read],
        waiting: Sequence[set[str]],
        known: Sequence[Held],
        *,
        trusting: bool,
    ) -> list[tuple[Target, Batch]]:
        """The events folded into each target's rows, of which some are `known`. Nothing is written yet."""
        works = [(target, Batch(target.projection, events, trusting=trusting)) for target in targets]
        await self._begin(reader, [(target, batch, batch.touched()) for target, batch in works], known)
        for (_, batch), keys in zip(works, waiting, strict=True):
            batch.fold(keys.copy())
        await self._add_up(reader, works, known)
        return works

    def _keep(self, place: Place, rows: Held, left: Held, position: int) -> None:
        """Keeps what a batch left, and what was known before unless that becomes much."""
        for name, cells in left.items():
            kept = rows.pop(name, {})
            if len(kept) + len(cells) <= ROWS_KEPT_MAX:
                rows[name] = kept | cells
            elif len(cells) <= ROWS_KEPT_MAX:
                rows[name] = cells
        self._kept[place] = Kept(position, rows)
        if len(self._kept) > PLACES_KEPT_MAX:
            self._kept.popitem(last=False)

    def _batch(self, tenant: UUID, targets: Sequence[Target]) -> AbstractAsyncContextManager[Reader]:
        """A batch's transaction; for models that are live, behind a switch of them."""
        live = sorted(target.build.model for target in targets if target.build.state == "live")
        return self.database.bound(tenant, binding=SQL["begin"], live=TEXT.column(live))

    async def _hold(self, reader: Reader, targets: Sequence[Target], position: int) -> Asked:
        """Asks for the checkpoints, for this transaction."""
        values = {"position": position, "owner": self.owner, **_named(targets)}
        return await reader.connection.execute(SQL["lock"], values, binary=True)

    async def _held(self, reader: Reader, targets: Sequence[Target], position: int, holding: Asked) -> list[set[str]]:
        """Of each target the keys that wait. Raises Fenced when a checkpoint is not where and whose it was."""
        parked = {(model, build): events for model, build, events in await holding.fetchall()}
        waiting: list[set[str]] = []
        for target in targets:
            model, build = target.build.model, target.build.build
            events = parked.get((model, build))
            if events is None:
                raise Fenced(f"{model} of {reader.tenant} was taken over at {position}")
            values = {"model": model, "build": build}
            rows = await reader.tuples(SQL["waiting_keys"], values) if events else ()
            waiting.append({row[0] for row in rows})
        return waiting

    async def _begin(
        self,
        reader: Reader,
        works: Sequence[tuple[Target, Batch, Mapping[str, Sequence[Key]]]],
        known: Sequence[Held] | None = None,
    ) -> None:
        """Gives the batches the rows that hold now. Those that are not `known` are asked for in one round trip."""
        asked = []
        for target, batch, _ in works:
            if not batch.folded:
                for name, groups in batch.groups().items():
                    table = target.tables.by_name[name]
                    asked.append((batch, name, table, await table.ask_groups(reader, groups)))
        for (target, batch, touched), held in zip(works, known or [{}] * len(works), strict=True):
            for name, keys in touched.items():
                rows = held.get(name, {})
                batch.begin(name, [(key, *rows[key], key) for key in keys if key in rows and rows[key][0] is not None])
                if unknown := [key for key in keys if key not in rows]:
                    table = target.tables.by_name[name]
                    asked.append((batch, name, table, await table.ask(reader, unknown)))
        for batch, name, table, asking in asked:
            batch.begin(name, await table.found(asking))

    async def _add_up(
        self, reader: Reader, works: Sequence[tuple[Target, Batch]], known: Sequence[Held] | None = None
    ) -> None:
        """Brings the sums of folded batches on. Which of them that touches is known only now."""
        held = known or [{}] * len(works)
        summing = [
            (target, batch, rows) for (target, batch), rows in zip(works, held, strict=True) if target.projection.sums
        ]
        await self._begin(
            reader,
            [(target, batch, batch.summed()) for target, batch, _ in summing],
            [rows for _, _, rows in summing],
        )
        for _, batch, _ in summing:
            batch.add_up()

    async def _write(self, reader: Reader, works: Sequence[tuple[Target, Batch]], position: int, reached: int) -> Asked:
        await write(reader.connection, [(target.tables, batch.rows) for target, batch in works])
        return await self._record(reader, works, position, reached)

    async def _record(
        self, reader: Reader, works: Sequence[tuple[Target, Batch]], position: int, reached: int
    ) -> Asked:
        """Writes down what became of the events, and how far the models came. `_must_have_moved` takes the answer."""
        for target, batch in works:
            for parked in batch.parked:
                values = {
                    "model": target.build.model,
                    "build": target.build.build,
                    "position": parked.event.position,
                    "key": parked.key,
                    "type": parked.event.type,
                    "error": parked.error,
                }
                await reader.connection.execute(SQL["park"], values)
        named = _named([target for target, _ in works])
        values = {
            **counted([(target.build, _delivered(batch)) for target, batch in works]),
            **{f"moved_{name}": column for name, column in named.items()},
            "parked": INTEGER.column([len(batch.parked) for _, batch in works]),
            "position": position,
            "reached": reached,
            "owner": self.owner,
        }
        return await reader.connection.execute(ADVANCE, values, binary=True)

    async def _must_have_moved(
        self, tenant: UUID, moving: Asked, works: Sequence[tuple[Target, Batch]], position: int
    ) -> None:
        """Raises Fenced unless every checkpoint moved; those that this transaction locked do."""
        if len(await moving.fetchall()) != len(works):
            raise Fenced(f"a model of {tenant} was taken over at {position}")


class Shared:
    """Large events as they were last decoded. What is asked of the log is only that they are the same: their leaves."""

    def __init__(self) -> None:
        self._events: OrderedDict[tuple[UUID, int], Seen] = OrderedDict()
        self._size = 0

    def keep(self, tenant: UUID, events: Iterable[Read]) -> None:
        """Keeps those that are large, and gives up the oldest."""
        for event in events:
            place = tenant, event.position
            if (
                not isinstance(event, Recorded)
                or not isinstance(event.kept, tuple)
                or len(event.payload) <= log.LARGE_BYTES
                or place in self._events
            ):
                continue
            self._events[place] = event
            self._size += len(event.payload)
            while self._size > SHARED_BYTES_MAX:
                self._size -= len(self._events.popitem(last=False)[1].payload)

    def of(self, tenant: UUID, after: int) -> dict[int, Seen]:
        """By position."""
        return {at: event for (of, at), event in self._events.items() if of == tenant and at > after}

    def forget(self) -> None:
        """Keeps none any more."""
        self._events.clear()
        self._size = 0


class Way:
    """A long way through a company's log that several models go at once. It ends where the log does, unless pages are
    `under_way` then and nobody else waits to have his turn: what they cover is looked for again.
    """

    def __init__(self, others_wait: Callable[[], bool]) -> None:
        self.moved = asyncio.Event()
        self.under_way = 0
        self._others_wait = others_wait

    def ends(self) -> bool:
        """Whether the log's end is now the way's."""
        return not self.under_way or self._others_wait()

    def settle(self) -> None:
        """A model is done with a page."""
        self.under_way -= 1
        self.moved.set()


class Course:
    """A model's long way through a company's log: a page is folded while the one before it is written.

    What is known of the rows goes no further than one page back, and the checkpoint's fence says that nobody else
    wrote. Keys that wait may be replayed by others at any time, so with any of them the pages are applied in order.
    """

    def __init__(self, engine: Engine, target: Target, tenant: UUID, position: int, way: Way) -> None:
        self.position = position
        self._way = way
        self._engine = engine
        self._target = target
        self._tenant = tenant
        self._in_order = False
        self._before: tuple[Sequence[Read], Batch] | None = None
        self._writing: asyncio.Task[None] | None = None

    async def take(self, events: Sequence[Read], batch: Batch) -> None:
        """Folds a page and, once the one before is written, begins to write it."""
        engine, target, tenant = self._engine, self._target, self._tenant
        statements = None
        if not self._in_order:
            statements = await engine.fold_ahead(target, tenant, batch, self._before and self._before[1])
        await self.settle()
        if statements is None or self._in_order:
            self._in_order = True
            self.position = await engine.apply(target, tenant, self.position, events)
            self._way.settle()
            return
        self._writing = asyncio.create_task(self._write(events, batch, statements))
        self._writing.add_done_callback(lambda _: self._way.settle())
        self._before = (events, batch)

    async def _write(self, events: Sequence[Read], batch: Batch, statements: Sequence[Statement]) -> None:
        engine, target, tenant, reached = self._engine, self._target, self._tenant, events[-1].position
        await engine.commit_folded(target, tenant, self.position, batch, statements, reached)
        self.position = reached
        engine.tell(target, tenant, reached)

    async def settle(self) -> None:
        """Until the page under way is written."""
        if self._writing is None or self._before is None:
            return
        try:
            await self._writing
        except (psycopg.DataError, psycopg.IntegrityError, Waiting):
            self._in_order = True
            self.position = await self._engine.apply(self._target, self._tenant, self.position, self._before[0])
        finally:
            self._writing = None

    async def leave(self) -> None:
        """Gives up what is under way."""
        if self._writing is not None:
            self._writing.cancel()
            await asyncio.gather(self._writing, return_exceptions=True)


def _place(target: Target, tenant: UUID) -> Place:
    return target.build.model, target.build.build, tenant


def _shared_or_read(stored: Stored, shared: Mapping[int, Seen]) -> Read:
    """Raises Forked."""
    known = shared.get(stored.position)
    if known is None:
        return read_one(stored)
    if known.leaf != stored.leaf:
        raise Forked(f"position {stored.position} is not what it was")
    return known


def _types(targets: Iterable[Target]) -> set[str]:
    """Of the events that somebody handles."""
    return {kind for target in targets for kind in target.projection.changes}


def _named(targets: Sequence[Target]) -> dict[str, Column]:
    return {
        "models": TEXT.column([target.build.model for target in targets]),
        "builds": INTEGER.column([target.build.build for target in targets]),
    }


def _delivered(batch: Batch) -> Deliveries:
    deliveries = Deliveries()
    deliveries.add("handled", batch.handled)
    deliveries.add("ignored", batch.ignored)
    deliveries.add("parked", [parked.event for parked in batch.parked])
    return deliveries
