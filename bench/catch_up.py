"""Reading a company's whole log, decoded into event structs."""

import random
import time
from functools import partial
from uuid import UUID

import psycopg
import uvloop
from uuid_utils.compat import uuid7

from bench import appends, traffic
from bench.ground import Ground
from bench.measure import Line, Options, Report, Sample, interleaved, rates, ratios
from bench.progress import counting
from eventstore import log, sql
from eventstore.db import Database, role_url

SQL = sql.beside(__file__)
TITLE = "catch-up read of 500,000 events, decoded"
STREAMS = 500
EVENTS = STREAMS * 1_000


def measure(ground: Ground, options: Options) -> Report:
    """Against a plain binary server-cursor SELECT of the same rows, in turns."""
    tenant = uuid7()
    with ground.database() as url:
        source = random.Random(3)
        with counting("appending", EVENTS) as say:
            streams = (traffic.estimate_events(700, 299, source) for _ in range(STREAMS))
            uvloop.run(appends.seed(url, tenant, streams, say))
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(b"vacuum analyze cairn.events")
        arms = {"select": partial(_select, url, tenant), "log": partial(_log, url, tenant)}
        found = interleaved(options.rounds, arms)
    lines = [Line(label=name, unit="events/s", values=rates(samples)) for name, samples in found.items()]
    lines.append(
        Line(label="log / select", unit="×", values=ratios(rates(found["log"]), rates(found["select"])), goal=0.9)
    )
    return Report(name="catch_up", title=TITLE, lines=lines)


def _log(url: str, tenant: UUID) -> Sample:
    return uvloop.run(_read_log(url, tenant))


async def _read_log(url: str, tenant: UUID) -> Sample:
    """From the first event to the last, each decoded."""
    database = Database(role_url(url, "cairn_reader", None), name="bench", read_only=True)
    await database.open()
    began, count = time.perf_counter(), 0
    try:
        async with database.bound(tenant) as reader:
            async for page in log.read_all(reader):
                assert page[0].position == count + 1
                count += len(page)
        return Sample(count=count, seconds=time.perf_counter() - began)
    finally:
        await database.close()


def _select(url: str, tenant: UUID) -> Sample:
    return uvloop.run(_read_rows(url, tenant))


async def _read_rows(url: str, tenant: UUID) -> Sample:
    async with await psycopg.AsyncConnection.connect(url) as connection:
        began, count = time.perf_counter(), 0
        async with connection.cursor("catch_up", binary=True) as cursor:
            await cursor.execute(SQL["select"], {"tenant": tenant})
            while rows := await cursor.fetchmany(log.PAGE_EVENTS):
                count += len(rows)
        return Sample(count=count, seconds=time.perf_counter() - began)
