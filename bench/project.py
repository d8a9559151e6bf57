"""Projecting events into two read models in PostgreSQL: version history and estimate detail."""

import random
import time
from collections.abc import Sequence
from functools import partial
from importlib import import_module
from uuid import UUID

import psycopg
import uvloop
from uuid_utils.compat import uuid7

from bench import appends, peer, traffic
from bench.ground import Ground
from bench.measure import Line, Options, Report, Sample, cost_lines, interleaved, rates, ratios
from bench.meter import METER
from bench.progress import counting
from eventstore import sql
from eventstore.db import Database, role_url
from projections import estimate_detail, version_history
from projections.engine import Engine
from projections.projection import Projection
from projections.settings import EngineSettings

SQL = sql.beside(__file__)
TITLE = "projecting into two read models"
EVENTS, EVENTS_FULL = 100_000, 500_000
MODELS: Sequence[Projection] = (version_history.projection, estimate_detail.projection)


def measure(ground: Ground, options: Options) -> Report:
    """A company per round, projected from its first event to its last; against the peer's view runner, in turns."""
    events = EVENTS_FULL if options.full else EVENTS
    tenants = [uuid7() for _ in range(options.rounds)]
    with ground.database() as url, ground.database() as peers:
        source = random.Random(5)
        for number, tenant in enumerate(tenants, 1):
            with counting(f"appending, {number} of {len(tenants)}", events) as say:
                streams = (traffic.estimate_events(700, 299, source) for _ in range(events // 1_000))
                uvloop.run(appends.seed(url, tenant, streams, say))
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(b"vacuum analyze cairn.events")
        waiting = iter(tenants)
        arms = {"cairn": lambda: uvloop.run(_project(url, next(waiting), events))}
        if peer.HERE:
            views = import_module("bench.peer_views").Views(peers)  # it imports the peer
            views.fill(max(3_000, int(options.seconds * 3_000)))
            arms["eventsourcing"] = partial(views.run_two, 2 * options.seconds)
        found = interleaved(options.rounds, arms)
    lines = [Line(label=name, unit="events/s", values=rates(samples)) for name, samples in found.items()]
    lines += cost_lines({"cairn": found["cairn"]})
    if peer.HERE:
        values = ratios(rates(found["cairn"]), rates(found["eventsourcing"]))
        lines.append(Line(label="cairn / eventsourcing", unit="×", values=values, goal=15))
    notes = [
        f"{events:,} events a round, each into two models by both. The peer's are the least there can be: a row with a "
        "count, where Cairn's keep every version of an estimate and its lines, and every change."
    ]
    return Report(name="project", title=TITLE, lines=lines, notes=notes + ([] if peer.HERE else [peer.MISSING]))


async def _project(url: str, tenant: UUID, events: int) -> Sample:
    settings = EngineSettings()
    database = Database(
        role_url(url, "cairn_projector", None), name="projector", connections_max=settings.projector_connections_max
    )
    await database.open()
    try:
        engine = Engine(database, MODELS, settings)
        await engine.prepare()
        before, began = METER.read(), time.perf_counter()
        await engine.advance(tenant)
        seconds, cost = time.perf_counter() - began, METER.since(before)
        async with database.bound(tenant) as reader:
            reached = await reader.tuples(SQL["reached"], {"models": [model.name for model in MODELS]})
        assert [row[0] for row in reached] == [events] * len(MODELS), reached
        return Sample(count=events, seconds=seconds, cost=cost)
    finally:
        await database.close()
