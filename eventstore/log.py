"""The log: append units, read a stream, read a company's log, follow all companies."""

import asyncio
import struct
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import repeat
from operator import itemgetter
from typing import Any, Generic, NamedTuple, TypeVar
from uuid import UUID

import msgspec
from psycopg import DatabaseError
from psycopg.adapt import Dumper
from psycopg.pq import Format
from psycopg.types.string import ByteaBinaryLoader

from domain.decider import Event
from eventstore import codec, sql
from eventstore.db import Connection, Cursor, Database, Reader, Unavailable
from eventstore.pages import Neighbours

E = TypeVar("E", bound=Event)
E_co = TypeVar("E_co", bound=Event, covariant=True)

SQL = sql.beside(__file__)

POSITION_MAX = 2**63 - 2
"""Later than any position: `at=POSITION_MAX` asks for now."""

STILL_RECOVERING = frozenset({"CA003", "25006"})
"""The database replays its own log, and its history is not decided yet: our SQLSTATE, and that of a transaction which
began read-only before the recovery ended."""

RUN_EVENTS = 125
"""Events that travel as one row, and are decoded in one call. The server joins so many without asking its system for
memory each time."""

LARGE_BYTES = 16_384
"""A payload above this is fetched in a row of its own."""

LARGE_PAGE_BYTES = 2_097_152
"""Large payloads that one page brings, unless a single one has more: a thousand of them would fill the memory."""

PAGE_EVENTS = 2_000
"""Events fetched in one round trip when a stream or log is read from end to end."""


COLUMNS = (
    "position",
    "recorded_at",
    "stream_version",
    "schema_version",
    "stream_id",
    "event_id",
    "actor",
    "command_id",
    "type",
    "leaf",
    "metadata",
    "payload",
)
"""What a stored row has."""

_POSITION, _RECORDED_AT, _STREAM_VERSION, _SCHEMA_VERSION, _STREAM_ID, _EVENT_ID = range(6)
_ACTOR, _COMMAND_ID, _TYPE, _LEAF, _METADATA, _PAYLOAD = range(6, 12)


class Metadata(msgspec.Struct, frozen=True, omit_defaults=True):
    """How a command came in. Stored as JSON beside each of its events.

    `correlation_id` is the conversation it belongs to (absent: it began one), `causation_id` the event that caused it.
    Where it came from, `ip` and `user_agent`, is stored as `origin`, sealed (eventstore/vault.py).
    """

    correlation_id: UUID | None = None
    causation_id: UUID | None = None
    ip: str | None = None
    user_agent: str | None = None
    session: str | None = None
    origin: str | None = None


class Recorded(msgspec.Struct, Generic[E_co], frozen=True, gc=False):
    """An event as the log holds it. Instants are UTC.

    What folds do not look at stays where it was `kept`, in the event's row or its run of neighbours; ids stay as they
    came (16 bytes) until they are asked for.
    """

    tenant: UUID
    position: int
    recorded_at: datetime
    stream_version: int
    raw_stream_id: bytes
    raw_actor: bytes
    type: str
    kept: tuple[Any, ...] | Neighbours
    event: E_co

    def _kept(self, column: int) -> Any:
        kept = self.kept
        return kept[column] if isinstance(kept, tuple) else kept[column][self.position - kept.first]

    @property
    def schema_version(self) -> int:
        """Of its type, when it was stored."""
        version: int = self._kept(_SCHEMA_VERSION)
        return version

    @property
    def raw_event_id(self) -> bytes:
        """16 bytes of a UUIDv7 of its own."""
        raw: bytes = self._kept(_EVENT_ID)
        return raw

    @property
    def raw_command_id(self) -> bytes:
        """16 bytes: see `command_id`."""
        raw: bytes = self._kept(_COMMAND_ID)
        return raw

    @property
    def leaf(self) -> bytes:
        """32 bytes: its hash in the log's tree."""
        leaf: bytes = self._kept(_LEAF)
        return leaf

    @property
    def raw_metadata(self) -> bytes:
        """How the command came in, as stored."""
        raw: bytes = self._kept(_METADATA)
        return raw

    @property
    def payload(self) -> bytes:
        """The body's exact bytes."""
        body: bytes = self._kept(_PAYLOAD)
        return body

    @property
    def stream_id(self) -> UUID:
        """The id of the thing it happened to."""
        return UUID(bytes=self.raw_stream_id)

    @property
    def event_id(self) -> UUID:
        """A UUIDv7 of its own."""
        return UUID(bytes=self.raw_event_id)

    @property
    def actor(self) -> UUID:
        """The member, or the operator, on whose word it happened."""
        return UUID(bytes=self.raw_actor)

    @property
    def command_id(self) -> UUID:
        """The command it came from: the Idempotency-Key of its request."""
        return UUID(bytes=self.raw_command_id)

    @property
    def category(self) -> str:
        """The aggregate's name."""
        return self.type.partition(".")[0]

    @property
    def metadata(self) -> Metadata:
        """How the command came in."""
        return msgspec.json.decode(self.raw_metadata, type=Metadata)


