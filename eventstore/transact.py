"""Load → decide → append. Decided again when the world moved; the same command id gets the same receipt."""

import asyncio
import os
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
import psycopg
from msgspec.structs import replace
from uuid_utils.compat import uuid7

from domain.decider import (
    COMPANY,
    Command,
    Decider,
    Event,
    Lookup,
    Recall,
    Recalled,
    Ref,
    Rejected,
    Spanning,
    State,
    WhoAsks,
    Written,
)
from domain.registry import BY_CATEGORY, DECIDERS
from eventstore import codec, log, telemetry, traces
from eventstore.appender import Appender, Inline
from eventstore.db import Database, Reader, Unavailable
from eventstore.log import SQL, Appended, Check, Conflict, DoneBefore, Metadata, Misused, NewEvent, Outcome, Unit
from eventstore.settings import StoreSettings
from eventstore.vault import Keyless, Keys, Vault, subject_of_actor, subjects_of


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


class Unanswered(TypeError):
    """A decision looks something up that this store was given no answer for: a fault of whoever made the store."""

    def __init__(self, kinds: Iterable[type[Lookup]]) -> None:
        super().__init__(f"this store has no answer for {', '.join(sorted(kind.__name__ for kind in kinds))}")


class LookedUp(msgspec.Struct, frozen=True):
    """A lookup, with the company and the actor that it is asked for.

    `after` is a position that a refusal would have to know of: whoever answers waits for the read model to reach it, a
    moment at most, and then says what it has. 0: no wait.
    """

    tenant: UUID
    actor: UUID
    lookup: Any
    after: int = 0


Answers = Mapping[type[Lookup], Callable[[LookedUp], Awaitable[object]]]
"""How each kind of lookup is answered. `WhoAsks` never is asked: the store knows."""

FEW_STREAMS = 4
"""Up to so many are looked through rather than hashed: hashing an id is a call into Python, and so is comparing two."""

_Key = tuple[bytes, bytes, str]
"""Company, id and category: of bytes, because hashing a UUID is a call into Python."""


LOOKUPS = frozenset(
    kind for decider in DECIDERS for spanning in decider.spanning.values() for kind in spanning.lookups
) - {WhoAsks}
"""The kinds that decisions ask."""


