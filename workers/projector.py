"""The projector: brings read models up to date with the log, for the companies whose slices it holds."""

import asyncio
from typing import ClassVar
from uuid import UUID

from eventstore import log
from eventstore.db import Database
from eventstore.wire import Broker, Following, Hints
from projections.follower import Follower
from projections.settings import EngineSettings
from workers.settings import WorkerSettings
from workers.worker import Worker


class Projector(Worker):
    """Runs the engine's follower: woken by hints, right without them."""

    kind: ClassVar[str] = "projector"

    def __init__(self, database: Database, broker: Broker, engine: EngineSettings, settings: WorkerSettings) -> None:
        super().__init__(database, settings)
        self.broker = broker
        self.hints = Hints(broker)
        self._engine = engine
        self._follower: Follower | None = None
        self._following: Following | None = None

    def waiting(self) -> bool:
        """Whether events of its companies are not projected yet."""
        return self._follower is None or self._follower.waiting_seconds() > 0

    async def live(self) -> None:
        """Projects until it shall stop."""
        await log.open_incarnation(self.database)
        await self.broker.open()
        follower = self._follower = Follower(self.database, self._engine, committed=self._committed)
        self._following = await self.hints.follow_log(follower.hint)
        readying = asyncio.create_task(self._readied(follower))
        try:
            await follower.run(self.stopping)
        finally:
            readying.cancel()
            await asyncio.wait([readying])

    async def leave(self) -> None:
        """Ends its life. The follower has given its leases back, or they run out."""
        following, self._following = self._following, None
        if following is not None:
            await following.stop()
        if self.stopping.is_set():
            await self.hints.sent()
            await self.broker.close()

    async def _readied(self, follower: Follower) -> None:
        await follower.wait_ready()
        self.be_ready()

    def _committed(self, tenant: UUID, model: str, position: int) -> None:
        self.progressed()
        self.hints.view_moved(tenant, model, position)
