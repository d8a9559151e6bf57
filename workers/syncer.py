"""The syncer: fetches from upstreams what their connections' schedules and people ask for, and pushes changesets back.

What is to be done, and that it is done, is in the log. The queue of jobs only says when it is tried again, keeps two
processes from working on one connection at once, and notices when one of them is gone.
"""

import asyncio
import contextlib
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import ClassVar, Final
from uuid import UUID, uuid5

from msgspec.structs import replace

from domain.connection_events import Mode
from domain.mirror_events import Trigger
from domain.mirror_state import Mirror
from eventstore import sql, telemetry
from eventstore.db import Database, DriverError, Unavailable, role_url
from eventstore.settings import SettingsError, StoreSettings
from eventstore.transact import Store
from eventstore.vault import Vault
from eventstore.wire import Broker, Following, Hints
from projections import upstream_work
from projections.inline import InlineModels
from projections.registry import INLINE
from projections.upstream_work import KnownRun, OpenChangeset, Scheduled, WaitingRun
from workers.jobs import CLOCK, PUSH, SYNC, Again, Jobs
from workers.means import Left, Means
from workers.pusher import Push, Pushing
from workers.schedules import due
from workers.settings import WorkerSettings
from workers.sync_run import STALE, SyncRun, Work
from workers.upstreams.egress import Egress, Network
from workers.worker import Worker

SQL = sql.beside(__file__)

EVENTS: Mapping[str, str] = {
    "sync_begun": "A run of a connection is under way; `attempt` counts those that were not finished.",
    "sync_finished": "A run saw everything; its counts.",
    "sync_failed": "A run could not go on, which was recorded.",
    "sync_refused": "A run may not begin or go on: it was cancelled, taken over, or its connection changed.",
    "push_answered": "An upstream answered for records of a batch, which was recorded.",
    "push_delayed": "An upstream could not be asked, or left answers out, which was recorded.",
    "push_refused": "A changeset is not pushed: it was cancelled or changed, or its connection was.",
    "work_left": "A run or a push is left to whoever takes it up: this process stops.",
    "work_failed": "A run or a push met an error: the database was away, or it is one that nobody foresaw.",
    "jobs_rescued": "Jobs of processes that are gone were queued again.",
}
"""Names the syncer logs under."""

MODELS: Final = ("connections", "changesets")
"""The read models that say what waits."""
RETRIES_KNOWN: Final = 200
LOOKED_BACK: Final = 500
"""Events of a log that are looked through for opened changesets, at most."""
BETWEEN_LOOKS_SECONDS: Final = 0.2
"""However many hints come: a run under way causes one with each of its chunks. The first is not kept waiting."""
LOST_SECONDS: Final = 3
"""After the database was lost in the middle of a run."""
STOP_SHARE: Final = 0.7
"""Of the time a worker has to stop, what jobs may use."""