class _Stream:
    """A folded state in memory. `version` and `state` may run ahead of the log by the units of `ahead`."""

    __slots__ = ("ahead", "decider", "key", "ref", "saved_version", "state", "version")

    def __init__(self, key: _Key, ref: Ref, version: int, state: State, saved_version: int) -> None:
        self.key = key
        self.ref = ref
        self.decider = BY_CATEGORY[ref.category]
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
        vault: Vault | None = None,
        inline: Inline | None = None,
        answers: Answers | None = None,
        committed: Callable[[UUID, int], None] | None = None,
    ) -> None:
        """Without a vault nothing about a person can be written or decided on: `Keyless`. Without answers no command
        that looks something up can be decided; whoever gives any gives all. Raises Unanswered.
        """
        if answers is not None and (lacking := LOOKUPS - set(answers)):
            raise Unanswered(lacking)
        self._answers = answers or {}
        self.writer = writer
        self.vault = vault
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
        self,
        tenant: UUID,
        unit: Unit,
        streams: Sequence[_Stream],
        written: Sequence[Written],
        stored: Sequence[Written],
    ) -> "asyncio.Future[Outcome | Rejected]":
        """Queues a unit, and moves the states it was decided on ahead of the log: the next command decides on those.
        `stored` are the events as the log gets them, and as everybody else sees them.

        When the unit fails, the states are dropped, and what was decided on them fails its version checks.
        """
        ahead = [stream.folded(events) for stream, events in zip(streams, _by_stream(streams, written), strict=True)]
        future = self._appender.enqueue(
            tenant,
            unit,
            [event for _, event in stored],
            lambda outcome: self._settle(tenant, streams, future, outcome),
        )
        for stream, (version, state) in zip(streams, ahead, strict=True):
            self._move(stream, version, state)
            stream.ahead = future
        return future

    async def stream(self, tenant: UUID, ref: Ref) -> _Stream:
        """The stream's state, from memory or the log. Concurrent first uses share one load."""
        key = (tenant.bytes, ref.id.bytes, ref.category)
        found = self._streams.get(key)
        if found is not None:
            self._streams.move_to_end(key)
            return found
        loading = self._loading.get(key)
        if loading is None:
            loading = asyncio.ensure_future(self._load(tenant, key, ref))
            self._loading[key] = loading
            loading.add_done_callback(lambda _: self._loading.pop(key, None))
        return await asyncio.shield(loading)

    async def state(self, tenant: UUID, ref: Ref) -> State:
        """What decisions know of a stream, as the log has it now: for those who act before they decide. Sensitive and
        secret fields, such as a connection's credentials, are in clear; never show it. Raises Unavailable, Unopenable.
        """
        while True:
            stream = await self.stream(tenant, ref)
            if not await _ahead_or_stale(self, tenant, [stream]):
                return stream.state

    async def foresee(self, tenant: UUID, refs: Sequence[Ref]) -> None:
        """Asks once which of these streams have events, so that those which have none need no load each."""
        unknown = {ref.id: ref for ref in refs if (tenant.bytes, ref.id.bytes, ref.category) not in self._streams}
        async with self.writer.bound(tenant) as reader:
            begun = {id for (id,) in await reader.tuples(SQL["begun"], {"streams": list(unknown)})}
        for id in unknown.keys() - begun:
            ref = unknown[id]
            key = (tenant.bytes, id.bytes, ref.category)
            if key not in self._streams and key not in self._loading:  # nobody came to it meanwhile
                self._streams[key] = _Stream(key, ref, 0, BY_CATEGORY[ref.category].initial, 0)
        self._evict()

    def _forget(self, stream: _Stream) -> None:
        """Drops a state from memory; the next use reads the log."""
        if self._streams.get(stream.key) is stream:
            del self._streams[stream.key]
            self._cached_events -= stream.version
            telemetry.STREAMS_CACHED.set(len(self._streams))

    def _move(self, stream: _Stream, version: int, state: State) -> None:
        if self._streams.get(stream.key) is stream:
            self._cached_events += version - stream.version
        stream.version, stream.state = version, state

    async def _load(self, tenant: UUID, key: _Key, ref: Ref) -> _Stream:
        async with self.writer.bound(tenant) as reader:
            stream = await self._snapshot(reader, key, ref)
            telemetry.LOADS.labels("log" if stream.version == 0 else "snapshot").inc()
            await self._catch_up(reader, stream)
        self._streams[key] = stream
        self._cached_events += stream.version
        self._evict()
        self._save_if_long(tenant, stream)
        return stream

    async def _snapshot(self, reader: Reader, key: _Key, ref: Ref) -> _Stream:
        decider = BY_CATEGORY[ref.category]
        values = {"stream_id": ref.id, "fingerprint": codec.fingerprint(decider)}
        rows = await reader.tuples(SQL["load_snapshot"], values)
        if rows:
            version, body = rows[0]
            try:
                return _Stream(key, ref, version, codec.decode_state(type(decider.initial), body), version)
            except msgspec.MsgspecError as error:  # a cache: the log is read instead
                telemetry.log().warning("snapshot_failed", stream=str(ref.id), error=str(error))
        return _Stream(key, ref, 0, decider.initial, 0)

    async def _catch_up(self, reader: Reader, stream: _Stream) -> None:
        """Folds the stream's tail."""
        ref = stream.ref
        while page := await log.read_stream(reader, ref.id, after_version=stream.version):
            recorded = [stored.decoded() for stored in page]
            if recorded[0].category != ref.category:
                raise Rejected(f"{ref.category}.id-in-use", "conflict", id=str(ref.id), is_a=recorded[0].category)
            self._move(stream, *stream.folded(await self._opened(reader, ref, [each.event for each in recorded])))
            if len(page) < log.PAGE_EVENTS:
                break

    async def recalled(self, tenant: UUID, recall: Recall) -> Recalled | None:
        """The command that wrote this version of a stream, with all it wrote; None when the log has no such version."""
        version = recall.stream_version
        async with self.writer.bound(tenant) as reader:
            found = await log.read_stream(reader, recall.ref.id, after_version=version - 1, to_version=version)
            if not found or (one := found[0].decoded()).category != recall.ref.category:
                return None
            rows = await reader.tuples(SQL["find_command"], {"command_id": one.command_id})
            events = [stored.decoded() for stored in await log.of_command(reader, one.command_id, rows[0][0])]
            refs = [Ref(each.category, each.stream_id) for each in events]
            clear = [(await self._opened(reader, ref, [each.event]))[0] for ref, each in zip(refs, events, strict=True)]
        versions = [each.stream_version for each in events]
        return Recalled(one.command_id, tuple(zip(refs, versions, clear, strict=True)))

    async def answer(self, asked: LookedUp) -> object:
        """What a read model says. Raises Unanswered, Unavailable."""
        if isinstance(asked.lookup, WhoAsks):
            return asked.actor
        found = self._answers.get(type(asked.lookup))
        if found is None:
            raise Unanswered([type(asked.lookup)])
        return await found(asked)

    async def head(self, tenant: UUID) -> int:
        """The position of the company's last event; 0 without any."""
        async with self.writer.bound(tenant) as reader:
            found = await log.head(reader)
        return 0 if found is None else found.position

    async def _opened(self, reader: Reader, ref: Ref, events: Sequence[Event]) -> Sequence[Event]:
        """The events as they were decided. What was erased stays so."""
        if ref.category not in codec.SENSITIVE_CATEGORIES:
            return events
        subjects = {subject for event in events for subject in subjects_of(ref.id, event)}
        keys = await self._vault().fetch(reader, subjects)
        return [keys.opened_event(ref.id, event) if event.sensitive else event for event in events]

    def _vault(self) -> Vault:
        if self.vault is None:
            raise Keyless("this store was given no keys")
        return self.vault

    async def guarded(self, own: Ref, command: Command, context: Context) -> tuple[Context, Keys | None]:
        """What the log may know of a command's particulars, and the keys for what the command may write.

        Where it came from is sealed for whoever sent it; a digest of what it says about somebody is keyed.
        """
        metadata = context.metadata
        if metadata.ip or metadata.user_agent:
            sealed = self._vault().sealed_origin(context.tenant, context.actor, metadata)
            if sealed is None:
                await self.keys(context.tenant, [subject_of_actor(context.tenant, context.actor)])
                sealed = self._vault().sealed_origin(context.tenant, context.actor, metadata)
                assert sealed is not None
            context = replace(context, metadata=sealed)
        if not command.sensitive:
            return context, None
        keys = await self.keys(context.tenant, [own.id, context.tenant])
        told = keys.digest(own.id, "request", context.request_hash)[: len(context.request_hash)]
        return replace(context, request_hash=told), keys

    async def keys(self, tenant: UUID, subjects: Sequence[UUID]) -> Keys:
        """Keys to seal with. Raises Unavailable, Keyless."""
        vault = self._vault()
        return vault.held(tenant, subjects) or await vault.make(self.writer, tenant, subjects)

    async def refreshed(self, tenant: UUID, streams: Sequence[_Stream]) -> bool:
        """Looks whether states that were used have been left behind by the log; those are dropped."""
        async with self.writer.bound(tenant) as reader:
            moved = [await self._moved(reader, stream) for stream in streams]
        return any(moved)

    async def _moved(self, reader: Reader, stream: _Stream) -> bool:
        if stream.ahead is not None:  # others write through this process now: they will be seen when it settles
            return True
        before = stream.version
        page = await log.read_stream(reader, stream.ref.id, after_version=before, limit=1)
        if page:
            self._forget(stream)
        return bool(page) or stream.version != before

    def _evict(self) -> None:
        """Drops the states used longest ago, never one that others are decided on, nor the newest."""
        for stream in list(self._streams.values())[:-1]:
            enough_streams = len(self._streams) <= self.settings.cached_streams_max
            if enough_streams and self._cached_events <= self.settings.cached_events_max:
                break
            if stream.ahead is None:
                self._forget(stream)
        telemetry.STREAMS_CACHED.set(len(self._streams))

    def _save_if_long(self, tenant: UUID, stream: _Stream) -> None:
        if stream.ref.category in codec.SENSITIVE_CATEGORIES:  # it would be kept in clear
            return
        every = stream.decider.snapshot_every_events or self.settings.snapshot_every_events
        if stream.version - stream.saved_version >= every and stream.ahead is None:
            stream.saved_version = stream.version
            saving = asyncio.create_task(self._save(tenant, stream.ref, stream.version, stream.state))
            self._saving.add(saving)
            saving.add_done_callback(self._saving.discard)

    async def _save(self, tenant: UUID, ref: Ref, version: int, state: State) -> None:
        values = {
            "stream_id": ref.id,
            "stream_version": version,
            "fingerprint": codec.fingerprint(BY_CATEGORY[ref.category]),
            "state": await asyncio.to_thread(codec.encode_state, state),
        }
        try:
            async with self.writer.bound(tenant) as reader:
                await reader.connection.execute(SQL["save_snapshot"], values)
        except (psycopg.Error, Unavailable) as error:  # a cache: nothing is lost
            telemetry.log().warning("snapshot_failed", stream=str(ref.id), error=str(error))

    def _settle(
        self, tenant: UUID, streams: Sequence[_Stream], unit: object, outcome: Outcome | Rejected | None
    ) -> None:
        """Squares the states a unit was decided on with its outcome: confirmed if it was the last ahead of them."""
        for stream in streams:
            if not isinstance(outcome, Appended):
                self._forget(stream)
            elif stream.ahead is unit:
                stream.ahead = None
                self._save_if_long(tenant, stream)


