"""Read models' progress on its way out: per company and model, the ranges of positions taken in, joined without hole.

The checkpoints are the truth. Where a model's ranges ended is asked from the stream: its last message on the subject.
"""

import math
import time
from collections.abc import Sequence
from typing import Final, NamedTuple
from uuid import UUID

import msgspec
from prometheus_client import Counter

from eventstore import envelope, log, sql
from eventstore.db import Database
from eventstore.envelope import ViewChange
from eventstore.wire import BATCH_MESSAGES_MAX, Broker, Message, Refused, Stream, StreamOptions
from workers.settings import WorkerSettings

SQL = sql.beside(__file__)

STREAM: Final = "CAIRN_VIEWS"
DAY_SECONDS: Final = 86_400
PAUSE_SECONDS: Final = 0.5
"""Ranges that are published sooner than so much after the last become one: whoever is in a hurry follows the hints, and
events wait behind each publication.
"""
PUBLISHED = Counter("cairn_relay_ranges_published_total", "Ranges of read-model progress published to the broker.")

Epochs = Sequence[tuple[int, int]]


class Progress(NamedTuple):
    """How far a read model has come in a company. `epoch` is that of the company's head."""

    tenant: UUID
    model: str
    version: int
    position: int
    epoch: int


def next_change(last: ViewChange | None, progress: Progress, epochs: Epochs) -> ViewChange | None:
    """The range to publish after `last`; None when there is nothing new."""
    epoch = envelope.epoch_of(epochs, progress.position)
    after = 0
    if last is not None and last.version == progress.version:
        after = envelope.shared_until(epochs, int(last.epoch), last.to)
        if progress.position <= after:
            return None
    return ViewChange(progress.model, progress.version, str(epoch), after, progress.position)


class Ranges:
    """Publishes what the read models took in. `Refused` and `Unavailable` mean: `begin` again."""

    def __init__(self, database: Database, broker: Broker, settings: WorkerSettings) -> None:
        self._database = database
        options = StreamOptions(
            name=STREAM,
            subjects=(envelope.EVERY_VIEW,),
            description="The ranges of positions each read model has taken in. Postgres is the truth.",
            replicas=settings.relay_replicas,
            age_seconds_max=settings.relay_views_keep_days * DAY_SECONDS,
            duplicate_seconds=settings.relay_duplicate_seconds,
        )
        self._stream = Stream(broker, options)
        self._sequence = 0
        self._last: dict[tuple[UUID, str], ViewChange | None] = {}
        self._epochs: dict[UUID, tuple[int, Epochs]] = {}
        self._moved: set[UUID] = set()
        self._look = True
        self._published_at = 0.0

    def moved(self, tenant: UUID) -> bool:
        """A read model of this company has moved, as somebody says. Answers whether nothing was due before."""
        first = not self._moved
        self._moved.add(tenant)
        return first

    def look(self) -> None:
        """The next publication looks at every company."""
        self._look = True

    def due_seconds(self) -> float:
        """When the next publication is due; the poll brings what has not moved."""
        return max(0.0, self._published_at + PAUSE_SECONDS - time.monotonic()) if self._moved else math.inf

    async def begin(self) -> None:
        """Makes the stream if there is none, and doubts everything that was known about it."""
        self._sequence = (await self._stream.ensure()).last
        self._last.clear()
        self._epochs.clear()
        self._look = True

    async def verify(self) -> None:
        """Raises Refused when the stream is not where we left it."""
        last = (await self._stream.state()).last
        if last != self._sequence:
            raise Refused(f"the stream ends at {last}, not at {self._sequence}")

    async def publish_waiting(self) -> int:
        """Publishes every range that is new; answers how many."""
        if not (self._look or self._moved) or time.monotonic() - self._published_at < PAUSE_SECONDS:
            return 0
        self._published_at = time.monotonic()
        statement, values = ("progress", {}) if self._look else ("progress_of", {"tenants": list(self._moved)})
        async with self._database.connection() as connection:
            cursor = await connection.execute(SQL[statement], values)
            found = [Progress(*row) for row in await cursor.fetchall()]
        self._look = False
        self._moved.clear()
        changes = [(progress, change) for progress in found if (change := await self._change(progress)) is not None]
        for begin in range(0, len(changes), BATCH_MESSAGES_MAX):
            await self._publish(changes[begin : begin + BATCH_MESSAGES_MAX])
        return len(changes)

    async def _change(self, progress: Progress) -> ViewChange | None:
        key = (progress.tenant, progress.model)
        if key not in self._last:
            kept = await self._stream.last(envelope.view_subject(*key))
            self._last[key] = None if kept is None else msgspec.json.decode(kept.body, type=ViewChange)
        known = self._epochs.get(progress.tenant)
        if known is None or known[0] != progress.epoch:
            async with self._database.bound(progress.tenant) as reader:
                known = (progress.epoch, await log.epochs(reader))
            self._epochs[progress.tenant] = known
        return next_change(self._last[key], progress, known[1])

    async def _publish(self, changes: Sequence[tuple[Progress, ViewChange]]) -> None:
        messages = [
            Message(
                envelope.view_subject(progress.tenant, progress.model),
                f"{progress.tenant}.{change.model}.{change.version}.{change.epoch}.{change.after}-{change.to}",
                msgspec.json.encode(change),
            )
            for progress, change in changes
        ]
        self._sequence = await self._stream.publish(messages, self._sequence)
        for progress, change in changes:
            self._last[progress.tenant, progress.model] = change
        PUBLISHED.inc(len(messages))
