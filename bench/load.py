"""A load generator in a process of its own: `python -m bench.load` reads what to send from standard input.

Each connection sends one request after the other; places for ids in a request are filled with new ones, the place
for a number with the next. Answers with count, seconds and latencies (seconds) as JSON.
"""

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import count, cycle
from uuid import uuid4

import msgspec
import uvloop

from bench.client import Connection
from bench.measure import Sample

PLACES = (b"00000000-0000-7000-8000-c0000000000d", b"00000000-0000-7000-8000-11000000000e")
"""Where a request has the command's id and the line's."""
NUMBER = b"987654321987"
"""Where a request has a number that differs each time."""


class Load(msgspec.Struct, frozen=True):
    """What to send: one request per connection, with its places; for how long; at most how often a second in all.

    With `connections`, that many share the requests out, and each sends its own in turn.
    """

    host: str
    port: int
    requests: list[bytes]
    seconds: float
    rate_max: float | None = None
    connections: int | None = None


async def send(load: Load) -> Sample:
    """Sends it from here."""
    senders = load.connections or len(load.requests)
    shares = [cycle(load.requests[number::senders]) for number in range(senders)]
    connections = [await Connection.to(load.host, load.port) for _ in shares]
    latencies: list[float] = []
    began = time.perf_counter()
    end = began + load.seconds
    pause = len(connections) / load.rate_max if load.rate_max else 0.0
    numbers = count(1)

    async def repeat(number: int, connection: Connection, share: Iterator[bytes]) -> None:
        due = began + pause * number / len(connections)
        while True:
            if pause:
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
                due += pause
            before = time.perf_counter()
            if before >= end:
                return
            filled = next(share)
            for place in PLACES:
                filled = filled.replace(place, str(uuid4()).encode())
            filled = filled.replace(NUMBER, f"{next(numbers):012}".encode())
            await connection.ask(filled)
            latencies.append(time.perf_counter() - before)

    await asyncio.gather(*(repeat(*each) for each in zip(range(len(connections)), connections, shares, strict=True)))
    seconds = time.perf_counter() - began
    for connection in connections:
        connection.close()
    return Sample(count=len(latencies), seconds=seconds, latencies=latencies)


def elsewhere(load: Load) -> Sample:
    """Sends it from a process of its own, and waits for what it measured."""
    done = subprocess.run(
        [sys.executable, "-m", "bench.load"], input=msgspec.msgpack.encode(load), stdout=subprocess.PIPE, check=True
    )
    return msgspec.msgpack.decode(done.stdout, type=Sample)


if __name__ == "__main__":
    given = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=Load)
    sys.stdout.buffer.write(msgspec.msgpack.encode(uvloop.run(send(given))))