def _by_stream(streams: Sequence[_Stream], written: Sequence[Written]) -> list[list[Event]]:
    """The events of each stream, in the order of the streams."""
    if len(streams) <= FEW_STREAMS:
        return [[event for at, event in written if at == stream.ref] for stream in streams]
    found: dict[Ref, list[Event]] = {stream.ref: [] for stream in streams}
    for ref, event in written:
        found[ref].append(event)
    return list(found.values())


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
    if not traces.wanted():
        return await _until_decided(store, own, command, context, expected_version)
    name = f"transact {decider.category}.{type(command).__name__}"
    with traces.span(name, tenant=str(context.tenant), command_id=str(context.command_id)):
        return await _until_decided(store, own, command, context, expected_version)


async def _until_decided(
    store: Store, own: Ref, command: Command, context: Context, expected_version: int | None
) -> Receipt:
    last: Conflict | None = None
    after = 0
    context, keys = await store.guarded(own, command, context)
    for _ in range(store.settings.decide_attempts_max):
        answer = await _attempt(store, own, command, context, expected_version, keys=keys, after=after)
        if isinstance(answer, Receipt):
            return answer
        if isinstance(answer, Keys):
            keys = answer
        if isinstance(answer, _LookAgain):
            after = answer.after
        if isinstance(answer, Conflict):
            last = answer
        telemetry.DECISIONS_REPEATED.inc()
    raise VersionConflict(own, None if last is None else last.actual)