class Head(NamedTuple):
    """How far a company's log goes."""

    tenant: UUID
    position: int
    epoch: int


class Check(NamedTuple):
    """A stream, the version it must have when the unit's turn comes, and how many events the unit adds to it."""

    stream_id: UUID
    version: int
    writes: int


class NewEvent(NamedTuple):
    """An event to append: where, as which version of its stream, and its exact bytes."""

    stream_id: UUID
    version: int
    type: str
    schema_version: int
    event_id: UUID
    payload: bytes


class Unit(msgspec.Struct, frozen=True):
    """One command's result: all or nothing. `salts` are 16 random bytes an event; `request_hash` 8 bytes."""

    command_id: UUID
    request_hash: bytes
    actor: UUID
    metadata: bytes
    checks: Sequence[Check]
    events: Sequence[NewEvent]
    salts: Sequence[bytes]


class Appended(NamedTuple):
    """The unit is in the log, at `first` and the positions after it. `first` is head + 1 for a unit without events."""

    first: int
    recorded_at: datetime
    epoch: int
    leaves: Sequence[bytes]


class DoneBefore(NamedTuple):
    """The command was committed earlier: `position` of its first event, or the head when it had nothing to do."""

    position: int


class Conflict(NamedTuple):
    """A stream was not at the version expected. `stream_id` is None when the command was twice in one batch."""

    stream_id: UUID | None
    actual: int | None


class Misused(NamedTuple):
    """The command id was used by another request."""

    position: int


Outcome = Appended | DoneBefore | Conflict | Misused


class _Array(bytes):
    """An array in the wire's binary form. Built by hand: the driver's own takes five times as long for these."""


class _UuidArray(_Array): ...


class _IntArray(_Array): ...


class _SmallArray(_Array): ...


class _TextArray(_Array): ...


class _ByteaArray(_Array): ...


class _ArrayDumper(Dumper):
    format = Format.BINARY

    def dump(self, obj: bytes) -> bytes:
        return bytes(obj)


class _UuidArrayDumper(_ArrayDumper):
    oid = 2951


class _IntArrayDumper(_ArrayDumper):
    oid = 1007


class _SmallArrayDumper(_ArrayDumper):
    oid = 1005


class _TextArrayDumper(_ArrayDumper):
    oid = 1009


class _ByteaArrayDumper(_ArrayDumper):
    oid = 1001


_DUMPERS: Mapping[type[_Array], type[_ArrayDumper]] = {
    _UuidArray: _UuidArrayDumper,
    _IntArray: _IntArrayDumper,
    _SmallArray: _SmallArrayDumper,
    _TextArray: _TextArrayDumper,
    _ByteaArray: _ByteaArrayDumper,
}
_ELEMENT = {_UuidArray: 2950, _IntArray: 23, _SmallArray: 21, _TextArray: 25, _ByteaArray: 17}
_HEADER = struct.Struct(">iiiii")
_LENGTH = struct.Struct(">i").pack
_INT = struct.Struct(">ii").pack
_SMALL = struct.Struct(">ih").pack
_UUID_LENGTH = _LENGTH(16)
_NULL = _LENGTH(-1)

LEAF_BYTES = 32
_ANSWER = struct.Struct(">qqq")
_1970 = datetime(1970, 1, 1, tzinfo=UTC)

A = TypeVar("A", bound=_Array)


def _array(kind: type[A], parts: list[bytes]) -> A:
    if not parts:
        return kind(struct.pack(">iii", 0, 0, _ELEMENT[kind]))
    return kind(_HEADER.pack(1, 0, _ELEMENT[kind], len(parts), 1) + b"".join(parts))


def _uuids(values: Sequence[UUID]) -> _UuidArray:
    return _array(_UuidArray, [_UUID_LENGTH + value.bytes for value in values])


