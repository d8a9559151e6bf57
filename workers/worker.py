"""What every worker is: started, ready, stopped; stopping twice is harmless. A failed life is followed by another."""

import asyncio
import contextlib
import platform
import random
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar
from uuid import UUID, uuid4

from prometheus_client import Counter

from eventstore import liveness, telemetry
from eventstore.db import Database, Unsafe
from workers.settings import WorkerSettings

EVENTS: Mapping[str, str] = {
    "worker_started": "A worker began its work.",
    "worker_failed": "A worker's life ended in an error; another begins after a pause.",
    "worker_stopped": "A worker ended in order.",
    "worker_cut_off": "A worker did not finish in the time it had, and was ended in the middle.",
    "beat_failed": "A worker could not say that it lives.",
}
"""Names the workers log under; the relay adds its own."""

RESTARTS = Counter("cairn_worker_failures_total", "Lives of a worker that ended in an error.", ["kind"])
GONE_SECONDS = 600.0
"""A worker silent for so long was killed; its row is removed."""


class Worker(ABC):
    """One long-running job over one pool of the projector role. Subclasses write `live`."""

    kind: ClassVar[str]

    def __init__(self, database: Database, settings: WorkerSettings) -> None:
        self.id: UUID = uuid4()
        self.database = database
        self.settings = settings
        self.stopping = asyncio.Event()
        self.failed: Exception | None = None
        self._ready = asyncio.Event()
        self._running: asyncio.Task[None] | None = None
        self._progress = 0
        self._beaten_progress = -1
        self._open = False

    @abstractmethod
    async def live(self) -> None:
        """One life: works until `stopping` is set, finishes what it began, returns. May raise; another life follows."""

    async def leave(self) -> None:  # noqa: B027  # a worker that holds nothing gives nothing back
        """Gives back what a life took: connections, leases. Called after every life, however it ended."""

    @abstractmethod
    def waiting(self) -> bool:
        """Whether there is work it has not done yet."""

    def detail(self) -> str:
        """What it is doing, in a few words."""
        return ""

    def progressed(self) -> None:
        """A life calls it whenever it got something done."""
        self._progress += 1

    def be_ready(self) -> None:
        """A life calls it once it has begun to work."""
        self._ready.set()

    async def start(self) -> None:
        """Begins, and returns at once. Harmless when started."""
        if self._running is None:
            self._running = asyncio.create_task(self._supervised())

    async def wait_ready(self) -> None:
        """Until it works. Raises what ended it for good, if something did."""
        assert self._running is not None, "not started"
        ready = asyncio.ensure_future(self._ready.wait())
        await asyncio.wait([ready, self._running], return_when=asyncio.FIRST_COMPLETED)
        ready.cancel()
        if self.failed is not None:
            raise self.failed

    async def ended(self) -> None:
        """Until it has ended, in order or for good."""
        if self._running is not None:
            await asyncio.wait([self._running])

    async def stop(self) -> None:
        """Lets it finish what it began, but no longer than its settings allow. Harmless when stopped or not started."""
        self.stopping.set()
        if self._running is None or self._running.done():
            return
        _, late = await asyncio.wait([self._running], timeout=self.settings.worker_stop_seconds_max)
        if late:
            telemetry.log().warning("worker_cut_off", kind=self.kind, worker=str(self.id))
            await self.cut_off()

    async def cut_off(self) -> None:
        """Ends it in the middle of whatever it does. Nothing is lost by that: a later life repairs it."""
        self.stopping.set()
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait([self._running])

    async def _supervised(self) -> None:
        pause = 0.1
        telemetry.log().info("worker_started", kind=self.kind, worker=str(self.id))
        while not self.stopping.is_set():
            began = time.monotonic()
            try:
                await self._one_life()
            except Unsafe as error:
                self.failed = error
                break
            except Exception as error:  # the supervisor: a bug or a lost server ends a life, not the worker
                RESTARTS.labels(self.kind).inc()
                telemetry.log().error("worker_failed", kind=self.kind, worker=str(self.id), error=repr(error))
                pause = (
                    0.1 if time.monotonic() - began > 60 else min(pause * 2, self.settings.worker_restart_seconds_max)
                )
                await self.rest(pause * random.uniform(0.7, 1.3))  # noqa: S311  # spreads restarts, guards nothing
        await self.database.close()
        telemetry.log().info("worker_stopped", kind=self.kind, worker=str(self.id))

    async def _one_life(self) -> None:
        beating: asyncio.Task[None] | None = None
        try:
            await self._open_database()
            beating = asyncio.create_task(self._beat())
            await self.live()
        finally:
            if beating is not None:
                beating.cancel()
                await asyncio.wait([beating])
            await self.leave()
            if self.stopping.is_set():
                await self._say_farewell()

    async def _open_database(self) -> None:
        if not self._open:
            await self.database.open(wait=False)
            self._open = True
        await self.database.refuse_if_unsafe()

    async def _say_farewell(self) -> None:
        with contextlib.suppress(Exception):  # the row only tells that it lives; its age will tell that it does not
            async with self.database.connection() as connection:
                await liveness.farewell(connection, self.id)

    async def _beat(self) -> None:
        host = platform.node()
        while True:
            try:
                waiting = self.waiting()
                moved = not waiting or self._progress != self._beaten_progress
                self._beaten_progress = self._progress
                async with self.database.connection() as connection:
                    await liveness.bury(connection, GONE_SECONDS)
                    await liveness.beat(
                        connection,
                        id=self.id,
                        kind=self.kind,
                        host=host,
                        waiting=waiting,
                        moved=moved,
                        detail=self.detail(),
                    )
            except Exception as error:  # the work itself meets the same trouble and is what decides
                telemetry.log().warning("beat_failed", kind=self.kind, error=repr(error))
            await asyncio.sleep(self.settings.worker_beat_seconds)

    async def rest(self, seconds: float, *earlier: asyncio.Event) -> None:
        """Until so many seconds passed, it shall stop, or one of the events is set."""
        waits = [asyncio.ensure_future(event.wait()) for event in (self.stopping, *earlier)]
        await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