class _LookAgain(msgspec.Struct, frozen=True):
    """It was refused upon answers that read models gave without being asked how far they are: ask them for this."""

    after: int


async def _attempt(
    store: Store,
    own: Ref,
    command: Command,
    context: Context,
    expected_version: int | None,
    *,
    keys: Keys | None,
    after: int,
) -> Receipt | Conflict | Keys | _LookAgain | None:
    """One decision and its append. None: it was decided on something that has moved, and must be decided again; keys:
    they had to be fetched, and meanwhile it may have moved.
    """
    decider = BY_CATEGORY[own.category]
    spanning = decider.spanning.get(type(command))
    refs = [own] if spanning is None else [own, *spanning.reads(own.id, command)]
    streams = [await store.stream(context.tenant, _of_company(ref, context.tenant)) for ref in refs]
    if spanning is not None and spanning.follows is not None:
        further = [ref for ref in spanning.follows(own.id, command, streams[0].state) if ref not in refs]
        streams += [await store.stream(context.tenant, _of_company(ref, context.tenant)) for ref in further]
        refs += further
    recalled: dict[Recall, Recalled | None] = {}
    if spanning is not None and spanning.recalls is not None:
        recalled = {each: await store.recalled(context.tenant, each) for each in spanning.recalls(own.id, command)}
        if _too_early(recalled, streams):
            await _settled(streams)
            return None
    answered: dict[Lookup, object] = {}

    def known() -> dict[Any, Any]:
        return {**{ref: stream.state for ref, stream in zip(refs, streams, strict=True)}, **recalled, **answered}

    versions = [stream.version for stream in streams]
    try:
        if spanning is not None and spanning.looks_up is not None:
            await _look_up(store, spanning, own, command, context, known=known, answered=answered, after=after)
            versions = [stream.version for stream in streams]
        if expected_version is not None and versions[0] != expected_version:
            raise VersionConflict(own, versions[0], expected_version)
        if spanning is None:
            mine = streams[0].ref  # this very one: comparing ids is a call into Python
            written = [(mine, event) for event in decider.decide(command, streams[0].state)]
        elif spanning.follows is not None and not {*spanning.follows(own.id, command, streams[0].state)} <= {*refs}:
            return None  # it was opened meanwhile
        else:
            decided = spanning.decide(own.id, command, known())
            written = [(_of_company(ref, context.tenant), event) for ref, event in decided]
    except (Rejected, VersionConflict) as refusal:
        replayed = await _done_before(store, own, context)
        if replayed is not None:
            return replayed
        if await _ahead_or_stale(store, context.tenant, streams):
            return None
        if not after and isinstance(refusal, Rejected) and any(not isinstance(each, WhoAsks) for each in answered):
            return _LookAgain(max(1, await store.head(context.tenant)))
        raise
    subjects = _subjects(written)
    if subjects and (keys is None or keys.lacking(subjects)):
        return await store.keys(context.tenant, subjects)
    stored = written if keys is None else _sealed(keys, written)
    unit = _unit(context, streams, versions, stored)
    outcome = await store.append(context.tenant, unit, streams, written, stored)
    return await _answer(store, own, context, unit, outcome)