def _ints(values: Sequence[int]) -> _IntArray:
    return _array(_IntArray, [_INT(4, value) for value in values])


def _smalls(values: Sequence[int]) -> _SmallArray:
    return _array(_SmallArray, [_SMALL(2, value) for value in values])


def _byteas(values: Sequence[bytes]) -> _ByteaArray:
    return _array(_ByteaArray, [_LENGTH(len(value)) + value for value in values])


def _texts(values: Sequence[bytes]) -> _TextArray:
    return _array(_TextArray, [_LENGTH(len(value)) + value for value in values])


def register(connection: Connection) -> None:
    """Teaches a connection the array forms that `append` sends."""
    for kind, dumper in _DUMPERS.items():
        connection.adapters.register_dumper(kind, dumper)


def _one(tenant: UUID, unit: Unit, reads: Sequence[Check]) -> dict[str, Any]:
    event = unit.events[0]
    read = reads[0] if reads else None
    return {
        "tenant": tenant,
        "command": unit.command_id,
        "hash": unit.request_hash,
        "stream": event.stream_id,
        "event_version": event.version,
        "type": event.type,
        "schema": event.schema_version,
        "event_id": event.event_id,
        "actor": unit.actor,
        "salt": unit.salts[0],
        "metadata": unit.metadata,
        "payload": event.payload,
        "read": read and read.stream_id,
        "read_version": read and read.version,
    }


def _many(tenant: UUID, units: Sequence[Unit], reads: Sequence[Check]) -> dict[str, Any]:
    events = [(unit, event) for unit in units for event in unit.events]
    return {
        "tenant": tenant,
        "commands": _uuids([unit.command_id for unit, _ in events]),
        "hashes": _array(
            _ByteaArray,
            [
                _LENGTH(len(unit.request_hash)) + unit.request_hash if event is unit.events[0] else _NULL
                for unit, event in events
            ],
        ),
        "streams": _uuids([event.stream_id for _, event in events]),
        "event_versions": _ints([event.version for _, event in events]),
        "types": _texts([event.type.encode() for _, event in events]),
        "schemas": _smalls([event.schema_version for _, event in events]),
        "event_ids": _uuids([event.event_id for _, event in events]),
        "actors": _uuids([unit.actor for unit, _ in events]),
        "salts": _byteas([salt for unit in units for salt in unit.salts]),
        "metadata": _byteas([unit.metadata for unit, _ in events]),
        "payloads": _byteas([event.payload for _, event in events]),
        "reads": _uuids([read.stream_id for read in reads]),
        "read_versions": _ints([read.version for read in reads]),
    }


def _judged(tenant: UUID, units: Sequence[Unit]) -> dict[str, Any]:
    checks = [(number, check) for number, unit in enumerate(units, 1) for check in unit.checks]
    events = [(number, unit, event) for number, unit in enumerate(units, 1) for event in unit.events]
    return {
        "tenant": tenant,
        "commands": _uuids([unit.command_id for unit in units]),
        "hashes": _byteas([unit.request_hash for unit in units]),
        "check_units": _ints([number for number, _ in checks]),
        "check_streams": _uuids([check.stream_id for _, check in checks]),
        "check_versions": _ints([check.version for _, check in checks]),
        "check_writes": _ints([check.writes for _, check in checks]),
        "units": _ints([number for number, _, _ in events]),
        "streams": _uuids([event.stream_id for _, _, event in events]),
        "event_versions": _ints([event.version for _, _, event in events]),
        "types": _texts([event.type.encode() for _, _, event in events]),
        "schemas": _smalls([event.schema_version for _, _, event in events]),
        "event_ids": _uuids([event.event_id for _, _, event in events]),
        "actors": _uuids([unit.actor for _, unit, _ in events]),
        "salts": _byteas([salt for unit in units for salt in unit.salts]),
        "metadata": _byteas([unit.metadata for _, unit, _ in events]),
        "payloads": _byteas([event.payload for _, _, event in events]),
    }


def _reads(units: Sequence[Unit]) -> Sequence[Check] | None:
    """The streams that were only read, each once. None when the units are not of the usual kind, which has events, no
    command twice, and none that reads what another writes.
    """
    found: dict[tuple[int, int], Check] = {}
    for unit in units:
        if not unit.events:
            return None
        for check in unit.checks:
            if not check.writes:
                found[check.stream_id.int, check.version] = check
    if len(units) > 1 and len({unit.command_id.int for unit in units}) < len(units):
        return None
    if found:
        written = {event.stream_id.int for unit in units for event in unit.events}
        if any(stream in written for stream, _ in found):
            return None
    return list(found.values())


