"""How long a decision takes on a stream of 100,000 events: from memory, and from a stored snapshot in a new process."""

import random
import time
from uuid import UUID

import uvloop
from uuid_utils.compat import uuid7

from bench import appends, traffic
from bench.ground import Ground
from bench.measure import Line, Options, Report, percentile
from domain.registry import BY_CATEGORY
from eventstore import log
from eventstore.db import Database, role_url
from eventstore.transact import transact

TITLE = "one command on a stream of 100,000 events"
EVENTS = 100_000
LINES = 1_000
ESTIMATE = BY_CATEGORY["estimate"]


def measure(ground: Ground, options: Options) -> Report:
    """Milliseconds until the command is durable."""
    with ground.database() as url:
        tenant = uuid7()
        stream = uvloop.run(_seed(url, tenant))
        uvloop.run(_decide(url, tenant, stream, 1))  # folds the stream once, and leaves its snapshot
        cold = [uvloop.run(_decide(url, tenant, stream, 1))[0] for _ in range(options.rounds)]
        warm = [percentile(uvloop.run(_decide(url, tenant, stream, 200))[1:], 0.5) for _ in range(options.rounds)]
    lines = [
        Line(label="from memory, p50", unit="ms", values=warm, goal=50, at_most=True),
        Line(label="from a snapshot, first command", unit="ms", values=cold, goal=50, at_most=True),
    ]
    return Report(name="long_stream", title=TITLE, lines=lines)


async def _seed(url: str, tenant: UUID) -> UUID:
    """An estimate of 1,000 lines, revised until its stream has 100,000 events."""
    events = traffic.estimate_events(LINES, EVENTS - LINES - 1, random.Random(17))
    await appends.seed(url, tenant, [events], lambda _: None)
    database = Database(role_url(url, "cairn_reader", None), name="reader", read_only=True)
    await database.open()
    async with database.bound(tenant) as reader:
        first = (await log.read_log(reader, limit=1))[0].decoded()
    await database.close()
    return first.stream_id


async def _decide(url: str, tenant: UUID, stream: UUID, times: int) -> list[float]:
    """Adds lines one after the other in a new process's store; answers how long each took, in milliseconds."""
    store, source = traffic.store_of(url), random.Random()
    await store.open()
    try:
        took = []
        for number in range(times):
            command = traffic.command(number, source)
            began = time.perf_counter()
            await transact(store, ESTIMATE, stream, command, traffic.context(tenant))
            took.append((time.perf_counter() - began) * 1000)
        return took
    finally:
        await store.close()