async def _look_up(
    store: Store,
    spanning: Spanning,
    own: Ref,
    command: Command,
    context: Context,
    *,
    known: Callable[[], Mapping[Any, Any]],
    answered: dict[Lookup, object],
    after: int,
) -> None:
    """Asks until the decision asks nothing new. What was asked of states that move meanwhile is so asked again."""
    assert spanning.looks_up is not None
    while lacking := [each for each in spanning.looks_up(own.id, command, known()) if each not in answered]:
        for each in lacking:
            assert isinstance(each, spanning.lookups), "declared, so that a store can be checked when it is made"
            answered[each] = await store.answer(LookedUp(context.tenant, context.actor, each, after))


def _of_company(ref: Ref, tenant: UUID) -> Ref:
    """The stream that is meant: the placeholder for the asking company's own is replaced by it."""
    return Ref(COMPANY.category, tenant) if ref == COMPANY else ref


def _subjects(written: Sequence[Written]) -> list[UUID]:
    """Whose keys these events are sealed under."""
    found: list[UUID] = []
    for ref, event in written:
        if event.sensitive:
            found += subjects_of(ref.id, event)
    return found


def _sealed(keys: Keys, written: Sequence[Written]) -> list[Written]:
    return [(ref, keys.sealed_event(ref.id, event) if event.sensitive else event) for ref, event in written]