async def append(connection: Connection, tenant: UUID, units: Sequence[Unit]) -> list[Outcome]:
    """Appends a batch in one statement, in two when something stands against it. One outcome per unit, in their order.

    In autocommit the batch is durable when this returns. The connection must have been `register`ed.
    """
    return await append_by(connection.cursor(binary=True), tenant, units)


async def append_by(cursor: Cursor, tenant: UUID, units: Sequence[Unit]) -> list[Outcome]:
    """`append` by a cursor of binary answers. Used again and again it spares a tenth of a lone append."""
    reads = _reads(units)
    if reads is not None:
        if len(units) == 1 and len(units[0].events) == 1 and len(reads) <= 1:
            await cursor.execute(SQL["append_one"], _one(tenant, units[0], reads))
        else:
            await cursor.execute(SQL["append_many"], _many(tenant, units, reads))
        row = await cursor.fetchone()
        assert row is not None
        if row[0] is not None:
            return _straight(units, row[0])
    await cursor.execute(SQL["append_judged"], _judged(tenant, units))
    row = await cursor.fetchone()
    assert row is not None
    return _outcomes(units, row)


def _straight(units: Sequence[Unit], answer: bytes) -> list[Outcome]:
    """All units were appended: the first position, the instant and the epoch, and the leaves of all events."""
    first, microseconds, epoch = _ANSWER.unpack_from(answer)
    recorded_at = _1970 + timedelta(microseconds=microseconds)
    outcomes: list[Outcome] = []
    at = _ANSWER.size
    for unit in units:
        count = len(unit.events)
        leaves = [answer[leaf : leaf + LEAF_BYTES] for leaf in range(at, at + count * LEAF_BYTES, LEAF_BYTES)]
        outcomes.append(Appended(first, recorded_at, epoch, leaves))
        first += count
        at += count * LEAF_BYTES
    return outcomes


def _outcomes(units: Sequence[Unit], row: tuple[Any, ...]) -> list[Outcome]:
    head, recorded_at, epoch, leaves, codes, positions, conflicts, versions = row
    outcomes: list[Outcome] = []
    taken = 0
    for index, unit in enumerate(units):
        match codes[index]:
            case 0:
                mine = leaves[taken : taken + len(unit.events)] if unit.events else ()
                outcomes.append(Appended(head + taken + 1, recorded_at, epoch, mine))
                taken += len(unit.events)
            case 1:
                outcomes.append(DoneBefore(positions[index]))
            case 2:
                outcomes.append(Conflict(conflicts[index], versions[index]))
            case _:
                outcomes.append(Misused(positions[index]))
    return outcomes


_at_hand = itemgetter(_POSITION, _RECORDED_AT, _STREAM_VERSION, _STREAM_ID, _ACTOR, _TYPE)
"""Of a row the values, of a run the columns, that `Recorded` has as fields."""


class Stored(NamedTuple):
    """An event's row, not yet decoded: what a reader gets who must survive an event that today's code can't read."""

    tenant: UUID
    row: tuple[Any, ...]

    @property
    def position(self) -> int:
        """Where it stands in the company's log."""
        position: int = self.row[0]
        return position

    @property
    def size(self) -> int:
        """Bytes of the payload that was read."""
        return len(self.row[_PAYLOAD] or b"")

    @property
    def type(self) -> str:
        """The event's tag."""
        kind: str = self.row[_TYPE]
        return kind

    @property
    def leaf(self) -> bytes:
        """32 bytes: its hash in the log's tree."""
        leaf: bytes = self.row[_LEAF]
        return leaf

    def decoded(self) -> Recorded[Event]:
        """The event. Raises codec.Undecodable."""
        row = self.row
        return self.with_event(codec.decode(row[_TYPE], row[_SCHEMA_VERSION], row[_PAYLOAD]))

    def with_event(self, event: E) -> Recorded[E]:
        """Beside the event that its body says."""
        return Recorded(*(self.tenant, *_at_hand(self.row), self.row, event))


async def _ask(reader: Reader, statement: str, values: Mapping[str, Any]) -> Cursor:
    cursor = reader.connection.cursor(binary=True)
    # Ids stay the 16 bytes they are until somebody asks: building them would be a third of a read's time.
    cursor.adapters.register_loader("uuid", ByteaBinaryLoader)
    return await cursor.execute(SQL[statement], values)


