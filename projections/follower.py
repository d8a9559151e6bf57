"""A projector: holds leases on slices of companies and brings their read models up to date, until told to stop."""

import asyncio
import contextlib
import time
from collections.abc import Iterator
from typing import NamedTuple
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

GATHERING_SHARE = 4
"""Models that nobody waits for are left alone so many times as long as they last took, if they are busy,"""
GATHERING_SECONDS_MAX = 0.5
"""but no longer than this."""


class Work(NamedTuple):
    """A company's prompt models, or the others: they are brought on by themselves, so that nobody waits for both."""

    tenant: UUID
    prompt: bool


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
        self._due: asyncio.Queue[Work] = asyncio.Queue()
        self._queued: set[Work] = set()
        self._again: set[Work] = set()
        self._busy: set[Work] = set()
        self._waiting: dict[Work, float] = {}
        self._took: dict[UUID, float] = {}

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
        """Looks at a company's log now rather than at the next poll; for models that are not prompt, in a moment."""
        self.engine.stir(tenant)
        held = {each.prompt for each in self.engine.projections.values() if self.leases.holds(scope_of(each), tenant)}
        for prompt in held:
            self._queue(Work(tenant, prompt))

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

    def _queue(self, work: Work) -> None:
        if work in self._busy:
            self._again.add(work)
        elif work not in self._queued:
            self._queued.add(work)
            self._waiting.setdefault(work, time.monotonic())
            if work.prompt:
                self._due.put_nowait(work)
            else:  # what comes meanwhile is done in one go
                delay = min(GATHERING_SECONDS_MAX, GATHERING_SHARE * self._took.get(work.tenant, 0))
                delay = max(delay, self._settings.projection_gathering_seconds)
                asyncio.get_running_loop().call_later(delay, self._due.put_nowait, work)

    def _moved(self, tenant: UUID, model: str, position: int) -> None:
        work = Work(tenant, self.engine.projections[model].prompt)
        if work in self._waiting:
            self._waiting[work] = time.monotonic()
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
        prompt = {name: projection.prompt for name, projection in self.engine.projections.items()}
        mine = {Work(each.tenant, prompt[each.model]) for each in behind if self._is_mine(each)}
        for work in mine:
            self._queue(work)
        for work in set(self._waiting) - mine - self._queued - self._busy:
            del self._waiting[work]
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
            work = await self._due.get()
            self._queued.discard(work)
            self._busy.add(work)
            try:
                await self._project(work)
            finally:
                self._busy.discard(work)
                if work in self._again:
                    self._again.discard(work)
                    self._queue(work)

    async def _project(self, work: Work) -> None:
        targets = [
            target
            for target in self.engine.targets.values()
            if target.projection.prompt == work.prompt and self._holds(target, work.tenant)
        ]
        if not targets:
            self._waiting.pop(work, None)
            return
        began = time.monotonic()
        try:
            await self.engine.advance(work.tenant, targets=targets, others_wait=self._others_wait)
        except Fenced:
            telemetry.log().info("projection_fenced", tenant=str(work.tenant))
            with self._unavailable_is_logged():
                await self.leases.renew()
        except (psycopg.Error, Unavailable) as error:
            telemetry.log().warning("projection_failed", tenant=str(work.tenant), error=str(error))
        else:
            self._waiting.pop(work, None)
            if not work.prompt:
                self._took[work.tenant] = time.monotonic() - began

    def _others_wait(self) -> bool:
        return not self._due.empty()

    def _holds(self, target: Target, tenant: UUID) -> bool:
        return self.leases.holds(scope_of(target.projection), tenant)

    @contextlib.contextmanager
    def _unavailable_is_logged(self) -> Iterator[None]:
        try:
            yield
        except (psycopg.OperationalError, psycopg.InterfaceError, Unavailable) as error:
            telemetry.log().warning("projector_unavailable", error=str(error))
