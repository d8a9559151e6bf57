"""The queue of jobs: one at a time of a kind, tried again when it says so, and found again when its process is gone."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from eventstore.db import role_url
from tests.workers.outside import until
from workers.jobs import SYNC, Again, Jobs

THING = UUID(int=7)


class Done:
    """What jobs were called with, in order."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, dict[str, Any]]] = []
        self.going_on = asyncio.Event()
        self.raising: list[BaseException] = []

    async def __call__(self, tries: int, **arguments: Any) -> None:
        self.calls.append((tries, arguments))
        if arguments.get("waits"):
            await self.going_on.wait()
        if self.raising:
            raise self.raising.pop(0)


@asynccontextmanager
async def working(database_url: str, done: Done) -> AsyncIterator[Jobs]:
    """A process's part of the queue, at work."""
    jobs = Jobs(role_url(database_url, "cairn_jobs", None), stalled_seconds=0.5, poll_seconds=0.05)
    jobs.does(SYNC, done)
    await jobs.open()
    work = asyncio.create_task(jobs.work([SYNC], at_once=4, stop_seconds_max=1))
    try:
        yield jobs
    finally:
        work.cancel()
        await asyncio.wait([work])
        await jobs.close()


async def called(done: Done, times: int) -> None:
    """Until jobs were called so often."""

    async def often() -> bool:
        return len(done.calls) >= times

    await until(often)


def rows(database_url: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(database_url) as owner:
        return owner.execute("select status::text, queueing_lock from jobs.procrastinate_jobs order by id").fetchall()


async def test_one_of_a_thing_waits_at_a_time(database_url: str) -> None:
    done, late = Done(), datetime.now(UTC) + timedelta(hours=1)
    async with working(database_url, done) as jobs:
        assert await jobs.put(SYNC, THING, {"number": 1}, lock=THING, at=late)
        assert not await jobs.put(SYNC, THING, {"number": 2}, lock=THING)
        assert await jobs.waits(SYNC, THING)
        assert not await jobs.waits(SYNC, uuid4())
        assert await jobs.put(SYNC, THING, {"number": 3}, lock=THING, urgent=True)  # in the place of the first
        await called(done, 1)
    assert done.calls == [(0, {"number": 3})]


async def test_jobs_of_one_lock_follow_each_other(database_url: str) -> None:
    done = Done()
    async with working(database_url, done) as jobs, working(database_url, done):
        await jobs.put(SYNC, uuid4(), {"waits": True}, lock=THING)
        await called(done, 1)
        await jobs.put(SYNC, uuid4(), {"number": 2}, lock=THING)
        await jobs.put(SYNC, uuid4(), {"number": 3}, lock=uuid4())
        await called(done, 2)
        assert done.calls[1] == (0, {"number": 3})
        done.going_on.set()
        await called(done, 3)
    assert rows(database_url) == []


async def test_a_job_is_tried_again_when_it_says_so(database_url: str) -> None:
    done = Done()
    done.raising = [Again(datetime.now(UTC)), Again(datetime.now(UTC)), RuntimeError("a defect")]
    async with working(database_url, done) as jobs:
        await jobs.put(SYNC, THING, {"number": 1}, lock=THING)
        await called(done, 3)
    assert done.calls == [(0, {"number": 1}), (1, {"number": 1}), (2, {"number": 1})]
    assert rows(database_url) == []  # an error of ours is logged by whoever made it, and not tried for ever


@pytest.mark.parametrize("another", [False, True])
async def test_what_a_process_left_is_done_by_another(database_url: str, another: bool) -> None:
    done = Done()
    gone = Jobs(role_url(database_url, "cairn_jobs", None), stalled_seconds=0.5, poll_seconds=0.05)
    gone.does(SYNC, done)
    await gone.open()
    await gone.put(SYNC, THING, {"number": 1}, lock=THING)
    with psycopg.connect(database_url) as owner:  # as if its process had taken it, and was killed
        owner.execute("set search_path = jobs")
        owner.execute("insert into procrastinate_workers (last_heartbeat) values (now() - interval '1 hour')")
        owner.execute(
            "update procrastinate_jobs set status = 'doing', worker_id = (select max(id) from procrastinate_workers)"
        )
    if another:  # the same waits already, so that both may not wait
        await gone.put(SYNC, THING, {"number": 1}, lock=THING)
    await gone.close()
    async with working(database_url, done) as jobs:

        async def through() -> bool:
            await jobs.rescue()
            return rows(database_url) == []

        await until(through)
    assert done.calls == [(0, {"number": 1})]
