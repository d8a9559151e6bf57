"""What syncs and pushes work with: the log, read models and how far they are, the way to upstreams, and limits."""

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, TypeVar
from uuid import UUID, uuid5

import msgspec

from domain.connection import Connection
from domain.decider import Command, Ref, State
from domain.registry import BY_CATEGORY
from domain.upstreams import upstream_of
from eventstore.actors import SYNCER
from eventstore.db import Database, DriverError, Unavailable
from eventstore.transact import Context, Receipt, Store, transact
from projections import positions
from workers.settings import WorkerSettings
from workers.upstreams.egress import Egress
from workers.upstreams.opening import opened
from workers.upstreams.upstream import Credentials, Upstream

LOOK_SECONDS: Final = 0.2
"""How often a read model's position is asked for without a hint."""

S = TypeVar("S", bound=State)


class Left(Exception):
    """The worker stops, so the work is left as it is, for whoever takes it up."""


class Positions:
    """How far read models are, as far as was heard, and waiting for them."""

    def __init__(self, reader: Database) -> None:
        self._reader = reader
        self._reached: dict[tuple[UUID, str], int] = {}
        self._moved = asyncio.Event()

    def heard(self, tenant: UUID, model: str, position: int) -> None:
        """A hint came."""
        key = tenant, model
        self._reached[key] = max(position, self._reached.get(key, 0))
        self._moved.set()

    async def until(self, tenant: UUID, model: str, position: int, stopping: asyncio.Event) -> None:
        """Until the model shows this position. A hint alone is not believed: a crash sets models back. Raises Left."""
        while True:
            if stopping.is_set():
                raise Left
            self._moved.clear()
            async with self._reader.bound(tenant) as reader:
                reached = await positions.position_of(reader, model)
            if reached >= position:
                return
            self._reached[tenant, model] = reached
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    while self._reached[tenant, model] < position:
                        await self._moved.wait()
                        self._moved.clear()


class Means:
    """For one life of a worker."""

    def __init__(
        self,
        store: Store,
        reader: Database,
        settings: WorkerSettings,
        *,
        egress: Egress,
        folders: tuple[Path, ...],
        stopping: asyncio.Event,
        progressed: Callable[[], None],
    ) -> None:
        self.store = store
        self.reader = reader
        self.settings = settings
        self.positions = Positions(reader)
        self.stopping = stopping
        self.progressed = progressed
        self._egress = egress
        self._folders = folders

    def leave_if_stopping(self) -> None:
        """Raises Left."""
        if self.stopping.is_set():
            raise Left

    async def reached(self, tenant: UUID, model: str, position: int) -> None:
        """Until a read model shows this position. Raises Left."""
        await self.positions.until(tenant, model, position, self.stopping)

    async def caught_up(self, tenant: UUID, model: str) -> None:
        """Until a read model shows what is in the log now. Raises Left."""
        async with self.reader.bound(tenant) as reader:
            head, _ = await positions.with_head(reader, model)
        if head is not None:
            await self.reached(tenant, model, head.position)

    async def send(self, tenant: UUID, ref: Ref, command: Command, named: UUID, as_what: str) -> Receipt:
        """Decides and appends, once for every thing and name: sent again, it is the first one's replay.

        Tried until it is known what became of it. Raises Rejected, Left.
        """
        context = Context(
            tenant=tenant,
            actor=SYNCER,
            command_id=uuid5(named, as_what),
            request_hash=hashlib.sha256(f"{as_what}:{named}".encode()).digest()[:8],
        )
        while True:
            try:
                return await transact(self.store, BY_CATEGORY[ref.category], ref.id, command, context)
            except (Unavailable, DriverError):
                self.leave_if_stopping()
                await asyncio.sleep(LOOK_SECONDS)

    async def state(self, tenant: UUID, ref: Ref, kind: type[S]) -> S:
        """What decisions know of a thing, as the log has it now."""
        state = await self.store.state(tenant, ref)
        assert isinstance(state, kind)
        return state

    @asynccontextmanager
    async def upstream(self, connection: Connection) -> AsyncIterator[Upstream]:
        """The upstream of a connection that has a mapping. Nothing is connected to yet."""
        assert connection.mapping is not None
        shown = connection.credentials
        credentials = Credentials() if shown is None else Credentials(shown.username, shown.secret)
        upstream = opened(
            upstream_of(msgspec.json.encode(connection.upstream)),
            credentials,
            connection.mapping,
            egress=self._egress,
            folders=self._folders,
        )
        try:
            yield upstream
        finally:
            await upstream.close()

    def later(self, now: datetime, tries: int, asked_seconds: float | None) -> datetime:
        """When what failed for the moment is tried again, after so many tries: later each time, within limits."""
        most = self.settings.upstream_wait_seconds_max
        seconds = min(self.settings.upstream_wait_seconds_min * 2 ** min(tries, 30), most)
        return now + timedelta(seconds=max(seconds, min(asked_seconds or 0, most)))


def told(facts: Mapping[str, object]) -> dict[str, Any]:
    """Facts of an error as JSON values of bounded size."""
    return {
        name: value if isinstance(value, int | float | bool | list) else str(value)[:500]
        for name, value in facts.items()
    }
