"""The relay: events per second from PostgreSQL to JetStream."""

import asyncio
import contextlib
import random
import time

import nats
import uvloop
from nats.js.errors import NotFoundError
from uuid_utils.compat import uuid7

from bench import appends, traffic
from bench.ground import Ground
from bench.measure import Line, Options, Report, Sample, rates
from bench.product import Product
from bench.progress import counting

TITLE = "relay to JetStream"
EVENTS, EVENTS_FULL = 50_000, 200_000
STREAM = "CAIRN_EVENTS"
LOOK_SECONDS = 0.01
SECONDS_MAX = 120


def measure(ground: Ground, options: Options) -> Report:  # noqa: ARG001  it runs servers of its own
    """A company per round, its log filled while no relay runs; then one relay process, until the stream has it all."""
    events = EVENTS_FULL if options.full else EVENTS
    samples, source = [], random.Random(5)
    with Product("relay") as product:
        uvloop.run(_streams_made(product))
        product.stop("relay")
        for number in range(1, options.rounds + 1):
            with counting(f"appending, {number} of {options.rounds}", events) as say:
                streams = (traffic.estimate_events(700, 299, source) for _ in range(events // 1_000))
                uvloop.run(appends.seed(product.servers.database_url, uuid7(), streams, say))
            samples.append(uvloop.run(_relayed(product, events)))
            product.stop("relay")
    lines = [Line(label="relayed", unit="events/s", values=rates(samples), goal=10_000)]
    return Report(name="relay", title=TITLE, lines=lines, notes=[f"{events:,} events a round."])


async def _streams_made(product: Product) -> None:
    client = await nats.connect(product.servers.nats_url)
    deadline = time.monotonic() + SECONDS_MAX
    try:
        while time.monotonic() < deadline:
            with contextlib.suppress(NotFoundError):
                await client.jetstream().stream_info(STREAM)
                return
            await asyncio.sleep(LOOK_SECONDS)
        raise RuntimeError(f"the relay made no stream\n{product.log_of('relay')}")
    finally:
        await client.close()


async def _relayed(product: Product, events: int) -> Sample:
    """From the first message the stream takes to the last."""
    client = await nats.connect(product.servers.nats_url)
    stream = client.jetstream()
    try:
        before = (await stream.stream_info(STREAM)).state.last_seq
        product.start("relay")
        deadline = time.monotonic() + SECONDS_MAX
        first, began = before, 0.0
        while time.monotonic() < deadline:
            last, now = (await stream.stream_info(STREAM)).state.last_seq, time.perf_counter()
            if first == before and last > before:
                first, began = last, now
            if last >= before + events:
                return Sample(count=last - first, seconds=now - began)
            await asyncio.sleep(LOOK_SECONDS)
        raise RuntimeError(f"{last - before} of {events} relayed in {SECONDS_MAX} s\n{product.log_of('relay')}")
    finally:
        await client.close()