async def _ahead_or_stale(store: Store, tenant: UUID, streams: Sequence[_Stream]) -> bool:
    """Whether a refusal rests on units that are not durable yet, or on states the log has left behind."""
    return await _settled(streams) or await store.refreshed(tenant, streams)


async def _settled(streams: Sequence[_Stream]) -> bool:
    """Waits for the units that are ahead of the log, if there are any."""
    pending = {stream.ahead for stream in streams if stream.ahead is not None}
    if pending:
        await asyncio.wait(pending)
    return bool(pending)


def _too_early(recalled: Mapping[Recall, Recalled | None], streams: Sequence[_Stream]) -> bool:
    """Whether the log was asked for a version that a state has, but that was not durable when it was asked."""
    reached = {stream.ref: stream.version for stream in streams}
    return any(
        found is None and recall.stream_version <= reached.get(recall.ref, 0) for recall, found in recalled.items()
    )


def _unit(context: Context, streams: Sequence[_Stream], versions: Sequence[int], written: Sequence[Written]) -> Unit:
    reached = list(versions)
    refs = [stream.ref for stream in streams]
    place = {ref: at for at, ref in enumerate(refs)}.__getitem__ if len(refs) > FEW_STREAMS else refs.index
    events = []
    for ref, event in written:
        at = place(ref)
        reached[at] += 1
        kind = type(event)
        events.append(
            NewEvent(ref.id, reached[at], codec.tag(event), kind.schema_version, uuid7(), codec.encode(event))
        )
    checks = [Check(ref.id, before, after - before) for ref, before, after in zip(refs, versions, reached, strict=True)]
    return Unit(
        command_id=context.command_id,
        request_hash=context.request_hash,
        actor=context.actor,
        metadata=msgspec.json.encode(context.metadata),
        checks=checks,
        events=events,
        salts=[os.urandom(16) for _ in events],
    )


async def _answer(
    store: Store, own: Ref, context: Context, unit: Unit, outcome: Outcome | Rejected
) -> Receipt | Conflict:
    """What an outcome means to whoever sent the command."""
    match outcome:
        case Appended():
            return _receipt(unit, outcome)
        case DoneBefore(position):
            return await _receipt_of(store, own, context, position)
        case Conflict():
            return outcome
        case Misused(position):
            raise CommandMisused(context.command_id, position)
        case Rejected():
            raise outcome
    raise AssertionError(outcome)


def _receipt(unit: Unit, appended: Appended) -> Receipt:
    count = len(unit.events)
    check = unit.checks[0]  # the command's own stream comes first
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
    rows = await reader.tuples(SQL["empty_command"], {"command_id": command_id})
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


class Wish(NamedTuple):
    """A stream, and the commands that bring it where it is wanted, told from the state it is in by then."""

    ref: Ref
    commands: Callable[[Any], Sequence[Command]]


class Refusal(NamedTuple):
    """A no: to which wish and which of its commands, each counted from 0, and why."""

    wish: int
    command: int
    rejected: Rejected


class RefusedTogether(Exception):
    """Some of many commands were refused, so none was appended. Every refusal is listed."""

    def __init__(self, refusals: Sequence[Refusal]) -> None:
        super().__init__(f"{len(refusals)} refused, the first as {refusals[0].rejected.code}")
        self.refusals = refusals


