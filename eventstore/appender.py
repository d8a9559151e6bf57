"""Concurrent commands of one process join one append: one round trip, one lock, one fsync for all of them."""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol
from uuid import UUID

import psycopg
from psycopg.pq import TransactionStatus

from domain.decider import Event, Rejected
from eventstore import log, telemetry, traces
from eventstore.db import Connection, Cursor, Database, Unavailable
from eventstore.log import Appended, Outcome, Recorded, Stored, Unit
from eventstore.settings import StoreSettings

IDLE = TransactionStatus.IDLE

RETRIES_MAX = 3
"""How often a batch is sent again when its connection broke. Command ids make that safe."""

HALVED_UNITS_MIN = 8
"""With fewer units about, all outcomes are given out at once: there is nothing to gain by overlapping."""

CONNECTIONS_KEPT = 4
"""Connections, each with its cursor, kept out of the pool between appends: fetching one anew costs a tenth of a lone
append, and making a cursor as much."""

Settle = Callable[[Outcome | Rejected | None], None]
"""Told the outcome of a unit, before whoever asked; None when it is not known or the unit was never sent."""


class RefusedInline(Exception):
    """An inline model says no to an event of this command."""

    def __init__(self, command_id: UUID, rejected: Rejected) -> None:
        super().__init__(rejected.code)
        self.command_id = command_id
        self.rejected = rejected


class Inline(Protocol):
    """What is applied in the append's own transaction: read models that must be exact at once.

    `apply` may raise RefusedInline: that unit is refused, and the others are appended without it.
    """

    types: frozenset[str]

    async def apply(self, connection: Connection, tenant: UUID, events: Sequence[Recorded[Event]]) -> None:
        """Applies events that this transaction has appended, in position order."""


class _Waiting:
    __slots__ = ("events", "future", "settle", "since", "size", "unit")

    def __init__(
        self, unit: Unit, events: Sequence[Event], future: "asyncio.Future[Outcome | Rejected]", settle: Settle | None
    ) -> None:
        self.unit = unit
        self.events = events
        self.future = future
        self.settle = settle
        self.since = time.monotonic()
        self.size = sum([len(event.payload) for event in unit.events])

    def answer(self, outcome: Outcome | Rejected) -> None:
        """What became of the unit. Whoever asked may have gone."""
        if self.settle is not None:
            self.settle(outcome)
        if not self.future.done():
            self.future.set_result(outcome)

    def fail(self, error: BaseException | None) -> None:
        """It is not known what became of the unit, or it was never sent."""
        if self.settle is not None:
            self.settle(None)
        if error is not None and not self.future.done():
            self.future.set_exception(error)


_Answer = tuple[_Waiting, Outcome | Rejected | Exception]


def _give_out(answers: list[_Answer]) -> None:
    """Tells whoever asked. Empties the list, so that nobody is told twice."""
    for waiting, outcome in answers:
        if isinstance(outcome, Exception) and not isinstance(outcome, Rejected):
            waiting.fail(outcome)
        else:
            waiting.answer(outcome)
    answers.clear()


def _end(waiting: _Waiting, appended: Appended) -> int:
    """The last position of a unit; the head it met when it has no events."""
    return appended.first + len(waiting.unit.events) - 1


