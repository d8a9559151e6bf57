"""The whole product at 200 commands a second: from acknowledged to visible, to a query and to a NATS consumer."""

import asyncio
import contextlib
import time
from uuid import UUID, uuid4

import msgspec
import nats
import uvloop
from nats.aio.msg import Msg
from nats.js.api import DeliverPolicy

from bench.client import Connection, request
from bench.ground import Ground
from bench.load import PLACES
from bench.measure import Line, Options, Report, percentile
from bench.product import Product

TITLE = "acknowledged → visible, at 200 commands a second"
RATE = 200
CONNECTIONS = 32
SECONDS, SECONDS_FULL = 8.0, 60.0
WARM_SECONDS = 2.0
LAG_SECONDS_MAX = 5.0


class Receipt(msgspec.Struct):
    """What is read of one."""

    epoch: int
    position: int


class Message(msgspec.Struct):
    """What is read of an event on NATS."""

    position: int


class Round(msgspec.Struct):
    """Instants, by position: acknowledged, answered by a query that asked for at least that, seen by the consumer."""

    sent: dict[int, float] = {}
    acknowledged: dict[int, float] = {}
    queried: dict[int, float] = {}
    consumed: dict[int, float] = {}

    def lags(self, seen: dict[int, float]) -> list[float]:
        """Seconds from acknowledged to seen; 0 where it was seen before. Never seen counts as the greatest."""
        late = LAG_SECONDS_MAX
        return [max(0.0, seen[at] - then) if at in seen else late for at, then in self.acknowledged.items()]


def measure(ground: Ground, options: Options) -> Report:  # noqa: ARG001  it runs servers of its own
    """Commands at an even pace whatever the answers take; each is followed by a query with its Cairn-After."""
    seconds = SECONDS_FULL if options.full else SECONDS
    with Product() as product:
        estimates = product.found_company(CONNECTIONS)
        rounds = [uvloop.run(_round(product, estimates, seconds)) for _ in range(options.rounds)]
    lines = [Line(label="commands", unit="/s", values=[len(each.acknowledged) / seconds for each in rounds])]
    acknowledging = [[each.acknowledged[at] - each.sent[at] for at in each.acknowledged] for each in rounds]
    for label, share in (("p50", 0.5), ("p99", 0.99)):
        values = [percentile(each, share) * 1000 for each in acknowledging]
        lines.append(Line(label=f"sent → acknowledged, {label}", unit="ms", values=values))
    for what, lags in (
        ("query", [each.lags(each.queried) for each in rounds]),
        ("NATS consumer", [each.lags(each.consumed) for each in rounds]),
    ):
        for label, share, goal in (("p50", 0.5, 8.0), ("p99", 0.99, 50.0)):
            values = [percentile(each, share) * 1000 for each in lags]
            lines.append(Line(label=f"→ {what}, {label}", unit="ms", values=values, goal=goal, at_most=True))
    notes = [
        "The query's time is from the acknowledgement to the last byte of its answer; so its own round trip is in it.",
        "Queries run beside: 200 a second more.",
    ]
    return Report(name="visible", title=TITLE, lines=lines, notes=notes)


class Caller:
    """Two connections of one estimator: one sends commands, one asks."""

    def __init__(self, product: Product, estimate: UUID, template: bytes) -> None:
        self._product = product
        self._estimate = estimate
        self._template = template

    async def open(self) -> None:
        """Connects."""
        self._commands = await Connection.to(self._product.host, self._product.port)
        self._queries = await Connection.to(self._product.host, self._product.port)

    def close(self) -> None:
        """Disconnects."""
        self._commands.close()
        self._queries.close()

    async def call(self, found: Round, *, warm: bool) -> None:
        """Sends a command, then a query that must show it. Not counted while `warm`ing up."""
        filled = self._template
        for place in PLACES:
            filled = filled.replace(place, str(uuid4()).encode())
        sent = time.perf_counter()
        answer = await self._commands.ask(filled)
        acknowledged = time.perf_counter()
        receipt = msgspec.json.decode(answer.partition(b"\r\n\r\n")[2], type=Receipt)
        after = f"{receipt.epoch}.{receipt.position}"
        headers = {"authorization": f"Bearer {self._product.token}", "cairn-after": after}
        await self._queries.ask(request("GET", f"/estimates/{self._estimate}", headers))
        if not warm:
            found.sent[receipt.position], found.acknowledged[receipt.position] = sent, acknowledged
            found.queried[receipt.position] = time.perf_counter()


async def _round(product: Product, estimates: list[UUID], seconds: float) -> Round:
    found, arrived = Round(), asyncio.Event()
    callers = [Caller(product, *each) for each in zip(estimates, product.adding(estimates), strict=True)]
    client = await nats.connect(product.servers.nats_url)

    async def take(message: Msg) -> None:
        found.consumed[msgspec.json.decode(message.data, type=Message).position] = time.perf_counter()
        arrived.set()

    try:
        for caller in callers:
            await caller.open()
        subject = f"cairn.{product.company}.event.>"
        await client.jetstream().subscribe(subject, cb=take, ordered_consumer=True, deliver_policy=DeliverPolicy.NEW)
        await _call_evenly(found, callers, seconds)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAG_SECONDS_MAX):
                while set(found.acknowledged) - set(found.consumed):
                    arrived.clear()
                    await arrived.wait()
        return found
    finally:
        for caller in callers:
            caller.close()
        await client.close()


async def _call_evenly(found: Round, callers: list[Caller], seconds: float) -> None:
    free: asyncio.Queue[Caller] = asyncio.Queue()
    for caller in callers:
        free.put_nowait(caller)

    async def call(warm: bool) -> None:
        caller = await free.get()
        await caller.call(found, warm=warm)
        free.put_nowait(caller)

    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for number in range(int(RATE * (seconds + WARM_SECONDS))):
            await asyncio.sleep(max(0.0, began + number / RATE - time.perf_counter()))
            group.create_task(call(number < RATE * WARM_SECONDS))