class Syncer(Worker):
    """Speaks to upstreams for all companies, some runs and some changesets at a time."""

    kind: ClassVar[str] = "syncer"

    def __init__(
        self, database: Database, broker: Broker, store: StoreSettings, settings: WorkerSettings, vault: Vault
    ) -> None:
        super().__init__(database, settings)
        self.broker = broker
        self.hints = Hints(broker)
        self._vault = vault
        self._store_settings = store
        self._egress = egress_of(settings)
        self._folders = folders_of(settings)
        self._companies = companies_of(settings)
        self._followings: list[Following] = []
        self._store: Store | None = None
        self._reader: Database | None = None
        self._jobs: Jobs | None = None
        self._working: list[asyncio.Task[None]] = []
        self._wake = asyncio.Event()
        self._logs: dict[UUID, int] = {}
        self._log_moved = asyncio.Event()
        self._due: set[UUID] = set()
        self._looked: dict[tuple[str, UUID], int] = {}
        self._under_way: set[SyncRun | Push] = set()

    def waiting(self) -> bool:
        """Whether it has something to do that does not wait for an upstream."""
        return any(not work.waits_for_upstream for work in self._under_way)

    def detail(self) -> str:
        """What it does."""
        return "; ".join(work.detail() for work in self._under_way) or "idle"

    async def live(self) -> None:
        """Does what waits until it shall stop."""
        await self.broker.open()
        url = self._url("cairn_reader")
        reader = self._reader = Database(url, name="syncer reader", connections_max=6, read_only=True)
        store = self._store = self._new_store()
        await reader.open()
        await store.open()
        means = Means(
            store,
            reader,
            self.settings,
            egress=self._egress,
            folders=self._folders,
            stopping=self.stopping,
            progressed=self.progressed,
        )
        jobs = self._jobs = self._new_jobs(means)
        await jobs.open()
        self._followings.append(await self.hints.follow_views(lambda *moved: self._moved(means, *moved)))
        self._followings.append(await self.hints.follow_log(self._heard))
        self._looked.clear()
        stop_seconds = self.settings.worker_stop_seconds_max * STOP_SHARE
        self._working = [
            asyncio.create_task(each)
            for each in (
                jobs.work([SYNC], at_once=self.settings.sync_runs_max, stop_seconds_max=stop_seconds),
                jobs.work([PUSH, CLOCK], at_once=self.settings.push_batches_max, stop_seconds_max=stop_seconds),
                self._rescue(jobs),
                self._watch(jobs, reader),
                self._take_up(jobs, reader),
            )
        ]
        self.be_ready()
        stopped = asyncio.create_task(self.stopping.wait())
        done, _ = await asyncio.wait([stopped, *self._working], return_when=asyncio.FIRST_COMPLETED)
        if stopped not in done:
            stopped.cancel()
            for task in done:
                task.result()
            raise ConnectionError("the queue of jobs was lost")

    async def leave(self) -> None:
        """Ends its life: lets jobs come to a point where another can go on, and gives everything back."""
        followings, self._followings = self._followings, []
        for following in followings:
            await following.stop()
        working, self._working = self._working, []
        for task in working:
            task.cancel()
        await asyncio.gather(*working, return_exceptions=True)
        jobs, self._jobs = self._jobs, None
        if jobs is not None:
            await jobs.close()
        store, self._store = self._store, None
        if store is not None:
            await store.close()
        reader, self._reader = self._reader, None
        if reader is not None:
            await reader.close()
        if self.stopping.is_set():
            await self.hints.sent()
            await self.broker.close()

    def _url(self, role: str) -> str:
        settings = self._store_settings
        return role_url(settings.database_url or "", role, settings.database_role_password)

    def _new_store(self) -> Store:
        writer = Database(self._url("cairn_writer"), name="syncer writer", connections_max=4)
        inline = InlineModels(INLINE)
        return Store(writer, self._store_settings, vault=self._vault, inline=inline, committed=self.hints.log_moved)

    def _new_jobs(self, means: Means) -> Jobs:
        jobs = Jobs(
            self._url("cairn_jobs"),
            stalled_seconds=self.settings.sync_stalled_seconds,
            poll_seconds=self.settings.sync_poll_seconds,
        )

        async def sync(_: int, tenant: str, connection: str, run: str, mode: Mode, trigger: Trigger) -> None:
            asked = Work(
                tenant=UUID(tenant), connection_id=UUID(connection), run_id=UUID(run), mode=mode, trigger=trigger
            )
            try:
                await self._sync(means, asked)
            except Left:
                raise Again from None

        async def push(tries: int, tenant: str, changeset: str, connection: str) -> None:
            work = Pushing(UUID(tenant), UUID(changeset), UUID(connection))
            await self._bring_on(Push(work, means), tries)

        async def tick(_: int) -> None:
            await self._tick(jobs, means.reader)

        jobs.does(SYNC, sync)
        jobs.does(PUSH, push)
        jobs.every_minute(tick)
        return jobs

    def _moved(self, means: Means, tenant: UUID, model: str, position: int) -> None:
        means.positions.heard(tenant, model, position)
        if model in MODELS and self._serves(tenant):
            self._due.add(tenant)
            self._wake.set()

    def _heard(self, tenant: UUID, position: int) -> None:
        if self._serves(tenant):
            self._logs[tenant] = position
            self._log_moved.set()

    def _serves(self, tenant: UUID) -> bool:
        return not self._companies or tenant in self._companies

    async def _rescue(self, jobs: Jobs) -> None:
        while True:
            if rescued := await jobs.rescue():
                telemetry.log().warning("jobs_rescued", jobs=rescued)
            await asyncio.sleep(self.settings.sync_stalled_seconds / 4)

    async def _watch(self, jobs: Jobs, reader: Database) -> None:
        """Queues what read models say waits."""
        polled_at = 0.0
        while True:
            self._wake.clear()
            if time.monotonic() - polled_at >= self.settings.sync_poll_seconds:
                await self._poll()
                polled_at = time.monotonic()
            due, self._due = self._due, set()
            for tenant in due:
                await self._queue(jobs, reader, tenant)
            await asyncio.sleep(BETWEEN_LOOKS_SECONDS)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), self.settings.sync_poll_seconds)

    async def _take_up(self, jobs: Jobs, reader: Database) -> None:
        """Queues changesets as soon as the log has them. What it misses, read models say somewhat later."""
        looked: dict[UUID, int] = {}
        while True:
            await self._log_moved.wait()
            self._log_moved.clear()
            logs, self._logs = self._logs, {}
            for tenant, position in logs.items():
                after = max(looked.get(tenant, 0), position - LOOKED_BACK)
                looked[tenant] = max(position, after)
                async with reader.bound(tenant) as bound:
                    opened = await upstream_work.opened_changesets(bound, after=after, to=position)
                for each in opened:
                    await self._queue_changeset(jobs, tenant, each)
            await asyncio.sleep(0.01)  # however many hints come

    async def _poll(self) -> None:
        for model in MODELS:
            for tenant, position in await self._reached(model):
                if position > self._looked.get((model, tenant), 0):
                    self._due.add(tenant)
                self._looked[model, tenant] = position

    async def _reached(self, model: str) -> list[tuple[UUID, int]]:
        async with self.database.connection() as connection:
            cursor = await connection.execute(SQL["companies"], {"model": model})
            return [(row[0], row[1]) for row in await cursor.fetchall() if self._serves(row[0])]

    async def _queue(self, jobs: Jobs, reader: Database, tenant: UUID) -> None:
        async with reader.bound(tenant) as bound:
            runs = await upstream_work.waiting_runs(bound)
            changesets = await upstream_work.open_changesets(bound)
        for run in runs:
            await self._queue_run(jobs, tenant, run)
        for each in changesets:
            await self._queue_changeset(jobs, tenant, each)

    async def _queue_changeset(self, jobs: Jobs, tenant: UUID, of: OpenChangeset) -> None:
        arguments = {"tenant": tenant, "changeset": of.changeset_id, "connection": of.connection_id}
        await jobs.put(PUSH, of.changeset_id, _written(arguments), lock=of.connection_id)

    async def _queue_run(self, jobs: Jobs, tenant: UUID, run: WaitingRun) -> None:
        asked = run.status == "requested"
        if not asked and await jobs.waits(SYNC, run.connection_id):
            return
        await jobs.put(
            SYNC,
            run.connection_id,
            _arguments(tenant, run.connection_id, run.run_id, run.mode, run.trigger),
            lock=run.connection_id,
            at=run.retry_at,
            urgent=asked,
        )

    async def _tick(self, jobs: Jobs, reader: Database) -> None:
        """What schedules ask for, and what was queued once and is not any more."""
        for tenant, _ in await self._reached(MODELS[0]):
            async with reader.bound(tenant) as bound:
                scheduled = await upstream_work.scheduled(bound)
            for each in scheduled:
                await self._queue_scheduled(jobs, tenant, each)
            await self._queue(jobs, reader, tenant)

    async def _queue_scheduled(self, jobs: Jobs, tenant: UUID, of: Scheduled) -> None:
        run = due(
            of,
            datetime.now(UTC),
            late_seconds_max=self.settings.sync_late_seconds_max,
            interval_seconds_min=self.settings.sync_interval_seconds_min,
        )
        if run is not None:
            arguments = _arguments(tenant, of.connection_id, run.run_id, run.mode, "schedule")
            await jobs.put(SYNC, of.connection_id, arguments, lock=of.connection_id, at=run.at)

    async def _sync(self, means: Means, asked: Work) -> None:
        """One try: at the run that was asked for, or at the retry that is due. Raises Again, Left."""
        await means.caught_up(asked.tenant, MODELS[0])
        mirror = await means.state(asked.tenant, asked.mirror, Mirror)
        async with means.reader.bound(asked.tenant) as reader:
            before = mirror.ended and await upstream_work.known_run(reader, asked.connection_id, mirror.ended.run_id)
            begun = mirror.run and await upstream_work.known_run(reader, asked.connection_id, mirror.run.run_id)
        before = before or KnownRun()
        tries = _next_try(asked, mirror, before)
        if tries is None:
            return
        work = replace(
            asked,
            run_id=_chain(asked.run_id)[tries],
            mode="full" if before.code in STALE else asked.mode,
            trigger="retry" if tries else asked.trigger,
            confirmed=_confirmed(before) if asked.trigger == "manual" and not tries else 0,
            first_position=begun and begun.first_position,
        )
        await self._bring_on(SyncRun(work, means), tries)

    async def _bring_on(self, work: SyncRun | Push, tries: int) -> None:
        """One try. Raises Again."""
        self._under_way.add(work)
        try:
            retry_at = await work.run(tries)
        except Left:
            telemetry.log().info("work_left", of=work.detail())
            raise Again from None
        except (DriverError, Unavailable) as error:
            telemetry.log().warning("work_failed", of=work.detail(), error=repr(error))
            raise Again(datetime.now(UTC) + timedelta(seconds=LOST_SECONDS)) from None
        except Exception as error:  # what cannot be brought to an end must not be tried for ever
            telemetry.log().error("work_failed", of=work.detail(), error=repr(error), exc_info=True)
            await work.give_up(type(error).__name__)
            return
        finally:
            self._under_way.discard(work)
            self.progressed()
        if retry_at is not None:
            raise Again(retry_at)


