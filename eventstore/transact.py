"""Load → decide → append. Decided again when the world moved; the same command id gets the same receipt."""

import asyncio
import os
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
import psycopg
from uuid_utils.compat import uuid7

from domain.decider import Command, Decider, Event, Ref, Rejected, State, Written
from domain.registry import BY_CATEGORY
from eventstore import codec, log, telemetry, traces
from eventstore.appender import Appender, Inline
from eventstore.db import Database, Reader, Unavailable
from eventstore.log import SQL, Appended, Check, Conflict, DoneBefore, Metadata, Misused, NewEvent, Outcome, Unit
from eventstore.settings import StoreSettings


class VersionConflict(Exception):
    """A stream is not at the version the command was meant for, or moved on each time the command was decided."""

    def __init__(self, stream: Ref, actual: int | None, expected: int | None = None) -> None:
        super().__init__(f"{stream.category}-{stream.id} is at version {actual}")
        self.stream = stream
        self.actual = actual
        self.expected = expected


class CommandMisused(Exception):
    """This command id belongs to another request, which was committed at `position`."""

    def __init__(self, command_id: UUID, position: int) -> None:
        super().__init__(f"command {command_id} was another request")
        self.command_id = command_id
        self.position = position


class Context(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks, for which company, under which command id. `request_hash`: 8 bytes that tell requests apart."""

    tenant: UUID
    actor: UUID
    command_id: UUID
    request_hash: bytes
    metadata: Metadata = Metadata()


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a command. Durable: a repeated id gets the same one, marked `replayed`.

    `first_position` and `last_position` are null when there was nothing to do; `position` is then where the log stood.
    `stream_version` is that of the command's own stream; `leaves` are the hashes of the events' leaves, hex, in order.
    """

    command_id: UUID
    first_position: int | None
    last_position: int | None
    position: int
    stream_version: int
    epoch: int
    recorded_at: datetime
    leaves: list[str]
    replayed: bool = False


class _Stream:
    """A folded state in memory. `version` and `state` may run ahead of the log by the units of `ahead`."""

    __slots__ = ("ahead", "decider", "saved_version", "state", "version")

    def __init__(self, decider: Decider[Any, Any, Any], version: int, state: State, saved_version: int) -> None:
        self.decider = decider
        self.version = version
        self.state = state
        self.saved_version = saved_version
        self.ahead: asyncio.Future[Outcome | Rejected] | None = None

    def folded(self, events: Iterable[Event]) -> tuple[int, State]:
        """The version and state after these events; nothing is changed."""
        version, state = self.version, self.state
        for event in events:
            version, state = version + 1, self.decider.evolve(state, event)
        return version, state


_Key = tuple[UUID, Ref]

_Decision = tuple[list[Written], dict[Ref, _Stream]]


class Store:
    """The write side of one process: its appender, and the folded states it keeps.

    A state in memory is never trusted alone: an append checks its version in the database, and a refusal is only given
    after the stream's tail was read again.
    """

    def __init__(
        self,
        writer: Database,
        settings: StoreSettings,
        *,
        inline: Inline | None = None,
        committed: Callable[[UUID, int], None] | None = None,
    ) -> None:
        self.writer = writer
        self.writer.on_connect = log.register
        self.settings = settings
        self._appender = Appender(writer, settings, inline, committed)
        self._streams: OrderedDict[_Key, _Stream] = OrderedDict()
        self._cached_events = 0
        self._loading: dict[_Key, asyncio.Future[_Stream]] = {}
        self._saving: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Connects, refuses a role that could bypass row-level security, and begins a new epoch if it must."""
        try:
            await self.writer.open()
            await self.writer.refuse_if_unsafe()
            if await log.open_incarnation(self.writer):
                telemetry.log().warning("epoch_begun")
        except BaseException:
            await self.writer.close()
            raise

    async def close(self) -> None:
        """Finishes what was queued, then disconnects."""
        await self._appender.close()
        if self._saving:
            await asyncio.wait(self._saving)
        await self.writer.close()

    def append(
        self, tenant: UUID, unit: Unit, streams: Mapping[Ref, _Stream], written: Sequence[Written]
    ) -> "asyncio.Future[Outcome | Rejected]":
        """Queues a unit, and moves the states it was decided on ahead of the log: the next command decides on those.

        When the unit fails, the states are dropped, and what was decided on them fails its version checks.
        """
        ahead = {ref: stream.folded(event for at, event in written if at == ref) for ref, stream in streams.items()}
        future = self._appender.enqueue(
            tenant,
            unit,
            [event for _, event in written],
            lambda outcome: self._settle(tenant, streams, future, outcome),
        )
        for ref, stream in streams.items():
            self._move(tenant, ref, stream, *ahead[ref])
            stream.ahead = future
        return future

    async def stream(self, tenant: UUID, ref: Ref) -> _Stream:
        """The stream's state, from memory or the log. Concurrent first uses share one load."""
        key = (tenant, ref)
        found = self._streams.get(key)
        if found is not None:
            self._streams.move_to_end(key)
            return found
        loading = self._loading.get(key)
        if loading is None:
            loading = asyncio.ensure_future(self._load(tenant, ref))
            self._loading[key] = loading
            loading.add_done_callback(lambda _: self._loading.pop(key, None))
        return await asyncio.shield(loading)

    def forget(self, tenant: UUID, ref: Ref) -> None:
        """Drops a state from memory; the next use reads the log."""
        dropped = self._streams.pop((tenant, ref), None)
        if dropped is not None:
            self._cached_events -= dropped.version
            telemetry.STREAMS_CACHED.set(len(self._streams))

    def _move(self, tenant: UUID, ref: Ref, stream: _Stream, version: int, state: State) -> None:
        if self._streams.get((tenant, ref)) is stream:
            self._cached_events += version - stream.version
        stream.version, stream.state = version, state

    async def _load(self, tenant: UUID, ref: Ref) -> _Stream:
        decider = BY_CATEGORY[ref.category]
        async with self.writer.bound(tenant) as reader:
            stream = await self._snapshot(reader, decider, ref)
            telemetry.LOADS.labels("log" if stream.version == 0 else "snapshot").inc()
            await self._catch_up(reader, ref, stream)
        key = (tenant, ref)
        self._streams[key] = stream
        self._cached_events += stream.version
        self._evict()
        self._save_if_long(tenant, ref.id, stream)
        return stream

    async def _snapshot(self, reader: Reader, decider: Decider[Any, Any, Any], ref: Ref) -> _Stream:
        values = {"stream_id": ref.id, "fingerprint": codec.fingerprint(decider)}
        rows = await reader.tuples(SQL["load_snapshot"], values)
        if rows:
            version, body = rows[0]
            try:
                return _Stream(decider, version, codec.decode_state(type(decider.initial), body), version)
            except msgspec.MsgspecError as error:  # a cache: the log is read instead
                telemetry.log().warning("snapshot_failed", stream=str(ref.id), error=str(error))
        return _Stream(decider, 0, decider.initial, 0)

    async def _catch_up(self, reader: Reader, ref: Ref, stream: _Stream) -> bool:
        """Reads the stream's tail. Answers whether there was one."""
        moved = False
        while page := await log.read_stream(reader, ref.id, after_version=stream.version):
            recorded = [stored.decoded() for stored in page]
            if recorded[0].category != ref.category:
                raise Rejected(f"{ref.category}.id-in-use", "conflict", id=str(ref.id), is_a=recorded[0].category)
            self._move(reader.tenant, ref, stream, *stream.folded(each.event for each in recorded))
            moved = True
            if len(page) < log.PAGE_EVENTS:
                break
        return moved

    async def refreshed(self, tenant: UUID, streams: Mapping[Ref, _Stream]) -> bool:
        """Reads the tails of states that were used. Answers whether any had moved on in the log."""
        async with self.writer.bound(tenant) as reader:
            moved = [await self._moved(reader, ref, stream) for ref, stream in streams.items()]
        return any(moved)

    async def _moved(self, reader: Reader, ref: Ref, stream: _Stream) -> bool:
        if stream.ahead is not None:  # others write through this process now: they will be seen when it settles
            return True
        before = stream.version
        page = await log.read_stream(reader, ref.id, after_version=before, limit=1)
        if page:
            self.forget(reader.tenant, ref)
        return bool(page) or stream.version != before

    def _evict(self) -> None:
        """Drops the states used longest ago, never one that others are decided on."""
        for key in list(self._streams):
            enough_streams = len(self._streams) <= self.settings.cached_streams_max
            if enough_streams and self._cached_events <= self.settings.cached_events_max:
                break
            if self._streams[key].ahead is None and key != next(reversed(self._streams)):
                self.forget(*key)
        telemetry.STREAMS_CACHED.set(len(self._streams))

    def _save_if_long(self, tenant: UUID, stream_id: UUID, stream: _Stream) -> None:
        if stream.ahead is None and stream.version - stream.saved_version >= self.settings.snapshot_every_events:
            stream.saved_version = stream.version
            saving = asyncio.create_task(self._save(tenant, stream_id, stream.decider, stream.version, stream.state))
            self._saving.add(saving)
            saving.add_done_callback(self._saving.discard)

    async def _save(
        self, tenant: UUID, stream_id: UUID, decider: Decider[Any, Any, Any], version: int, state: State
    ) -> None:
        values = {
            "stream_id": stream_id,
            "stream_version": version,
            "fingerprint": codec.fingerprint(decider),
            "state": await asyncio.to_thread(codec.encode_state, state),
        }
        try:
            async with self.writer.bound(tenant) as reader:
                await reader.connection.execute(SQL["save_snapshot"], values)
        except (psycopg.Error, Unavailable) as error:  # a cache: nothing is lost
            telemetry.log().warning("snapshot_failed", stream=str(stream_id), error=str(error))

    def _settle(
        self, tenant: UUID, streams: Mapping[Ref, _Stream], unit: object, outcome: Outcome | Rejected | None
    ) -> None:
        """Squares the states a unit was decided on with its outcome: confirmed if it was the last ahead of them."""
        for ref, stream in streams.items():
            if not isinstance(outcome, Appended):
                if self._streams.get((tenant, ref)) is stream:
                    self.forget(tenant, ref)
            elif stream.ahead is unit:
                stream.ahead = None
                self._save_if_long(tenant, ref.id, stream)


async def transact(
    store: Store,
    decider: Decider[Any, Any, Any],
    stream_id: UUID,
    command: Command,
    context: Context,
    *,
    expected_version: int | None = None,
) -> Receipt:
    """Decides the command on its stream and appends what follows; answers once that is durable.

    Raises Rejected (the domain says no), VersionConflict (the stream is not at `expected_version`, or kept moving),
    CommandMisused (the id belongs to another request), Unavailable (ask again with the same id).
    """
    own = Ref(decider.category, stream_id)
    name = f"transact {decider.category}.{type(command).__name__}"
    with traces.span(name, tenant=str(context.tenant), command_id=str(context.command_id)):
        return await _until_decided(store, own, command, context, expected_version)


async def _until_decided(
    store: Store, own: Ref, command: Command, context: Context, expected_version: int | None
) -> Receipt:
    last: Conflict | None = None
    for _ in range(store.settings.decide_attempts_max):
        answer = await _attempt(store, own, command, context, expected_version)
        if isinstance(answer, Receipt):
            return answer
        if isinstance(answer, Conflict):
            last = answer
        telemetry.DECISIONS_REPEATED.inc()
    raise VersionConflict(own, None if last is None else last.actual)


async def _attempt(
    store: Store,
    own: Ref,
    command: Command,
    context: Context,
    expected_version: int | None,
) -> Receipt | Conflict | None:
    """One decision and its append. None: it was decided on something that has moved, and must be decided again."""
    decider = BY_CATEGORY[own.category]
    spanning = decider.spanning.get(type(command))
    refs = [own] if spanning is None else [own, *spanning.reads(own.id, command)]
    streams = {ref: await store.stream(context.tenant, ref) for ref in refs}
    versions = {ref: stream.version for ref, stream in streams.items()}
    try:
        if expected_version is not None and versions[own] != expected_version:
            raise VersionConflict(own, versions[own], expected_version)
        if spanning is None:
            written = [(own, event) for event in decider.decide(command, streams[own].state)]
        else:
            written = spanning.decide(own.id, command, {ref: stream.state for ref, stream in streams.items()})
    except (Rejected, VersionConflict):
        replayed = await _done_before(store, own, context)
        if replayed is not None:
            return replayed
        if await _ahead_or_stale(store, context.tenant, streams):
            return None
        raise
    unit = _unit(context, versions, written)
    future = store.append(context.tenant, unit, streams, written)
    return await _answer(store, own, context, unit, await future)


async def _ahead_or_stale(store: Store, tenant: UUID, streams: Mapping[Ref, _Stream]) -> bool:
    """Whether a refusal rests on units that are not durable yet, or on states the log has left behind."""
    pending = {stream.ahead for stream in streams.values() if stream.ahead is not None}
    if pending:
        await asyncio.wait(pending)
        return True
    return await store.refreshed(tenant, streams)


def _unit(context: Context, versions: Mapping[Ref, int], written: Sequence[Written]) -> Unit:
    reached = dict(versions)
    events = []
    for ref, event in written:
        reached[ref] += 1
        events.append(
            NewEvent(ref.id, reached[ref], codec.tag(event), event.schema_version, uuid7(), codec.encode(event))
        )
    return Unit(
        command_id=context.command_id,
        request_hash=context.request_hash,
        actor=context.actor,
        metadata=msgspec.json.encode(context.metadata),
        checks=[Check(ref.id, version, reached[ref] - version) for ref, version in versions.items()],
        events=events,
        salts=[os.urandom(16) for _ in events],
    )


async def _answer(
    store: Store, own: Ref, context: Context, unit: Unit, outcome: Outcome | Rejected
) -> Receipt | Conflict:
    """What an outcome means to whoever sent the command."""
    match outcome:
        case Appended():
            return _receipt(own, unit, outcome)
        case DoneBefore(position):
            return await _receipt_of(store, own, context, position)
        case Conflict():
            return outcome
        case Misused(position):
            raise CommandMisused(context.command_id, position)
        case Rejected():
            raise outcome
    raise AssertionError(outcome)


def _receipt(own: Ref, unit: Unit, appended: Appended) -> Receipt:
    count = len(unit.events)
    check = next(check for check in unit.checks if check.stream_id == own.id)
    return Receipt(
        command_id=unit.command_id,
        first_position=appended.first if count else None,
        last_position=appended.first + count - 1 if count else None,
        position=appended.first + count - 1,
        stream_version=check.version + check.writes,
        epoch=appended.epoch,
        recorded_at=appended.recorded_at,
        leaves=[leaf.hex() for leaf in appended.leaves],
    )


async def _done_before(store: Store, own: Ref, context: Context) -> Receipt | None:
    """The receipt of this command id if it was committed earlier: a retry may no longer be decidable."""
    async with store.writer.bound(context.tenant) as reader:
        rows = await reader.tuples(SQL["find_command"], {"command_id": context.command_id})
    if not rows:
        return None
    position, request_hash = rows[0]
    if request_hash != context.request_hash:
        raise CommandMisused(context.command_id, position)
    return await _receipt_of(store, own, context, position)


async def _receipt_of(store: Store, own: Ref, context: Context, position: int) -> Receipt:
    async with store.writer.bound(context.tenant) as reader:
        return await receipt_at(reader, own, context.command_id, position)


async def receipt_at(reader: Reader, own: Ref | None, command_id: UUID, position: int) -> Receipt:
    """The receipt of a committed command, from the log: `position` is its first event's, or the head it met."""
    events = [stored.decoded() for stored in await log.of_command(reader, command_id, position)]
    began = [epoch for epoch, after in await log.epochs(reader) if after < max(position, 1)]
    if events:
        mine = [event.stream_version for event in events if own is None or event.stream_id == own.id]
        return Receipt(
            command_id=command_id,
            first_position=events[0].position,
            last_position=events[-1].position,
            position=events[-1].position,
            stream_version=max(mine, default=0),
            epoch=began[-1],
            recorded_at=events[0].recorded_at,
            leaves=[event.leaf.hex() for event in events],
            replayed=True,
        )
    rows = await reader.tuples(SQL["stream_at"], {"stream_id": None if own is None else own.id, "position": position})
    version, recorded_at = rows[0]
    return Receipt(
        command_id=command_id,
        first_position=None,
        last_position=None,
        position=position,
        stream_version=version,
        epoch=began[-1],
        recorded_at=recorded_at,
        leaves=[],
        replayed=True,
    )
