"""The peer: `eventsourcing` and its PostgreSQL recorder, used as its documentation says, a thread per writer."""

import itertools
import threading
import time
from collections.abc import Callable
from uuid import UUID, uuid4

from psycopg.conninfo import conninfo_to_dict

from bench import traffic
from bench.measure import Sample
from bench.meter import METER

try:
    from eventsourcing.persistence import IntegrityError, StoredEvent
    from eventsourcing.postgres import PostgresApplicationRecorder, PostgresDatastore

    HERE = True
except ImportError:
    HERE = False

MISSING = "the peer `eventsourcing` is not installed: pip install --require-hashes -r requirements/bench.txt"

TOPIC = "bench.traffic:LineAdded"


def recorder(url: str, writers: int) -> "PostgresApplicationRecorder":
    """Its recorder over a pool with a connection per writer. Close its `datastore` afterwards."""
    parts = conninfo_to_dict(url)
    datastore = PostgresDatastore(
        dbname=str(parts["dbname"]),
        host=str(parts["host"]),
        port=str(parts.get("port") or 5432),
        user=str(parts["user"]),
        password=str(parts.get("password") or ""),
        pool_size=writers,
        max_overflow=0,
    )
    return PostgresApplicationRecorder(datastore)


def appends(url: str, *, writers: int, seconds: float, hot: bool = False) -> Sample:
    """One event per call of `insert_events`. On a hot stream the version is read again after each conflict."""
    mine = recorder(url, writers)
    mine.create_table()
    try:
        bodies = [body + traffic.METADATA_BYTES for body in traffic.payloads(2_000)]
        stream = uuid4()
        writing = [_hot(mine, stream, bodies) if hot else _own(mine, bodies) for _ in range(writers)]
        return _threads(writing, seconds)
    finally:
        mine.datastore.close()


def _own(mine: "PostgresApplicationRecorder", bodies: list[bytes]) -> Callable[[], None]:
    stream, versions, states = uuid4(), itertools.count(1), itertools.cycle(bodies)
    return lambda: _insert(mine, stream, next(versions), next(states))


def _hot(mine: "PostgresApplicationRecorder", stream: UUID, bodies: list[bytes]) -> Callable[[], None]:
    states = itertools.cycle(bodies)

    def write() -> None:
        while True:
            last = mine.select_events(stream, desc=True, limit=1)
            try:
                _insert(mine, stream, last[0].originator_version + 1 if last else 1, next(states))
            except IntegrityError:
                continue
            return

    return write


def _insert(mine: "PostgresApplicationRecorder", stream: UUID, version: int, state: bytes) -> None:
    mine.insert_events([StoredEvent(originator_id=stream, originator_version=version, topic=TOPIC, state=state)])


def _threads(writing: list[Callable[[], None]], seconds: float) -> Sample:
    latencies: list[float] = []
    ready = threading.Barrier(len(writing) + 1)
    ended: list[float] = []

    def write(one: Callable[[], None]) -> None:
        one()  # its connection is made here
        ready.wait()
        before = time.perf_counter()
        end = before + seconds
        while before < end:
            one()
            after = time.perf_counter()
            if after > end + 1:
                break
            latencies.append(after - before)
            before = after
        ended.append(before)

    threads = [threading.Thread(target=write, args=(one,)) for one in writing]
    for thread in threads:
        thread.start()
    before, began = METER.read(), time.perf_counter()
    ready.wait()
    for thread in threads:
        thread.join()
    return Sample(count=len(latencies), seconds=max(ended) - began, latencies=latencies, cost=METER.since(before))
