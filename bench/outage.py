"""The broker is killed, an hour's events pile up, it comes back: do all arrive, once and in order?"""

import time
from collections import defaultdict
from itertools import pairwise
from uuid import UUID

import msgspec
import nats
import uvloop
from nats.js.api import ConsumerConfig, DeliverPolicy

from bench import load
from bench.ground import Ground
from bench.load import Load
from bench.measure import Line, Options, Report
from bench.product import Product
from bench.progress import counting
from cairn.client import Client

TITLE = "an outage of the broker"
EVENTS, EVENTS_FULL = 10_000, 108_000
"""The full number is an hour of 30 events a second."""
ESTIMATES = 64
ROUND_SECONDS = 5.0
STREAM, SUBJECTS = "CAIRN_EVENTS", "cairn.*.event.>"
ARRIVAL_SECONDS_MAX = 600


class Arrived(msgspec.Struct):
    """What the stream held in the end, judged by the ids of its messages: `<tenant>.<epoch>.<position>`."""

    messages: int = 0
    missing: int = 0
    repeated: int = 0
    disordered: int = 0


def measure(ground: Ground, options: Options) -> Report:  # noqa: ARG001  it runs servers of its own
    """Commands through the API to 64 estimates while there is no broker; then one, until the stream has the log."""
    wanted = EVENTS_FULL if options.full else EVENTS
    with Product() as product:
        estimates = product.found_company(ESTIMATES)
        product.kill_broker()
        before, began = _head(product), time.perf_counter()
        head = before
        with counting("commands without a broker", wanted) as say:
            while head < before + wanted:
                load.elsewhere(Load(product.host, product.port, product.adding(estimates), ROUND_SECONDS))
                head = _head(product)
                say(head - before)
        taking = time.perf_counter() - began
        memory = sum(product.memory_bytes().values())
        product.start_broker()
        began = time.perf_counter()
        arrived = uvloop.run(_arrived(product, head))
        arriving = time.perf_counter() - began
    count = float(head - before)
    lines = [
        Line(label="commands taken without a broker", unit="", values=[count], goal=float(wanted)),
        Line(label="commands, meanwhile", unit="/s", values=[count / taking], goal=30),
        Line(label="memory at the end of the outage", unit="MiB", values=[memory / 2**20], goal=350, at_most=True),
        Line(label="until all had arrived and were read", unit="s", values=[arriving]),
        Line(label="missing", unit="events", values=[float(arrived.missing)], goal=0, at_most=True),
        Line(label="repeated", unit="events", values=[float(arrived.repeated)], goal=0, at_most=True),
        Line(label="out of order", unit="events", values=[float(arrived.disordered)], goal=0, at_most=True),
    ]
    return Report(name="outage", title=TITLE, lines=lines, notes=[f"{arrived.messages:,} messages in the stream."])


def _head(product: Product) -> int:
    with Client(product.url, product.operator_token, product.company) as operator:
        return int(operator.get("/log", limit=1)["head"])


async def _arrived(product: Product, head: int) -> Arrived:
    """Reads the whole stream from its first message, waiting for what has not come yet."""
    client = await nats.connect(product.servers.nats_url)
    deadline = time.monotonic() + ARRIVAL_SECONDS_MAX
    seen: dict[UUID, list[int]] = defaultdict(list)
    found = Arrived()
    try:
        config = ConsumerConfig(deliver_policy=DeliverPolicy.ALL)
        subscribed = await client.jetstream().subscribe(SUBJECTS, stream=STREAM, ordered_consumer=True, config=config)
        positions = seen[product.company]
        while (positions[-1] if positions else 0) < head:
            if time.monotonic() > deadline:
                raise RuntimeError(f"{len(positions)} of {head} arrived\n{product.log_of('relay')}")
            message = await subscribed.next_msg(timeout=ARRIVAL_SECONDS_MAX)
            tenant, _, position = (message.headers or {})["Nats-Msg-Id"].split(".")
            seen[UUID(tenant)].append(int(position))
            found.messages += 1
        unread = (await client.jetstream().stream_info(STREAM)).state.messages - found.messages
    finally:
        await client.close()
    found.repeated += unread  # nothing follows the log's end but what came before
    for positions in seen.values():
        once = set(positions)
        found.repeated += len(positions) - len(once)
        found.missing += max(once) - len(once)
        found.disordered += sum(later <= earlier for earlier, later in pairwise(positions))
    return found
