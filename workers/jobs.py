"""The queue of background jobs: what runs by the clock, is tried again later, or was left behind by a killed process.

Kept by procrastinate in a schema of its own. A job names a thing to be looked after and no more: what is to be done is
in the log, so a job may run twice, or late, or be lost and queued again.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import procrastinate
from procrastinate import exceptions
from procrastinate.jobs import Job, Status
from procrastinate.retry import BaseRetryStrategy, RetryDecision

logging.getLogger("procrastinate").setLevel(logging.CRITICAL)  # what matters is logged here, in our shape

SEARCH_PATH: Final = "-c search_path=jobs -c statement_timeout=30s -c idle_in_transaction_session_timeout=5s"
CONNECTIONS: Final = 4
SYNC, PUSH, CLOCK = "sync", "push", "clock"
URGENT: Final = 10
"""A job that a person waits for does not wait for one of the same thing that is to be tried again later."""

Failed = (exceptions.ConnectorException,)
"""The queue could not be reached."""


class Again(Exception):
    """A job is to run again, at the given moment; at once without one, for a process that stops."""

    def __init__(self, at: datetime | None = None) -> None:
        super().__init__("now" if at is None else at.isoformat())
        self.at = at


class _CutOff(BaseRetryStrategy):
    """Runs a job again that the end of its process has cut off. All others say themselves when they run again."""

    def get_retry_decision(self, *, exception: BaseException, job: Job) -> RetryDecision | None:  # noqa: ARG002  # as the library has it
        return RetryDecision() if isinstance(exception, Again | asyncio.CancelledError) else None


Task = Callable[..., Awaitable[None]]
"""Called with the number of earlier tries and the job's arguments."""


class Jobs:
    """One process's part of the queue, for one life of a worker."""

    def __init__(self, conninfo: str, *, stalled_seconds: float, poll_seconds: float) -> None:
        """`stalled_seconds`: a process silent for so long is gone, and what it did is begun anew elsewhere."""
        self._stalled_seconds = stalled_seconds
        self._poll_seconds = poll_seconds
        self._running: set[int | None] = set()
        self._workers: set[int | None] = set()
        self._forgotten: set[int | None] = set()
        self._app = procrastinate.App(
            connector=procrastinate.PsycopgConnector(
                conninfo=conninfo,
                min_size=1,
                max_size=CONNECTIONS,
                name="jobs",
                kwargs={"options": SEARCH_PATH, "application_name": "cairn jobs"},
            )
        )

    def does(self, name: str, task: Task) -> None:
        """Says what jobs of a queue do. Before `open`."""

        async def run(context: procrastinate.JobContext, /, tries: int = 0, **arguments: Any) -> None:
            job = context.job
            self._running.add(job.id)
            self._workers.add(job.worker_id)
            try:
                await task(tries, **arguments)
            except Again as again:
                if again.at is None:
                    raise
                later = job.evolve(id=None, task_kwargs=arguments | {"tries": tries + 1}, scheduled_at=again.at)
                await self._defer(later.evolve(priority=0))
            finally:
                self._running.discard(job.id)

        self._app.task(name=name, queue=name, pass_context=True, retry=_CutOff())(run)

    def every_minute(self, task: Callable[[int], Awaitable[None]]) -> None:
        """Says what is done once a minute, by one of all processes; told the minute in seconds since 1970."""

        async def tick(timestamp: int) -> None:
            await task(timestamp)

        named = self._app.task(name=CLOCK, queue=CLOCK, queueing_lock=CLOCK, lock=CLOCK)(tick)
        self._app.periodic(cron="* * * * *")(named)

    async def open(self) -> None:
        """Connects. Raises what `Failed` names."""
        await self._app.open_async()

    async def close(self) -> None:
        """Disconnects. Harmless twice."""
        with contextlib.suppress(*Failed):
            await self._app.close_async()

    async def put(
        self,
        name: str,
        thing: UUID,
        arguments: dict[str, Any],
        *,
        lock: UUID,
        at: datetime | None = None,
        urgent: bool = False,
    ) -> bool:
        """Queues a job about a thing, unless one is waiting. Jobs of one `lock` run one after the other, anywhere.

        An urgent one takes the place of one that waits for its moment.
        """
        if urgent:
            await self._drop_waiting(f"{name} {thing}")
        return await self._defer(
            Job(
                queue=name,
                task_name=name,
                lock=f"{name} {lock}",
                queueing_lock=f"{name} {thing}",
                task_kwargs=arguments,
                scheduled_at=at,
                priority=URGENT if urgent else 0,
            )
        )

    async def _defer(self, job: Job) -> bool:
        try:
            await self._app.job_manager.defer_job_async(job)
        except exceptions.AlreadyEnqueued:
            return False
        return True

    async def _drop_waiting(self, queueing_lock: str) -> None:
        for job in await self._app.job_manager.list_jobs_async(queueing_lock=queueing_lock, status="todo"):
            if job.priority < URGENT and job.id is not None:
                await self._app.job_manager.cancel_job_by_id_async(job.id, delete_job=True)

    async def waits(self, name: str, thing: UUID) -> bool:
        """Whether a job about the thing is queued or running."""
        found = await self._app.job_manager.list_jobs_async(queueing_lock=f"{name} {thing}")
        return any(job.status in {"todo", "doing"} for job in found)

    async def work(self, queues: Sequence[str], *, at_once: int, stop_seconds_max: float) -> None:
        """Does jobs until it is cancelled: then finishes, or leaves, what it does. Raises when it can't go on."""
        await self._app.run_worker_async(
            queues=queues,
            concurrency=at_once,
            fetch_job_polling_interval=self._poll_seconds,
            shutdown_graceful_timeout=stop_seconds_max,
            delete_jobs="always",
            install_signal_handlers=False,
            update_heartbeat_interval=self._stalled_seconds / 4,
            stalled_worker_timeout=self._stalled_seconds,
        )

    async def rescue(self) -> int:
        """Queues again what processes left behind that are gone, or what this one could not bring to an end because the
        database was away. Answers how many jobs.
        """
        manager = self._app.job_manager
        doing = [job for job in await manager.list_jobs_async(status="doing") if job.worker_id in self._workers]
        forgotten = {job.id: job for job in doing if job.id not in self._running}
        left = [job for id_, job in forgotten.items() if id_ in self._forgotten]  # its end may just be on its way
        self._forgotten = set(forgotten)
        stalled = await manager.get_stalled_jobs(seconds_since_heartbeat=self._stalled_seconds)
        return sum([await self._released(job) for job in (*stalled, *left)])

    async def _released(self, job: Job) -> bool:
        manager = self._app.job_manager
        try:
            await manager.retry_job(job)
        except exceptions.UniqueViolation:  # another one waits, to do the same
            with contextlib.suppress(*Failed):
                await manager.finish_job(job, Status.FAILED, delete_job=True)
        except exceptions.ConnectorException:  # another process was faster
            return False
        return True