def _written(arguments: Mapping[str, UUID]) -> dict[str, str]:
    return {name: str(value) for name, value in arguments.items()}


def _arguments(tenant: UUID, connection: UUID, run: UUID, mode: Mode, trigger: Trigger) -> dict[str, str]:
    return {"tenant": str(tenant), "connection": str(connection), "run": str(run), "mode": mode, "trigger": trigger}


def _chain(first: UUID) -> list[UUID]:
    """The ids of a run and of its retries: each follows from the one before."""
    found = [first]
    while len(found) < RETRIES_KNOWN:
        found.append(uuid5(found[-1], "retry"))
    return found


def _next_try(asked: Work, mirror: Mirror, before: KnownRun) -> int | None:
    """Which try at a run is to be made, from 0. None: there is nothing to do, or another run came in between.

    Raises Again, when it is too early for it.
    """
    chain = _chain(asked.run_id)
    if mirror.run is not None:
        return chain.index(mirror.run.run_id) if mirror.run.run_id in chain else None
    if mirror.ended is None or mirror.ended.run_id not in chain:
        return 0 if asked.trigger == "schedule" else None
    if before.retry_at is None:
        return None
    if before.retry_at > datetime.now(UTC) + timedelta(seconds=1):
        raise Again(before.retry_at)
    return chain.index(mirror.ended.run_id) + 1


