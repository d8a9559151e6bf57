"""The relay: one leader publishes what the log and the read models hold, in order, once; others stand by.

The lease in Postgres keeps two from working at once. It is not what makes them safe: each publication names the
sequence that must come before it, so a leader that was paused past its lease is refused by the stream, and stops.
"""

import asyncio
import time
from collections.abc import Mapping
from typing import ClassVar
from uuid import UUID

from prometheus_client import Counter, Gauge

from eventstore import log, sql, telemetry
from eventstore.db import Database, Unavailable
from eventstore.wire import Broker, Following, Hints, Refused
from workers.outbound import Outbound
from workers.ranges import Ranges
from workers.settings import WorkerSettings
from workers.worker import Worker

SQL = sql.beside(__file__)

EVENTS: Mapping[str, str] = {
    "relay_leads": "This relay publishes from now on.",
    "relay_stands_by": "Another relay publishes; this one waits for its lease to end.",
    "relay_refused": "The stream was not where the relay left it; it asks the stream again, if it still leads.",
    "relay_waits": "The broker cannot be reached; events wait in the log.",
}
"""Names the relay logs under."""

REFUSED = Counter("cairn_relay_refused_total", "Publications the stream refused because it was elsewhere.")
WAITING = Gauge("cairn_relay_waiting_events", "Events in the log that the broker does not have yet.")
LEADING = Gauge("cairn_relay_leading", "1 while this relay publishes.")


class Relay(Worker):
    """Publishes to CAIRN_EVENTS and CAIRN_VIEWS."""

    kind: ClassVar[str] = "relay"

    def __init__(self, database: Database, broker: Broker, settings: WorkerSettings) -> None:
        super().__init__(database, settings)
        self.fence: int | None = None
        self.broker = broker
        self.outbound = Outbound(database, broker, settings)
        self.ranges = Ranges(database, broker, settings)
        self._wake = asyncio.Event()
        self._followings: list[Following] = []
        self._looked_at = 0.0
        self._verified_at = 0.0
        self._generation = -1
        self._in_doubt = False

    def waiting(self) -> bool:
        """Whether the leader has events that the broker has not. A standby has nothing to do."""
        return self.fence is not None and self.outbound.waiting_events() > 0

    def detail(self) -> str:
        """Whether it leads, and what waits."""
        if self.fence is None:
            return "standby"
        where = "connected" if self.broker.connected else "without NATS"
        return f"leader {self.fence}, {where}, {self.outbound.waiting_events()} events wait"

    async def live(self) -> None:
        """Leads whenever nobody else does, until it shall stop."""
        await log.open_incarnation(self.database)
        await self.broker.open()
        await self.broker.wait_connected(self.settings.relay_poll_seconds)
        await self._follow()
        stood_by = False
        while not self.stopping.is_set():
            self.fence = await self._take_lease()
            self.be_ready()
            if self.fence is not None:
                stood_by = False
                await self._lead()
                continue
            if not stood_by:
                telemetry.log().info("relay_stands_by", worker=str(self.id))
                stood_by = True
            await self.rest(self.settings.relay_lease_seconds / 5)

    async def leave(self) -> None:
        """Ends its life: no hints, no connection, no lease."""
        for following in self._followings:
            await following.stop()
        self._followings.clear()
        await self._leave_lease()
        if self.stopping.is_set():
            await self.broker.close()

    async def _follow(self) -> None:
        hints = Hints(self.broker)

        def log_moved(tenant: UUID, position: int) -> None:
            self.outbound.moved(tenant, position)
            self._wake.set()

        def view_moved(tenant: UUID, _model: str, _position: int) -> None:
            if self.ranges.moved(tenant):
                self._wake.set()

        self._followings.append(await hints.follow_log(log_moved))
        self._followings.append(await hints.follow_views(view_moved))

    async def _take_lease(self) -> int | None:
        values = {"owner": self.id, "seconds": self.settings.relay_lease_seconds}
        async with self.database.connection() as connection:
            row = await (await connection.execute(SQL["take_lease"], values)).fetchone()
        return None if row is None else int(row[0])

    async def _leave_lease(self) -> None:
        if self.fence is None:
            return
        self.fence = None
        LEADING.set(0)
        try:
            async with self.database.connection() as connection:
                await connection.execute(SQL["leave_lease"], {"owner": self.id})
        except Exception as error:  # it runs out by itself
            telemetry.log().warning("relay_stands_by", worker=str(self.id), error=repr(error))

    async def _lead(self) -> None:
        telemetry.log().info("relay_leads", worker=str(self.id), fence=self.fence)
        LEADING.set(1)
        self._generation = -1
        renewing = asyncio.create_task(self._renew())
        try:
            while self.fence is not None and not self.stopping.is_set() and not renewing.done():
                await self._try_once()
        finally:
            renewing.cancel()
            await asyncio.wait([renewing])
            if self.stopping.is_set():
                await self.outbound.note(0)
            await self._leave_lease()

    async def _renew(self) -> None:
        """Ends when the lease is another's, or could not be renewed in time."""
        renewed_at = time.monotonic()
        while time.monotonic() - renewed_at < self.settings.relay_lease_seconds:
            await asyncio.sleep(self.settings.relay_lease_seconds / 4)
            try:
                if await self._take_lease() != self.fence:
                    break
                renewed_at = time.monotonic()
            except Exception as error:  # the work meets the same trouble; here only the time counts
                telemetry.log().warning("relay_stands_by", worker=str(self.id), error=repr(error))
        self._wake.set()

    async def _try_once(self) -> None:
        try:
            await self._work()
        except Refused as refused:
            REFUSED.inc()
            telemetry.log().warning("relay_refused", worker=str(self.id), reason=str(refused))
            self._generation = -1
            if await self._take_lease() != self.fence:
                self.fence = None  # another took over while this one was paused
        except Unavailable as unavailable:
            if not self._in_doubt:
                telemetry.log().warning("relay_waits", worker=str(self.id), reason=unavailable.what)
            self._in_doubt = True
            self._generation = -1
            await self._look()
            WAITING.set(self.outbound.waiting_events())
            await self.rest(0.1)
            if not self.broker.connected:
                await self.rest(self.settings.relay_poll_seconds, self.broker.up)

    async def _look(self) -> None:
        await self.outbound.look()
        self.ranges.look()
        self._looked_at = time.monotonic()

    async def _work(self) -> None:
        """One round: what hints named, and now and then everything."""
        self._wake.clear()
        if self._generation != self.broker.generation:
            generation = self.broker.generation
            await self.outbound.begin()
            await self.ranges.begin()
            await self._look()
            self._generation = generation
            self._in_doubt = False
        due = time.monotonic() - self._looked_at >= self.settings.relay_poll_seconds
        if due:
            await self._look()
        done = await self.outbound.publish_waiting()
        if due:
            done += await self.outbound.republish_some()
        done += await self.ranges.publish_waiting()
        WAITING.set(self.outbound.waiting_events())
        if done:
            self.progressed()
            self._verified_at = time.monotonic()
            return
        if time.monotonic() - self._verified_at >= self.settings.relay_verify_seconds:
            await self.outbound.verify()
            await self.ranges.verify()
            self._verified_at = time.monotonic()
        await self.outbound.note()
        await self.rest(min(self.settings.relay_poll_seconds, self.ranges.due_seconds()), self._wake)
