"""Events on their way out: each company's, in position order, once, and none that the log does not hold.

How far a company has been published is asked from the stream: its last message there names epoch, position and leaf.
That is then held against the log, which may have been restored to an earlier moment since:

- The log knows a later epoch: what was published behind that epoch's beginning is void, and is published anew.
- The log does not hold the event of that leaf at that position, yet shows no later epoch: it was replaced without a
  trace in itself, as by a copy of its files. The last message both agree on is searched, and a new epoch begun there.
"""

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from uuid import UUID, uuid4

import msgspec
from prometheus_client import Counter, Gauge, Histogram

from eventstore import envelope, log, sql, telemetry, traces
from eventstore.db import Database, Reader
from eventstore.wire import Broker, Kept, Message, Refused, Stream, StreamOptions, StreamState
from workers.settings import WorkerSettings

SQL = sql.beside(__file__)

EVENTS: Mapping[str, str] = {
    "stream_replaced": "The broker has a new, empty stream: events are published again, as far back as it keeps them.",
    "stream_lost": "The broker lost messages it had acknowledged; they are published again.",
    "log_restored": "The log stands in a later epoch than the stream: what the log gave up is published anew.",
    "log_forked": "The stream held events that the log does not, in the log's own epoch: a new epoch was begun.",
    "event_too_large": "An event exceeds what the broker takes; it is published with a reference in place of its data.",
    "republished": "A range of events was published once more, as asked.",
}
"""Names this module logs under."""

PUBLISHED = Counter("cairn_relay_events_published_total", "Events published to the broker.")
LOST = Counter("cairn_relay_events_lost_total", "Events that the broker had acknowledged and lost.")
FORKED = Counter("cairn_relay_logs_forked_total", "Logs that were found behind what the broker holds.")
BATCH = Histogram(
    "cairn_relay_batch_events", "Events that went to the broker at once.", buckets=(1, 4, 16, 64, 256, 1000)
)

MISSING = Gauge("cairn_relay_stream_missing_messages", "Messages gone from the middle of the stream: purged or lost.")

THROUGH = "Cairn-Through"
"""Header of an event that is published once more: how far its company had come when that was done."""
STREAM = "CAIRN_EVENTS"
DAY_SECONDS = 86_400
NOTE_SECONDS = 1.0


class Place(NamedTuple):
    """How far a company has been published, and the stream's sequence of that message (0: none that counts)."""

    epoch: int
    position: int
    sequence: int


class Seen(NamedTuple):
    """What a message of the stream says of the log."""

    epoch: int
    position: int
    leaf: bytes


class _Body(msgspec.Struct):
    epoch: str
    position: int
    leaf: str


class Hole(Exception):
    """A position is missing from the log. That is never waited out."""


