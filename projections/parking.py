"""Keys whose events wait because a fold failed: listed, replayed through today's code, or skipped with a reason."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
import psycopg

from eventstore import log
from eventstore.db import Reader
from eventstore.sql import beside
from projections.delivery import Deliveries, deliver
from projections.engine import Engine, Target
from projections.folding import Batch, Read, read_one
from projections.tables import Unwritable, write

SQL = beside(__file__)
REPLAY_EVENTS_MAX = 500
"""Parked events of a key that are replayed in one transaction."""


class ParkedKey(msgspec.Struct, frozen=True):
    """A key of a model whose events wait: how many, the first of them, why it failed and since when it waits."""

    model: str
    key: str
    events: int
    first_position: int
    type: str
    error: str
    since: datetime


class Skipped(msgspec.Struct, frozen=True):
    """An event that somebody chose to leave out of a model, and why."""

    model: str
    key: str
    position: int
    type: str
    error: str
    skipped_at: datetime
    skipped_by: UUID
    reason: str


class Replayed(msgspec.Struct, frozen=True):
    """What a replay did: events handled, and events that wait still because one of them failed again."""

    handled: int
    waiting: int
    error: str | None


class NotParked(Exception):
    """Nothing waits under this key."""


async def waiting(reader: Reader, model: str | None = None) -> list[ParkedKey]:
    """The bound company's keys that wait, of one model or all."""
    return await reader.rows(SQL["waiting"], {"model": model}, ParkedKey)


async def skipped(reader: Reader, model: str | None = None) -> list[Skipped]:
    """The bound company's events that were skipped, of one model or all."""
    return await reader.rows(SQL["skipped"], {"model": model}, Skipped)


async def replay(engine: Engine, tenant: UUID, model: str, key: str) -> Replayed:
    """Runs what waits for a key through today's code, at its original positions, so that as-of answers become right.

    Stops at the first event that fails again. Raises NotParked.
    """
    total = Replayed(0, 0, None)
    for target in _targets(engine, model):
        total = _sum(total, await _replay_all(engine, target, tenant, key))
    if not total.handled and not total.waiting:
        raise NotParked(f"nothing of {model} waits under {key}")
    return total


async def skip(engine: Engine, tenant: UUID, model: str, key: str, reason: str, actor: UUID) -> Replayed:
    """Leaves out the event that failed, recording who and why, then replays what waited behind it. Raises NotParked."""
    found = False
    total = Replayed(0, 0, None)
    for target in _targets(engine, model):
        if await _skip_first(engine, target, tenant, key, reason, actor):
            found = True
            total = _sum(total, await _replay_all(engine, target, tenant, key))
    if not found:
        raise NotParked(f"nothing of {model} waits under {key}")
    return total


def _sum(one: Replayed, other: Replayed) -> Replayed:
    return Replayed(one.handled + other.handled, one.waiting + other.waiting, one.error or other.error)


def _targets(engine: Engine, model: str) -> list[Target]:
    return [target for target in engine.targets.values() if target.build.model == model]


async def _replay_all(engine: Engine, target: Target, tenant: UUID, key: str) -> Replayed:
    handled = 0
    limit = REPLAY_EVENTS_MAX
    while True:
        try:
            done = await _replay_some(engine, target, tenant, key, limit, None)
        except (psycopg.DataError, psycopg.IntegrityError, Unwritable) as error:
            if limit > 1:
                limit = max(1, limit // 8)
                continue
            done = await _replay_some(engine, target, tenant, key, 1, f"{type(error).__name__}: {error}")
        handled += done.handled
        if done.waiting or not done.handled:
            return Replayed(handled, done.waiting, done.error)


async def _replay_some(
    engine: Engine, target: Target, tenant: UUID, key: str, limit: int, refused: str | None
) -> Replayed:
    """One transaction: the first `limit` events of the key. `refused`: why PostgreSQL takes the first one not."""
    values: dict[str, Any] = {"model": target.build.model, "build": target.build.build}
    async with engine.database.bound(tenant) as reader:
        await reader.tuples(SQL["hold_checkpoint"], values)
        events = await _events(reader, values | {"key": key, "limit": limit})
        if not events:
            return Replayed(0, 0, None)
        batch = Batch(target.projection, events)
        for name, found in (await target.tables.current(reader, batch.touched())).items():
            batch.begin(name, found)
        if refused is None:
            batch.fold(set())
            for name, found in (await target.tables.current(reader, batch.summed())).items():
                batch.begin(name, found)
            batch.add_up()
        else:
            batch.park(events[0], refused)
        await write(reader.connection, [(target.tables, batch.rows)])
        await _settle(reader, target, values, batch)
    failed = next((parked.error for parked in batch.parked if parked.error), None)
    return Replayed(len(batch.handled) + len(batch.ignored), len(batch.parked), failed)


async def _events(reader: Reader, values: dict[str, Any]) -> list[Read]:
    rows: Sequence[tuple[Any, ...]] = await reader.tuples(SQL["positions"], values)
    pages = [await log.read_log(reader, after=row[0] - 1, to=row[0], limit=1) for row in rows]
    return [read_one(stored) for page in pages for stored in page]


async def _settle(reader: Reader, target: Target, values: dict[str, Any], batch: Batch) -> None:
    gone = [*batch.handled, *batch.ignored]
    deliveries = Deliveries()
    deliveries.add("parked", gone, -1)
    deliveries.add("handled", batch.handled)
    deliveries.add("ignored", batch.ignored)
    await deliver(reader.connection, target.build, deliveries)
    await reader.connection.execute(SQL["unpark"], values | {"positions": [event.position for event in gone]})
    for parked in batch.parked:
        if parked.error is not None:
            fault = {"position": parked.event.position, "error": parked.error}
            await reader.connection.execute(SQL["fail"], values | fault)
    await reader.connection.execute(SQL["fewer"], values | {"count": len(gone)})


async def _skip_first(engine: Engine, target: Target, tenant: UUID, key: str, reason: str, actor: UUID) -> bool:
    values: dict[str, Any] = {"model": target.build.model, "build": target.build.build}
    async with engine.database.bound(tenant) as reader:
        await reader.tuples(SQL["hold_checkpoint"], values)
        events = await _events(reader, values | {"key": key, "limit": 1})
        if not events:
            return False
        deliveries = Deliveries()
        deliveries.add("parked", events, -1)
        deliveries.add("skipped", events)
        await deliver(reader.connection, target.build, deliveries)
        said = {"position": events[0].position, "reason": reason, "actor": actor}
        await reader.connection.execute(SQL["skip"], values | said)
        await reader.connection.execute(SQL["fewer"], values | {"count": 1})
    return True