async def _fetch(reader: Reader, statement: str, values: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    return await (await _ask(reader, statement, values)).fetchall()


async def read_stream(
    reader: Reader, stream_id: UUID, *, after_version: int = 0, to_version: int = 2**31 - 1, limit: int = PAGE_EVENTS
) -> list[Stored]:
    """A page of one stream, in version order: versions above `after_version` up to `to_version`."""
    values = {"stream_id": stream_id, "after_version": after_version, "to_version": to_version, "limit": limit}
    return [Stored(reader.tenant, row) for row in await _fetch(reader, "read_stream", values)]


async def read_log(
    reader: Reader,
    *,
    after: int = 0,
    to: int = POSITION_MAX,
    limit: int = PAGE_EVENTS,
    types: Sequence[str] | None = None,
) -> list[Stored]:
    """A page of the bound company's log, in position order: positions above `after` up to `to`, of `types` if given."""
    values: dict[str, Any] = {"after": after, "to": to, "limit": limit}
    if types is None:
        return [Stored(reader.tenant, row) for row in await _fetch(reader, "read_log", values)]
    return [
        Stored(reader.tenant, row) for row in await _fetch(reader, "read_log_of_types", values | {"types": list(types)})
    ]


async def read_within(
    reader: Reader, *, after: int, to: int, bytes_max: int, known: Collection[int] = ()
) -> list[Stored]:
    """As `read_log`, until the payloads come to `bytes_max`: when they come to less, that is all there is. Those at
    positions that are `known` do not come.
    """
    values = {"after": after, "to": to, "bytes": bytes_max, "known": list(known)}
    return [Stored(reader.tenant, row) for row in await _fetch(reader, "read_within", values)]


async def ask_log(reader: Reader, *, after: int, to: int = POSITION_MAX, limit: int = PAGE_EVENTS) -> Cursor:
    """Asks for what `read_log` reads. Nobody waits yet: `told` has the answer, even when the transaction is over."""
    return await _ask(reader, "read_log", {"after": after, "to": to, "limit": limit})


async def told(tenant: UUID, asked: Cursor) -> list[Stored]:
    """The page that was asked for."""
    return [Stored(tenant, row) for row in await asked.fetchall()]


class Run:
    """Neighbours in a company's log, not yet decoded: their rows, or the joined values of these.
    `position`: of the last; `size`: bytes of the payloads.
    """

    __slots__ = ("_of", "_tenant", "position", "size")

    def __init__(self, tenant: UUID, of: Sequence[Stored] | Neighbours) -> None:
        self._of = of
        self._tenant = tenant
        if isinstance(of, Neighbours):
            self.position, self.size = of.first + of.count - 1, len(of.payloads)
        else:
            self.position, self.size = of[-1].position, sum(stored.size for stored in of)

    def __len__(self) -> int:
        return self._of.count if isinstance(self._of, Neighbours) else len(self._of)

    @property
    def is_apart(self) -> bool:
        """Whether its events are rows of their own: one of them is large, or missing."""
        return not isinstance(self._of, Neighbours)

    def stored(self) -> Sequence[Stored]:
        """Each by itself, for a reader who must survive an event that today's code can't read."""
        of = self._of
        if not isinstance(of, Neighbours):
            return of
        return [Stored(self._tenant, row) for row in zip(*map(of.__getitem__, range(len(COLUMNS))), strict=True)]

    def decoded(self) -> list[Recorded[Event]]:
        """All of them. Raises codec.Undecodable when one of them cannot be read."""
        of = self._of
        if isinstance(of, Neighbours):
            events = codec.decode_joined(of[_TYPE], of[_SCHEMA_VERSION], of.payloads)
            if events is not None:
                return list(map(Recorded, repeat(self._tenant), *_at_hand(of), repeat(of), events))
        return [stored.decoded() for stored in self.stored()]


async def read_page(
    reader: Reader,
    *,
    after: int = 0,
    to: int = POSITION_MAX,
    limit: int = PAGE_EVENTS,
    types: Collection[str] | None = None,
) -> list[Run]:
    """The events that `read_log` would give, for whoever reads many: it costs both sides half as much. Large events of
    other types than `types` come without their payload, if these are given: they cannot be decoded.

    Only an empty answer says that the log ends: a page with large events in it ends early.
    """
    last = min(after + limit, to)
    values = {"after": after, "last": last, "run": RUN_EVENTS, "large": LARGE_BYTES}
    rows = await _fetch(reader, "read_page", values) if after < last else []
    runs: list[Run] = []
    left = LARGE_PAGE_BYTES
    for row in sorted((row for row in rows if row[1]), key=itemgetter(0)):
        run = _joined(reader, row)
        if run is None:
            run = await _up_to(reader, left, types, after=row[0], to=min(row[0] + RUN_EVENTS, last))
            left = max(0, left - run.size)
        runs.append(run)
        if len(run) < row[1] or not left:
            break
    if runs or last >= to:
        return runs
    beyond = await read_log(reader, after=last, to=to, limit=RUN_EVENTS)  # behind a hole, which is others' to report
    return [Run(reader.tenant, beyond)] if beyond else []


def _joined(reader: Reader, row: tuple[Any, ...]) -> Run | None:
    """The run of a row; None for one that is to be read event by event."""
    after, count, largest, greatest, *joined = row
    if largest <= LARGE_BYTES and greatest == after + count:  # positions are unique: none is missing
        neighbours = Neighbours(after + 1, count, joined)
        if len(neighbours[_TYPE]) == count:
            return Run(reader.tenant, neighbours)
    return None


async def _up_to(reader: Reader, size: int, types: Collection[str] | None, *, after: int, to: int) -> Run:
    """Events row by row, as long as their payloads together have no more bytes than `size`; the first in any case."""
    values = {"after": after, "to": to, "bytes": size, "types": None if types is None else list(types)}
    return Run(reader.tenant, [Stored(reader.tenant, row) for row in await _fetch(reader, "read_up_to", values)])


async def read_all(reader: Reader, *, after: int = 0, to: int = POSITION_MAX) -> AsyncIterator[list[Recorded[Event]]]:
    """The bound company's log, decoded, page after page. The next page is on its way while one is decoded and used.

    Raises codec.Undecodable at an event that today's code cannot read.
    """
    coming = asyncio.ensure_future(read_page(reader, after=after, to=to))
    try:
        while page := await coming:
            coming = asyncio.ensure_future(read_page(reader, after=page[-1].position, to=to))
            await asyncio.sleep(0)  # the question goes out
            for run in page:
                yield run.decoded()
                await _take_in()
    finally:  # not cancelled: that would reach the server, and take the reader's transaction with it
        await asyncio.gather(coming, return_exceptions=True)


async def _take_in() -> None:
    """Takes in what has come meanwhile: a socket holds a fraction of a page, and the server waits while it is full."""
    await asyncio.sleep(0)  # the loop sees that something came
    await asyncio.sleep(0)  # and whoever waits for it reads it


async def of_command(reader: Reader, command_id: UUID, first: int) -> list[Stored]:
    """The events of a command whose first one stands at `first`. Empty when it had nothing to do."""
    values = {"command_id": command_id, "position": first, "limit": PAGE_EVENTS}
    return [Stored(reader.tenant, row) for row in await _fetch(reader, "of_command", values)]


async def head(reader: Reader) -> Head | None:
    """How far the bound company's log goes; None when it has none yet."""
    rows = await reader.tuples(SQL["head"], {})
    return Head(reader.tenant, rows[0][0], rows[0][1]) if rows else None


async def heads(connection: Connection) -> list[Head]:
    """Every company's head. Needs the projector role: no other sees more than the company it is bound to."""
    cursor = await connection.execute(SQL["heads"], binary=True)
    return [Head(*row) for row in await cursor.fetchall()]


async def epochs(reader: Reader) -> list[tuple[int, int]]:
    """The incarnations of the bound company's log, oldest first: (epoch, last position before it)."""
    return [(row[0], row[1]) for row in await reader.tuples(SQL["epochs"], {})]


async def position_at(reader: Reader, instant: datetime) -> int:
    """The position the log had reached at an instant; 0 before its first event."""
    position: int = (await reader.tuples(SQL["position_at"], {"instant": instant}))[0][0]
    return position


async def open_incarnation(database: Database) -> bool:
    """Begins new epochs if this database is not the one the log was last opened in. Every process does it at start.

    Raises Unavailable while the database still recovers.
    """
    async with database.connection() as connection:
        try:
            cursor = await connection.execute(SQL["open_incarnation"])
        except DatabaseError as error:
            if error.sqlstate not in STILL_RECOVERING:
                raise
            raise Unavailable("the database is still recovering") from error
        row = await cursor.fetchone()
    return row is not None and bool(row[0])
