"""The arms of the append figures: the store, its appender alone, and the limit. Each opens its own connections."""

import asyncio
import itertools
import os
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import cache
from typing import Any
from uuid import UUID

import psycopg
import uvloop
from uuid_utils.compat import uuid7

from bench import traffic
from bench.measure import Sample
from bench.meter import METER
from domain.decider import Event
from domain.estimate_commands import AddLine
from domain.registry import BY_CATEGORY
from eventstore import codec, log, sql
from eventstore.appender import Appender
from eventstore.db import role_url
from eventstore.log import Appended, Check, NewEvent, Unit
from eventstore.settings import StoreSettings
from eventstore.transact import transact

SQL = sql.beside(__file__)
POOL = 4_000
"""Distinct lines; used again where that changes nothing (another stream, another run)."""
ESTIMATE = BY_CATEGORY["estimate"]

One = Callable[[], Awaitable[None]]


async def until(seconds: float, writers: Sequence[One]) -> Sample:
    """Each writer does one piece after the other until time is up; pieces under way are finished and counted."""
    latencies: list[float] = []
    began = time.perf_counter()
    end = began + seconds

    async def write(one: One) -> None:
        before = time.perf_counter()
        while before < end:
            await one()
            after = time.perf_counter()
            latencies.append(after - before)
            before = after

    before = METER.read()
    await asyncio.gather(*(write(one) for one in writers))
    seconds = time.perf_counter() - began
    return Sample(count=len(latencies), seconds=seconds, latencies=latencies, cost=METER.since(before))


@cache
def commands() -> list[AddLine]:
    """Built beforehand: reading the request is the API's part."""
    source = random.Random(11)
    return [traffic.command(number, source) for number in range(POOL * 8)]


@cache
def bodies() -> list[bytes]:
    """Bodies of the same events, encoded beforehand."""
    return traffic.payloads(POOL)


def through_store(url: str, *, writers: int, seconds: float, hot: bool = False) -> Sample:
    """`transact` of AddLine: load, decide, evolve, encode, append. All writers on one stream if `hot`."""
    return uvloop.run(_through_store(url, writers, seconds, hot))


async def _through_store(url: str, writers: int, seconds: float, hot: bool) -> Sample:
    store, tenant = traffic.store_of(url), uuid7()
    await store.open()
    try:
        estimates = await traffic.started_estimates(store, tenant, 1 if hot else writers)
        lines = iter(_hot_commands()) if hot else None

        def adding(number: int) -> One:
            mine = lines or iter(commands())
            estimate_id = estimates[0 if hot else number]

            async def add() -> None:
                await transact(store, ESTIMATE, estimate_id, next(mine), traffic.context(tenant))

            return add

        return await until(seconds, [adding(number) for number in range(writers)])
    finally:
        await store.close()


def _hot_commands() -> Sequence[AddLine]:
    """Distinct lines enough for one stream that all write to."""
    source = random.Random(13)
    return [traffic.command(number, source) for number in range(POOL * 25)]


def through_appender(url: str, *, writers: int, seconds: float) -> Sample:
    """The appender alone, given units ready to append: what batching, checking and storing cost without the domain."""
    return uvloop.run(_through_appender(url, writers, seconds))


async def _through_appender(url: str, writers: int, seconds: float) -> Sample:
    store, tenant = traffic.store_of(url), uuid7()
    await store.open()
    appender = Appender(store.writer, StoreSettings(), None, None)
    nothing: Sequence[Event] = ()
    payloads = itertools.cycle(bodies())

    def appending() -> One:
        stream, versions = uuid7(), itertools.count()

        async def append() -> None:
            outcome = await appender.enqueue(tenant, unit(stream, next(versions), next(payloads)), nothing)
            assert isinstance(outcome, Appended), outcome

        return append

    try:
        return await until(seconds, [appending() for _ in range(writers)])
    finally:
        await appender.close()
        await store.close()


def unit(stream: UUID, version: int, payload: bytes, kind: str = "estimate.line-added") -> Unit:
    """One event as the next of its stream."""
    return Unit(
        command_id=uuid7(),
        request_hash=os.urandom(8),
        actor=traffic.ACTOR,
        metadata=traffic.METADATA_BYTES,
        checks=[Check(stream, version, 1)],
        events=[NewEvent(stream, version + 1, kind, 1, uuid7(), payload)],
        salts=[os.urandom(16)],
    )


def make_limit(url: str) -> None:
    """A table just like the log's, without its rules."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(SQL["make_limit"])
        connection.execute(SQL["shape_limit"])


def limit(url: str, *, writers: int, seconds: float, hot: bool = False) -> Sample:
    """The same rows through the same driver: one INSERT per commit, a connection per writer, nothing decided."""
    return uvloop.run(_limit(url, writers, seconds, hot))


async def _limit(url: str, writers: int, seconds: float, hot: bool) -> Sample:
    connections = [
        await psycopg.AsyncConnection.connect(url, autocommit=True, prepare_threshold=1) for _ in range(writers)
    ]
    tenant, stream = uuid7(), uuid7()
    positions, payloads = itertools.count(1), itertools.cycle(bodies())

    def inserting(connection: psycopg.AsyncConnection[Any]) -> One:
        row, versions = {"tenant": tenant, "stream_id": stream if hot else uuid7()}, itertools.count(1)

        async def insert() -> None:
            await connection.execute(
                SQL["insert"], row | _row(next(positions), next(payloads)) | {"version": next(versions)}, binary=True
            )

        async def insert_hot() -> None:
            values = row | _row(next(positions), next(payloads))
            while True:
                try:
                    await connection.execute(SQL["insert_hot"], values, binary=True)
                except psycopg.errors.UniqueViolation:
                    continue
                return

        return insert_hot if hot else insert

    try:
        return await until(seconds, [inserting(connection) for connection in connections])
    finally:
        for connection in connections:
            await connection.close()


def _row(position: int, payload: bytes) -> dict[str, Any]:
    return {
        "position": position,
        "event_id": uuid7(),
        "actor": traffic.ACTOR,
        "command_id": uuid7(),
        "type": "estimate.line-added",
        "request_hash": os.urandom(8),
        "salt": os.urandom(16),
        "leaf": os.urandom(32),
        "metadata": traffic.METADATA_BYTES,
        "payload": payload,
    }


async def seed(url: str, tenant: UUID, streams: Iterable[Sequence[Event]], say: Callable[[int], None]) -> int:
    """Appends whole streams through the log's own function, a unit an event, large batches. Answers how many events."""
    total = 0
    async with await psycopg.AsyncConnection.connect(
        role_url(url, "cairn_writer", None), autocommit=True, prepare_threshold=1
    ) as connection:
        log.register(connection)
        for events in streams:
            stream = uuid7()
            units = [
                unit(stream, version, codec.encode(event), codec.tag(event)) for version, event in enumerate(events)
            ]
            for start in range(0, len(units), 1_000):
                for outcome in await log.append(connection, tenant, units[start : start + 1_000]):
                    assert isinstance(outcome, Appended), outcome
            total += len(events)
            say(total)
    return total