class Outbound:
    """Publishes what waits. One task at a time uses it; `Refused` and `Unavailable` mean: `begin` again."""

    def __init__(self, database: Database, broker: Broker, settings: WorkerSettings) -> None:
        self._database = database
        self._broker = broker
        self._settings = settings
        self._stream = Stream(broker, _options(settings))
        self._state = StreamState(datetime.now(UTC), 1, 0, 0)
        self._last = 0
        self._places: dict[UUID, Place] = {}
        self._remembered: dict[UUID, tuple[datetime, Place]] = {}
        self._epochs: dict[UUID, tuple[int, Sequence[tuple[int, int]]]] = {}
        self._wanted: dict[UUID, int] = {}
        self._unnoted: set[UUID] = set()
        self._noted_at = 0.0
        self._refused_as_duplicates = False
        self._event_bytes = 1024

    @property
    def last_sequence(self) -> int:
        """The stream's last sequence as far as we know."""
        return self._last

    def waiting_events(self) -> int:
        """Events known to the log and not yet to the stream."""
        return sum(
            max(0, position - (self._places[tenant].position if tenant in self._places else 0))
            for tenant, position in self._wanted.items()
        )

    def moved(self, tenant: UUID, position: int) -> None:
        """A company's log has come so far, as somebody says."""
        place = self._places.get(tenant)
        if place is None or place.position < position:
            self._wanted[tenant] = max(position, self._wanted.get(tenant, 0))

    async def look(self) -> None:
        """Every company's head, from the log itself. A head behind what was published is asked about anew."""
        async with self._database.connection() as connection:
            heads = await log.heads(connection)
        for tenant, position, epoch in heads:
            place = self._places.get(tenant)
            known = self._epochs.get(tenant)
            if place is not None and (position < place.position or known is None or known[0] != epoch):
                self._forget(tenant)
            if tenant not in self._places or self._places[tenant].position < position:
                self._wanted[tenant] = position

    def _forget(self, tenant: UUID) -> None:
        self._places.pop(tenant, None)
        self._epochs.pop(tenant, None)

    async def begin(self) -> None:
        """Makes the stream if there is none, and doubts everything that was known about it."""
        self._remembered |= {tenant: (self._state.created, place) for tenant, place in self._places.items()}
        self._state = await self._stream.ensure()
        self._last = self._state.last
        self._wanted |= {tenant: self._wanted.get(tenant, 0) for tenant in self._places}
        self._places.clear()
        self._epochs.clear()

    async def verify(self) -> None:
        """Raises Refused when the stream is not where we left it."""
        state = await self._stream.state()
        MISSING.set(max(0, state.last - state.first + 1 - state.messages))
        if state.last != self._last or state.created != self._state.created:
            raise Refused(f"the stream ends at {state.last}, not at {self._last}")

    async def publish_waiting(self) -> int:
        """Publishes one batch of what waits; answers how many events it held."""
        batch: list[tuple[UUID, Message, Place]] = []
        size = 0
        for tenant in list(self._wanted):
            pages = await self._take(tenant, self._settings.relay_batch_events_max - len(batch))
            batch += pages
            size += sum(len(message.body) for _, message, _ in pages)
            if len(batch) >= self._settings.relay_batch_events_max or size >= self._settings.relay_batch_bytes_max:
                break
        if batch:
            with traces.span("relay", events=len(batch)):
                await self._send([message for _, message, _ in batch])
            first = self._last - len(batch) + 1
            for number, (tenant, _, place) in enumerate(batch):
                self._settle(tenant, place._replace(sequence=first + number))
        await self.note()
        return len(batch)

    def _settle(self, tenant: UUID, place: Place) -> None:
        self._places[tenant] = place
        self._unnoted.add(tenant)
        wanted = self._wanted.pop(tenant, 0)
        if wanted > place.position:
            self._wanted[tenant] = wanted  # behind the others: companies take turns

    async def _send(self, messages: Sequence[Message]) -> None:
        if self._refused_as_duplicates:
            # The stream does not hold them, we asked, yet it remembers their ids: somebody purged it. Others, then.
            messages = [message._replace(id=f"{message.id}.{uuid4().hex[:8]}") for message in messages]
        try:
            self._last = await self._stream.publish(messages, self._last)
        except Refused as refused:
            self._refused_as_duplicates = "duplicate" in str(refused)
            raise
        self._refused_as_duplicates = False
        PUBLISHED.inc(len(messages))
        BATCH.observe(len(messages))

    async def _take(self, tenant: UUID, limit: int) -> list[tuple[UUID, Message, Place]]:
        """The next messages of a company, and where each brings it.

        That its log was restored since it was located is not asked each time: that breaks our connections, and `look`
        would see it.
        """
        if tenant not in self._places:
            await self._locate(tenant)
        place = self._places.get(tenant)
        if place is None:
            return []
        limit = self._page(limit)
        async with self._database.bound(tenant, reads_only=True) as reader:
            asked = await log.ask_log(reader, after=place.position, limit=limit)
        rows = await log.told(tenant, asked)  # it came with the end of the transaction: one round trip
        if not rows:
            self._wanted.pop(tenant, None)
            return []
        made = self._messages(tenant, place.position, rows)
        if len(rows) == limit or len(made) < len(rows):
            self.moved(tenant, made[-1][2].position + 1)  # there may be more than anybody said
        return made

    def _page(self, limit: int) -> int:
        """How many events to read at once, so that large ones do not fill the memory."""
        return max(1, min(limit, self._settings.relay_batch_bytes_max // self._event_bytes))

    def _messages(self, tenant: UUID, after: int, rows: Sequence[log.Stored]) -> list[tuple[UUID, Message, Place]]:
        epochs = self._epochs[tenant][1]
        made = []
        size = 0
        for expected, stored in enumerate(rows, after + 1):
            if stored.position != expected:
                raise Hole(f"position {expected} of company {tenant} is missing from the log")
            epoch = envelope.epoch_of(epochs, expected)
            body = self._body(stored, epoch)
            message = Message(
                envelope.event_subject(tenant, stored.row[8]), envelope.message_id(tenant, epoch, expected), body
            )
            made.append((tenant, message, Place(epoch, expected, 0)))
            size += len(body)
            if size >= self._settings.relay_batch_bytes_max:
                break
        self._event_bytes = (self._event_bytes + size // max(1, len(made))) // 2 + 1
        return made

    def _body(self, stored: log.Stored, epoch: int) -> bytes:
        body = envelope.envelope_of(stored, epoch)
        if len(body) <= self._broker.payload_bytes_max:
            return body
        telemetry.log().warning("event_too_large", tenant=str(stored.tenant), position=stored.position, size=len(body))
        return envelope.without_data(stored, epoch)

    async def _locate(self, tenant: UUID) -> None:
        """Finds out how far a company has been published. Leaves no place when there is no such company."""
        kept = await self._stream.last(envelope.events_of(tenant))
        async with self._database.bound(tenant) as reader:
            head = await log.head(reader)
            if head is None:
                self._wanted.pop(tenant, None)
                return
            epochs = await log.epochs(reader)
            place = await self._place(reader, kept, head, epochs)
        if place is None:
            assert kept is not None
            place = await self._fork(tenant, kept, head)
            async with self._database.bound(tenant) as reader:
                head = await log.head(reader) or head
                epochs = await log.epochs(reader)
        self._epochs[tenant] = (head.epoch, epochs)
        self._places[tenant] = place

    async def _place(
        self, reader: Reader, kept: Kept | None, head: log.Head, epochs: Sequence[tuple[int, int]]
    ) -> Place | None:
        """Where the stream left the company, as far as the log agrees. None: it does not, and should."""
        noted = await self._noted(reader)
        if kept is None:
            return await self._beginning(reader, noted)
        seen = _seen(kept)
        if noted is not None and (noted[0], noted[1].epoch) == (self._state.created, seen.epoch):
            self._tell_lost(reader.tenant, noted[1].position - seen.position, seen.position)
        shared = envelope.shared_until(epochs, seen.epoch, seen.position)
        if shared < seen.position:
            telemetry.log().warning(
                "log_restored", tenant=str(reader.tenant), stream_epoch=seen.epoch, epoch=head.epoch, after=shared
            )
        elif seen.epoch > head.epoch or await _leaf_at(reader, shared) != seen.leaf:
            return None
        return Place(seen.epoch, shared, kept.sequence)

    async def _noted(self, reader: Reader) -> tuple[datetime, Place] | None:
        """What the stream was last seen to hold of the bound company, and which stream that was."""
        if reader.tenant in self._remembered:
            return self._remembered.pop(reader.tenant)
        rows = await reader.tuples(SQL["published"], {})
        return (rows[0][2], Place(rows[0][0], rows[0][1], rows[0][3])) if rows else None

    async def _beginning(self, reader: Reader, noted: tuple[datetime, Place] | None) -> Place:
        """The stream holds nothing of this company: it never did, dropped it with age, or lost it."""
        if noted is not None and noted[0] == self._state.created:
            if noted[1].sequence < self._state.first:
                return noted[1]
            self._tell_lost(reader.tenant, noted[1].position, 0)
        elif noted is not None:
            telemetry.log().warning("stream_replaced", stream=STREAM, tenant=str(reader.tenant))
        days = self._settings.relay_events_keep_days
        oldest = datetime.now(UTC) - timedelta(days=days)
        return Place(0, await log.position_at(reader, oldest) if days else 0, 0)

    def _tell_lost(self, tenant: UUID, events: int, after: int) -> None:
        if events > 0:
            LOST.inc(events)
            telemetry.log().error("stream_lost", stream=STREAM, tenant=str(tenant), events=events, after=after)

    async def _fork(self, tenant: UUID, kept: Kept, head: log.Head) -> Place:
        """Begins a new epoch behind the last message that the log agrees with."""
        seen = _seen(kept)
        agreed = await self._last_agreed(tenant, kept.sequence)
        after = 0 if agreed is None else min(_seen(agreed).position, head.position)
        values = {
            "tenant": tenant,
            "after": after,
            "seen": seen.epoch,
            "reason": f"the stream held position {seen.position} of epoch {seen.epoch}, which this log does not",
        }
        async with self._database.bound(tenant) as reader:
            await reader.tuples(SQL["begin_epoch"], values)
        FORKED.inc()
        telemetry.log().error("log_forked", tenant=str(tenant), after=after, head=head.position, seen=seen.position)
        return Place(seen.epoch, after, kept.sequence)

    async def _last_agreed(self, tenant: UUID, disagreed: int) -> Kept | None:
        """The last message before sequence `disagreed` whose event the log holds: by leaps back, then by halving."""
        subject = envelope.events_of(tenant)
        low, high, leap = self._state.first, disagreed, 1
        found: Kept | None = None
        while found is None and high > self._state.first:
            low = max(self._state.first, high - leap)
            kept = await self._stream.next(low, subject)
            if kept is not None and await self._agrees(tenant, kept):
                found = kept
            else:
                high, leap = low, leap * 2
        low = found.sequence + 1 if found is not None else high
        while low < high:
            middle = (low + high) // 2
            kept = await self._stream.next(middle, subject)
            if kept is not None and kept.sequence < high and await self._agrees(tenant, kept):
                found, low = kept, kept.sequence + 1
            else:
                high = middle
        return found

    async def _agrees(self, tenant: UUID, kept: Kept) -> bool:
        body = msgspec.json.decode(kept.body, type=_Body)
        async with self._database.bound(tenant) as reader:
            return await _leaf_at(reader, body.position) == bytes.fromhex(body.leaf)

    async def note(self, seconds: float = NOTE_SECONDS) -> None:
        """Writes down what the stream was seen to hold, if the last time is so long ago."""
        if not self._unnoted or time.monotonic() - self._noted_at < seconds:
            return
        noted = {tenant: self._places[tenant] for tenant in self._unnoted if tenant in self._places}
        values = {
            "stream_created": self._state.created,
            "tenants": list(noted),
            "epochs": [place.epoch for place in noted.values()],
            "positions": [place.position for place in noted.values()],
            "sequences": [place.sequence for place in noted.values()],
        }
        async with self._database.connection() as connection:
            await connection.execute(SQL["note_published"], values)
        self._unnoted.clear()
        self._noted_at = time.monotonic()

    async def republish_some(self) -> int:
        """Publishes a page of the oldest range that was asked for once more; answers how many events it held."""
        async with self._database.connection() as connection:
            row = await (await connection.execute(SQL["asked_again"])).fetchone()
        if row is None:
            return 0
        tenant, identity, done, until = row
        if tenant not in self._places:
            await self._locate(tenant)
        place = self._places.get(tenant)
        if place is None:
            return 0
        until = min(until, place.position)  # what was never published comes by itself
        async with self._database.bound(tenant) as reader:
            limit = self._settings.relay_batch_events_max
            rows = await log.read_log(reader, after=done, to=until, limit=limit) if done < until else []
            leaf = await _leaf_at(reader, place.position)
        made = self._messages(tenant, done, rows)
        if made:
            through = {THROUGH: f"{place.epoch}.{place.position}.{leaf.hex()}"}
            await self._send([_once_more(message, through) for _, message, _ in made])
            self._settle(tenant, place._replace(sequence=self._last))
        reached = made[-1][2].position if made and made[-1][2].position < until else row[3]
        async with self._database.bound(tenant) as reader:
            await reader.connection.execute(SQL["note_again"], {"id": identity, "position": reached})
        if reached == row[3]:
            telemetry.log().info("republished", tenant=str(tenant), to=until)
        return len(made)


def _options(settings: WorkerSettings) -> StreamOptions:
    return StreamOptions(
        name=STREAM,
        subjects=(envelope.EVERY_EVENT,),
        description="Every event of every company, in position order. Postgres is the truth.",
        replicas=settings.relay_replicas,
        age_seconds_max=settings.relay_events_keep_days * DAY_SECONDS,
        bytes_max=settings.relay_events_keep_bytes,
        duplicate_seconds=settings.relay_duplicate_seconds,
    )


def _seen(kept: Kept) -> Seen:
    if THROUGH in kept.headers:
        epoch, position, leaf = kept.headers[THROUGH].split(".")
        return Seen(int(epoch), int(position), bytes.fromhex(leaf))
    body = msgspec.json.decode(kept.body, type=_Body)
    return Seen(int(body.epoch), body.position, bytes.fromhex(body.leaf))


def _once_more(message: Message, headers: Mapping[str, str]) -> Message:
    return message._replace(id=f"{message.id}.{uuid4().hex}", headers=headers)


async def _leaf_at(reader: Reader, position: int) -> bytes:
    """The leaf of an event; empty when there is none."""
    rows = await log.read_log(reader, after=position - 1, to=position, limit=1)
    return bytes(rows[0].row[9]) if rows else b""


async def ask_again(database: Database, tenant: UUID, after: int, to: int) -> UUID:
    """Asks for the events above `after` up to `to` to be published once more, under ids of their own."""
    identity = uuid4()
    async with database.bound(tenant) as reader:
        await reader.connection.execute(SQL["ask_again"], {"id": identity, "after": after, "to": to})
    return identity