def _early(answered: int, waiting: int) -> int:
    """How many outcomes to give out before the next batch is sent: as many as make two halves of all units."""
    if answered + waiting < HALVED_UNITS_MIN:
        return answered
    return max(0, (answered - waiting) // 2)


class _Lane:
    """One company's queue. One append of it is under way at a time: a second would only wait for the first's lock."""

    __slots__ = ("busy", "waiting")

    def __init__(self) -> None:
        self.busy = False
        self.waiting: deque[_Waiting] = deque()


class Appender:
    """Bounded queues of units, one per company; whatever waits when an append returns goes with the next one."""

    def __init__(
        self,
        writer: Database,
        settings: StoreSettings,
        inline: Inline | None,
        committed: Callable[[UUID, int], None] | None,
    ) -> None:
        self._writer = writer
        self._settings = settings
        self._inline = inline
        self._committed = committed
        self._lanes: dict[UUID, _Lane] = {}
        self._queued = 0
        self._draining: set[asyncio.Task[None]] = set()
        self._kept: list[Cursor] = []

    def enqueue(
        self, tenant: UUID, unit: Unit, events: Sequence[Event], settle: Settle | None = None
    ) -> "asyncio.Future[Outcome | Rejected]":
        """Queues a unit. Its future gives the outcome once that is durable, or the Rejected of an inline model.

        Raises Unavailable at once when too much is waiting; the future raises it when the wait gets too long or
        PostgreSQL stays away. Then the command may or may not have been committed: the same id must be asked again.
        """
        if self._queued >= self._settings.append_queue_units_max:
            telemetry.APPENDS_REFUSED.inc()
            raise Unavailable("too many commands are waiting to be appended")
        future: asyncio.Future[Outcome | Rejected] = asyncio.get_running_loop().create_future()
        lane = self._lanes.get(tenant)
        if lane is None:
            lane = self._lanes[tenant] = _Lane()
        lane.waiting.append(_Waiting(unit, events, future, settle))
        self._queued += 1
        if not lane.busy:
            lane.busy = True
            task = asyncio.create_task(self._drain(tenant, lane))
            self._draining.add(task)
            task.add_done_callback(self._draining.discard)
        return future

    async def close(self) -> None:
        """Waits until everything queued has its outcome."""
        while self._draining:
            await asyncio.wait(self._draining)
        while self._kept:
            await self._writer.give_back(self._kept.pop().connection)

    async def _drain(self, tenant: UUID, lane: _Lane) -> None:
        """Sends batch after batch until nothing waits.

        The server and this process work at the same time: what waits is sent first, and the outcomes of the batch
        before it are given out while it is at the server, so that whoever gets one decides what goes with the next
        batch. That takes two halves: when less waits than was answered, some outcomes are given out early.
        """
        held: list[_Answer] = []
        try:
            while lane.waiting or held:
                sending: Awaitable[list[_Answer]] = self._outcomes(tenant, self._next_batch(lane))
                if held:
                    sending = asyncio.ensure_future(sending)
                    await asyncio.sleep(0)  # the batch goes out
                    _give_out(held)
                answers = await sending
                early = _early(len(answers), len(lane.waiting))
                _give_out(answers[:early])
                held = answers[early:]
                if early:
                    await asyncio.sleep(0)  # whoever got an outcome says what is next
        finally:
            _give_out(held)
            lane.busy = False
            if not lane.waiting:
                self._lanes.pop(tenant, None)

    async def _outcomes(self, tenant: UUID, batch: list[_Waiting]) -> list[_Answer]:
        """What became of each unit of a batch; an error, which is the batch's own, for all of them."""
        if not batch:
            return []
        try:
            if traces.wanted():
                with traces.span("append", tenant=str(tenant), units=len(batch)):
                    outcomes = await self._retrying(tenant, batch)
            else:
                outcomes = await self._retrying(tenant, batch)
        except Exception as error:  # it is carried to whoever asked
            telemetry.log().warning("append_failed", tenant=str(tenant), units=len(batch), error=repr(error))
            failed = _unavailable(error)
            return [(waiting, failed) for waiting in batch]
        telemetry.APPEND_BATCH_UNITS.observe(len(batch))
        answers: list[_Answer] = list(zip(batch, outcomes, strict=True))
        if self._committed is not None:
            ends = [_end(waiting, outcome) for waiting, outcome in answers if isinstance(outcome, Appended)]
            if ends:
                self._committed(tenant, max(ends))
        return answers

    def _next_batch(self, lane: _Lane) -> list[_Waiting]:
        batch: list[_Waiting] = []
        commands: set[int] = set()  # hashing a UUID is a call into Python
        size = 0
        latest = time.monotonic() - self._settings.append_wait_seconds_max
        while lane.waiting and len(batch) < self._settings.append_batch_units_max:
            if batch and size + lane.waiting[0].size > self._settings.append_batch_bytes_max:
                break
            if lane.waiting[0].unit.command_id.int in commands:
                break  # the same command again: once the first is committed it is answered with its receipt
            waiting = lane.waiting.popleft()
            self._queued -= 1
            if waiting.future.done():  # whoever asked has gone
                waiting.fail(None)
                continue
            if waiting.since < latest:
                waiting.fail(Unavailable("the command waited too long for its append"))
                continue
            batch.append(waiting)
            commands.add(waiting.unit.command_id.int)
            size += waiting.size
        return batch

    async def _retrying(self, tenant: UUID, batch: list[_Waiting]) -> Sequence[Outcome | Rejected]:
        """Sends the batch, again if the connection broke: a unit that was committed all the same says it was done."""
        needs_inline = self._inline is not None and any(
            event.type in self._inline.types for waiting in batch for event in waiting.unit.events
        )
        attempt = 1
        while True:
            try:
                cursor = self._kept.pop() if self._kept else (await self._writer.take()).cursor(binary=True)
                try:
                    if needs_inline:
                        return await self._append_inline(cursor, tenant, batch)
                    return await log.append_by(cursor, tenant, [waiting.unit for waiting in batch])
                finally:
                    await self._keep(cursor)
            except (psycopg.OperationalError, psycopg.InterfaceError):
                if attempt == RETRIES_MAX:
                    raise
                attempt += 1
                await self._drop_broken()

    async def _drop_broken(self) -> None:
        """What broke one connection has often broken all."""
        while self._kept:
            await self._writer.give_back(self._kept.pop().connection)
        await self._writer.drop_broken()

    async def _keep(self, cursor: Cursor) -> None:
        """For the next append, if it may be used again."""
        connection = cursor.connection
        if connection.pgconn.transaction_status != IDLE or len(self._kept) == CONNECTIONS_KEPT:
            await self._writer.give_back(connection)
        else:
            self._kept.append(cursor)

    async def _append_inline(self, cursor: Cursor, tenant: UUID, batch: list[_Waiting]) -> Sequence[Outcome | Rejected]:
        """Appends and applies in one transaction. A unit that an inline model refuses is left out."""
        assert self._inline is not None
        refused: dict[UUID, Rejected] = {}
        while True:
            kept = [waiting for waiting in batch if waiting.unit.command_id not in refused]
            outcomes: list[Outcome] = []
            try:
                async with cursor.connection.transaction():
                    if kept:
                        outcomes = await log.append_by(cursor, tenant, [waiting.unit for waiting in kept])
                    events = _appended_events(tenant, kept, outcomes, self._inline.types)
                    if events:
                        await self._inline.apply(cursor.connection, tenant, events)
            except RefusedInline as no:
                refused[no.command_id] = no.rejected
                continue
            given = iter(outcomes)
            return [refused.get(waiting.unit.command_id) or next(given) for waiting in batch]


def _unavailable(error: Exception) -> Exception:
    if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
        return Unavailable("PostgreSQL does not answer; send the same command again")
    return error


def _appended_events(
    tenant: UUID, batch: Sequence[_Waiting], outcomes: Sequence[Outcome], types: frozenset[str]
) -> list[Recorded[Event]]:
    return [
        recorded
        for waiting, outcome in zip(batch, outcomes, strict=True)
        if isinstance(outcome, Appended)
        for recorded in recorded_of(tenant, waiting.unit, waiting.events, outcome)
        if recorded.type in types
    ]


def recorded_of(tenant: UUID, unit: Unit, events: Sequence[Event], appended: Appended) -> list[Recorded[Event]]:
    """The events of a unit as the log now holds them, without reading them back."""
    actor, command_id = unit.actor.bytes, unit.command_id.bytes
    recorded = []
    for position, (new, event, leaf) in enumerate(
        zip(unit.events, events, appended.leaves, strict=True), appended.first
    ):
        row = (
            position,
            appended.recorded_at,
            new.version,
            new.schema_version,
            new.stream_id.bytes,
            new.event_id.bytes,
            actor,
            command_id,
            new.type,
            leaf,
            unit.metadata,
            new.payload,
        )
        recorded.append(Stored(tenant, row).with_event(event))
    return recorded


__all__ = ["Appender", "Inline", "recorded_of"]