class Together:
    """Many commands of one company, decided one after the other on what those before would make of the streams."""

    def __init__(self, store: Store, tenant: UUID) -> None:
        self._store = store
        self._tenant = tenant
        self._places: dict[Ref, int] = {}
        self._states: list[State] = []
        self.streams: list[_Stream] = []
        self.versions: list[int] = []
        self.written: list[Written] = []
        self.refusals: list[Refusal] = []

    async def decide(self, wishes: Sequence[Wish]) -> None:
        """Decides all of them; a refusal is noted, and the others are decided as if it had not been asked for."""
        refs = list(dict.fromkeys(_of_company(wish.ref, self._tenant) for wish in wishes))
        if len(refs) > FEW_STREAMS:
            await self._store.foresee(self._tenant, refs)
        at_once = max(1, self._store.settings.writer_connections_max - 1)
        for begin in range(0, len(refs), at_once):
            await asyncio.gather(*(self._load(ref) for ref in refs[begin : begin + at_once]))
        for index, wish in enumerate(wishes):
            for number, command in enumerate(wish.commands(await self.state(wish.ref))):
                try:
                    await self._take(wish.ref, command)
                except Rejected as rejected:
                    self.refusals.append(Refusal(index, number, rejected))

    async def state(self, ref: Ref) -> State:
        """The stream's, after all that was decided so far."""
        own = _of_company(ref, self._tenant)
        if own not in self._places:
            await self._load(own)
        return self._states[self._places[own]]

    def moved(self) -> bool:
        """Whether somebody else of this process wrote to a stream after it was decided on."""
        return any(stream.version != version for stream, version in zip(self.streams, self.versions, strict=True))

    async def _load(self, ref: Ref) -> None:
        stream = await self._store.stream(self._tenant, ref)
        self._places[ref] = len(self.streams)
        self.streams.append(stream)
        self.versions.append(stream.version)
        self._states.append(stream.state)

    async def _take(self, own: Ref, command: Command) -> None:
        decider = BY_CATEGORY[own.category]
        spanning = decider.spanning.get(type(command))
        if spanning is None:
            decided = [(own, event) for event in decider.decide(command, await self.state(own))]
        elif spanning.recalls is not None or spanning.looks_up is not None:
            raise TypeError(f"{type(command).__name__} rests on more than streams, and cannot be one of many")
        else:
            states = {ref: await self.state(ref) for ref in (own, *spanning.reads(own.id, command))}
            if spanning.follows is not None:
                states |= {ref: await self.state(ref) for ref in spanning.follows(own.id, command, states[own])}
            decided = spanning.decide(own.id, command, states)
        for to, event in decided:
            ref = _of_company(to, self._tenant)
            at = self._places[ref]
            self._states[at] = BY_CATEGORY[ref.category].evolve(self._states[at], event)
            self.written.append((ref, event))


async def transact_together(store: Store, wishes: Sequence[Wish], context: Context) -> Receipt | None:
    """Decides many commands of one company and appends what follows as one unit: all of it, or nothing. Its receipt is
    the first wish's; None when there was nothing to do, which leaves no trace.

    The command id is of this very attempt, and means nothing later: who asks again is answered by what there is then.
    Raises RefusedTogether, Rejected (an inline model says no), VersionConflict, Unavailable.
    """
    for _ in range(store.settings.decide_attempts_max):
        together = Together(store, context.tenant)
        await together.decide(wishes)
        if together.refusals and not await _ahead_or_stale(store, context.tenant, together.streams):
            raise RefusedTogether(together.refusals)
        if together.refusals:
            continue
        if not together.written:
            return None
        stored = together.written
        if subjects := _subjects(stored):
            keys = await store.keys(context.tenant, list(dict.fromkeys([context.tenant, *subjects])))
            stored = _sealed(keys, stored)
        if together.moved():
            continue
        unit = _unit(context, together.streams, together.versions, stored)
        outcome = await store.append(context.tenant, unit, together.streams, together.written, stored)
        answer = await _answer(store, together.streams[0].ref, context, unit, outcome)
        if isinstance(answer, Receipt):
            return answer
    raise VersionConflict(wishes[0].ref, None)
