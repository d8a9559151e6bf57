"""A projector: holds leases on slices of companies and brings their read models up to date, until told to stop."""

import asyncio
import contextlib
import time
from collections.abc import Iterator
from uuid import UUID

import psycopg

from eventstore import telemetry
from eventstore.db import Database, Unavailable
from projections.engine import Behind, Committed, Engine, Fenced, Target
from projections.leases import Leases, scope_of
from projections.rebuild import finish
from projections.registry import PROJECTIONS
from projections.settings import EngineSettings

EVENTS = {
    "projection_fenced": "Another process has taken a company's read model over; nothing was lost.",
    "projection_failed": "A company's read models could not be brought up to date; it is tried again.",
    "projector_unavailable": "PostgreSQL did not answer the projector; it is tried again.",
    "projection_switched": "A new build of a read model has become the live one.",
}
FINISH_EVENTS_MAX = 5_000
"""A new build is switched to once it is at most this many events behind: they are applied while appends wait."""


async def _set(event: asyncio.Event) -> None:
    await event.wait()


class Follower:
    """One projector process's work. Hints only save latency: the log is asked every `projector_poll_seconds`."""

    def __init__(self, database: Database, settings: EngineSettings, *, committed: Committed | None = None) -> None:
        self.engine = Engine(database, PROJECTIONS, settings, committed=self._moved)
        scopes = [scope_of(projection) for projection in PROJECTIONS]
        self.leases = Leases(database, self.engine.owner, scopes, settings.projector_lease_seconds)
        self._settings = settings
        self._committed = committed
        self._ready = asyncio.Event()
        self._due: asyncio.Queue[UUID] = asyncio.Queue()
        self._queued: set[UUID] = set()
        self._again: set[UUID] = set()
        self._busy: set[UUID] = set()
        self._waiting: dict[UUID, float] = {}

    async def run(self, stopping: asyncio.Event) -> None:
        """Works until `stopping` is set, then gives its leases back. A batch in hand is rolled back: others do it."""
        await self._prepare(stopping)
        loops = [
            self._heartbeats(),
            self._polls(),
            *(self._work() for _ in range(self._settings.projector_companies_at_once)),
        ]
        tasks = [asyncio.create_task(loop) for loop in loops]
        stop = asyncio.create_task(_set(stopping))
        try:
            await asyncio.wait([stop, *tasks], return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                if task.done():
                    task.result()  # a loop never ends by itself: it is a bug, and the supervisor's to see
        finally:
            for task in [stop, *tasks]:
                task.cancel()
            await asyncio.gather(stop, *tasks, return_exceptions=True)
            with contextlib.suppress(psycopg.Error, Unavailable):
                await self.leases.release()

    async def wait_ready(self) -> None:
        """Returns when builds exist and the first leases are held."""
        await self._ready.wait()

    def hint(self, tenant: UUID, position: int) -> None:  # noqa: ARG002  a hint says "look", the log says how far
        """Looks at a company's log now rather than at the next poll."""
        if any(self.leases.holds(scope_of(each), tenant) for each in self.engine.projections.values()):
            self._queue(tenant)

    def waiting_seconds(self) -> float:
        """How long the company that has stood still longest has had events waiting. 0: none waits."""
        return time.monotonic() - min(self._waiting.values()) if self._waiting else 0.0

    async def _prepare(self, stopping: asyncio.Event) -> None:
        while not stopping.is_set():
            try:
                await self.engine.prepare()
                await self.leases.renew()
            except (psycopg.OperationalError, psycopg.InterfaceError, Unavailable) as error:
                telemetry.log().warning("projector_unavailable", error=str(error))
                await asyncio.sleep(self._settings.projector_heartbeat_seconds)
            else:
                self._ready.set()
                return

    def _queue(self, tenant: UUID) -> None:
        if tenant in self._busy:
            self._again.add(tenant)
        elif tenant not in self._queued:
            self._queued.add(tenant)
            self._waiting.setdefault(tenant, time.monotonic())
            self._due.put_nowait(tenant)

    def _moved(self, tenant: UUID, model: str, position: int) -> None:
        if tenant in self._waiting:
            self._waiting[tenant] = time.monotonic()
        if self._committed is not None:
            self._committed(tenant, model, position)

    async def _heartbeats(self) -> None:
        while True:
            await asyncio.sleep(self._settings.projector_heartbeat_seconds)
            with self._unavailable_is_logged():
                await self.leases.renew()

    async def _polls(self) -> None:
        while True:
            with self._unavailable_is_logged():
                await self._poll()
            await asyncio.sleep(self._settings.projector_poll_seconds)

    async def _poll(self) -> None:
        await self.engine.refresh()
        behind = await self.engine.behind()
        mine = {each.tenant for each in behind if self._is_mine(each)}
        for tenant in mine:
            self._queue(tenant)
        for tenant in set(self._waiting) - mine - self._queued - self._busy:
            del self._waiting[tenant]
        await self._finish_builds(behind)

    def _is_mine(self, behind: Behind) -> bool:
        return self.leases.holds(scope_of(self.engine.projections[behind.model]), behind.tenant)

    async def _finish_builds(self, behind: list[Behind]) -> None:
        for target in list(self.engine.targets.values()):
            build = target.build
            if build.state != "building":
                continue
            missing = sum(
                each.head - each.position for each in behind if (each.model, each.build) == (build.model, build.build)
            )
            if missing <= FINISH_EVENTS_MAX and await finish(self.engine, target):
                telemetry.log().info("projection_switched", model=build.model, version=build.version, build=build.build)
                await self.engine.refresh()

    async def _work(self) -> None:
        while True:
            tenant = await self._due.get()
            self._queued.discard(tenant)
            self._busy.add(tenant)
            try:
                await self._project(tenant)
            finally:
                self._busy.discard(tenant)
                if tenant in self._again:
                    self._again.discard(tenant)
                    self._queue(tenant)

    async def _project(self, tenant: UUID) -> None:
        targets = [target for target in self.engine.targets.values() if self._holds(target, tenant)]
        if not targets:
            self._waiting.pop(tenant, None)
            return
        try:
            await self.engine.advance(tenant, targets=targets)
        except Fenced:
            telemetry.log().info("projection_fenced", tenant=str(tenant))
            with self._unavailable_is_logged():
                await self.leases.renew()
        except (psycopg.Error, Unavailable) as error:
            telemetry.log().warning("projection_failed", tenant=str(tenant), error=str(error))
        else:
            self._waiting.pop(tenant, None)

    def _holds(self, target: Target, tenant: UUID) -> bool:
        return self.leases.holds(scope_of(target.projection), tenant)

    @contextlib.contextmanager
    def _unavailable_is_logged(self) -> Iterator[None]:
        try:
            yield
        except (psycopg.OperationalError, psycopg.InterfaceError, Unavailable) as error:
            telemetry.log().warning("projector_unavailable", error=str(error))