def _confirmed(before: KnownRun) -> int:
    """How many removals whoever asks again after a run that was held has seen, and so wants."""
    return int((before.facts or {}).get("removed", 0)) if before.failure == "held" else 0


def egress_of(settings: WorkerSettings) -> Egress:
    """Where connections may go. Raises SettingsError."""
    try:
        networks: list[Network] = [ip_network(each) for each in _listed(settings.upstream_networks)]
    except ValueError as error:
        raise SettingsError(f"CAIRN_UPSTREAM_NETWORKS: {error}") from None
    return Egress(networks, settings.upstream_authorities_file)


def folders_of(settings: WorkerSettings) -> tuple[Path, ...]:
    """Those below which exports may be read. Raises SettingsError."""
    folders = tuple(map(Path, _listed(settings.upstream_folders)))
    if relative := [str(each) for each in folders if not each.is_absolute()]:
        raise SettingsError(f"CAIRN_UPSTREAM_FOLDERS: a folder is named from the root, not {', '.join(relative)}")
    return folders


def companies_of(settings: WorkerSettings) -> frozenset[UUID]:
    """Those that are served; none: all. Raises SettingsError."""
    try:
        return frozenset(map(UUID, _listed(settings.sync_companies)))
    except ValueError as error:
        raise SettingsError(f"CAIRN_SYNC_COMPANIES: {error}") from None


def _listed(text: str) -> list[str]:
    return [each.strip() for each in text.split(",") if each.strip()]
