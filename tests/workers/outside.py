"""What stands around a worker in a test: a log to fill, a broker to look into, a relay to run."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import msgspec

from eventstore import envelope
from eventstore.db import Connection, Database, Unavailable, role_url
from eventstore.wire import Broker, Kept, Stream, StreamOptions
from tests.eventstore import units
from tests.keys import KEK
from workers.outbound import STREAM
from workers.relay import Relay
from workers.settings import WorkerSettings

ROOT = Path(__file__).parents[2]
FAST: dict[str, Any] = {"relay_poll_seconds": 0.1, "relay_lease_seconds": 1, "worker_beat_seconds": 0.1}
PATIENCE_SECONDS = 30


class Published(msgspec.Struct):
    """What a test wants to know of a published event."""

    tenant: UUID
    epoch: str
    position: int
    id: str


def projector_role(database_url: str, name: str = "test") -> Database:
    """A pool of the workers' role."""
    return Database(role_url(database_url, "cairn_projector", None), name=name, connections_max=4)


def relay_of(database_url: str, nats_url: str, **settings: Any) -> Relay:
    """A relay of this process, not started."""
    chosen = WorkerSettings(**FAST | settings)
    return Relay(projector_role(database_url, "relay"), Broker(nats_url, name="relay", reconnect_seconds=0.05), chosen)


@asynccontextmanager
async def relaying(database_url: str, nats_url: str, **settings: Any) -> AsyncIterator[Relay]:
    """A relay that runs, and is stopped in the end."""
    relay = relay_of(database_url, nats_url, **settings)
    await relay.start()
    try:
        await relay.wait_ready()
        yield relay
    finally:
        await relay.stop()


@asynccontextmanager
async def stream_of(nats_url: str, name: str = STREAM) -> AsyncIterator[Stream]:
    """A look into a stream."""
    broker = Broker(nats_url, name="test", reconnect_seconds=0.05)
    await broker.open()
    assert await broker.wait_connected(PATIENCE_SECONDS)
    try:
        yield Stream(broker, StreamOptions(name=name, subjects=()))
    finally:
        await broker.close()


async def fill(connection: Connection, tenant: UUID, events: int) -> int:
    """Appends so many events, in streams of ten; the head after them."""
    whole, rest = divmod(events, 10)
    sizes = [10] * whole + ([rest] if rest else [])
    done = await units.appended(connection, tenant, *(units.unit((uuid4(), 0, size)) for size in sizes))
    return done[-1].first + sizes[-1] - 1


async def kept(stream: Stream, tenant: UUID) -> list[Published]:
    """Every event of a company that the stream holds, in its order."""
    found: list[Published] = []
    message: Kept | None = await stream.next(1, envelope.events_of(tenant))
    while message is not None:
        found.append(msgspec.json.decode(message.body, type=Published))
        message = await stream.next(message.sequence + 1, envelope.events_of(tenant))
    return found


async def positions(stream: Stream, tenant: UUID) -> list[int]:
    """The positions of a company that the stream holds, in its order."""
    return [event.position for event in await kept(stream, tenant)]


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    """Until it holds. For what announces nothing: servers that were restarted, processes, rows."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not await holds():  # noqa: ASYNC110  # see above
            await asyncio.sleep(0.02)


async def reaches(stream: Stream, tenant: UUID, position: int) -> None:
    """Until the stream's last event of the company is this one."""

    async def there() -> bool:
        return await last_position(stream, tenant) >= position

    await until(there)


async def last_position(stream: Stream, tenant: UUID) -> int:
    """The position of the company's last event in the stream; 0 without one, without a stream, or without a broker."""
    try:
        last = await stream.last(envelope.events_of(tenant))
    except Unavailable:
        return 0
    return 0 if last is None else msgspec.json.decode(last.body, type=Published).position


@contextmanager
def process(name: str, database_url: str, nats_url: str, **settings: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A worker in a process of its own, killed in the end if it still runs."""
    chosen = {f"CAIRN_{key.upper()}": str(value) for key, value in (FAST | settings).items()}
    kept_variables = {key: value for key, value in os.environ.items() if not key.startswith("CAIRN_")}
    servers = {
        "CAIRN_DATABASE_URL": database_url,
        "CAIRN_NATS_URL": nats_url,
        "CAIRN_LOG_FORMAT": "json",
        "CAIRN_KEK": KEK,
    }
    with subprocess.Popen(
        [sys.executable, "-m", "workers", name], cwd=ROOT, env=kept_variables | servers | chosen, stderr=subprocess.PIPE
    ) as started:
        try:
            yield started
        finally:
            started.kill()
            started.communicate()


async def ended(started: subprocess.Popen[bytes], number: signal.Signals) -> str:
    """What a worker's process had said when it ended on this signal, in order."""
    started.send_signal(number)
    _, said = await asyncio.to_thread(started.communicate, timeout=PATIENCE_SECONDS)
    assert started.returncode == 0, said.decode()
    return said.decode()
