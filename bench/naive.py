"""The design one would write first, for comparison: records as JSONB in a table, drafts in another, merged by `||`.

Seven generated columns, a B-tree index on six of them, a GIN index on the document, and a materialised view of sums.
Its statements are used from here, in PostgreSQL alone: neither HTTP nor permission nor history is in its times.
"""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import psycopg
from psycopg.types.json import Jsonb

from bench import records
from bench.measure import Sample
from domain.cells import Absent
from domain.typed_rows import RowReader
from eventstore import sql
from examples.upstream.fields import Fields

SQL = sql.beside(__file__)
USER = UUID(int=0xA11CE)
BLOCK_BYTES = 1 << 20


def write_copy(path: Path, count: int) -> int:
    """The records as COPY takes them, typed as the product types them. Answers the bytes of all documents."""
    reader, length = RowReader(records.own_mapping()), 0
    with path.open("wb") as file:
        for number, made in records.rows(count):
            document = msgspec.json.encode(_document(reader, made))
            length += len(document)
            file.write(b"%d\t%s\n" % (number, document.replace(b"\\", b"\\\\")))
    return length


def _document(reader: RowReader, made: Fields) -> dict[str, object]:
    typed, _ = reader.typed(made)
    return {name: _plain(value) for name, value in typed.values.items() if not isinstance(value, Absent)}


def _plain(value: object) -> object:
    match value:
        case Decimal():
            return float(value)
        case date():
            return value.isoformat()
    return value


class Naive:
    """Its tables in a database of their own."""

    def __init__(self, url: str) -> None:
        self.connection = psycopg.connect(url, autocommit=True)
        self._url = url
        self.connection.execute(SQL["tables"])

    def close(self) -> None:
        """Disconnects."""
        self.connection.close()

    def load(self, path: Path) -> float:
        """COPY with all indexes in place. Seconds."""
        began = time.perf_counter()
        with (
            path.open("rb") as file,
            self.connection.cursor() as cursor,
            cursor.copy("copy naive_mirror (id, data) from stdin") as copy,
        ):
            while block := file.read(BLOCK_BYTES):
                copy.write(block)
        return time.perf_counter() - began

    def save_drafts(self, drafts: Mapping[int, Mapping[str, Any]]) -> float:
        """All of one user's, in one transaction. Seconds."""
        began = time.perf_counter()
        with self.connection.transaction(), self.connection.cursor() as cursor:
            cursor.executemany(SQL["save"], [_saved(number, change) for number, change in drafts.items()])
        return time.perf_counter() - began

    def settle(self) -> float:
        """As autovacuum would within minutes; with the view of sums. Answers bytes on disk a record."""
        self.connection.execute(b"vacuum analyze")
        row = self.connection.execute(SQL["size"]).fetchone()
        assert row is not None
        self.connection.execute(SQL["view"])
        return float(row[0])

    def rows(self, statement: str, **values: object) -> list[tuple[Any, ...]]:
        """What a statement finds."""
        return self.connection.execute(SQL[statement], {"user_id": USER, **values}).fetchall()

    def asking(self, statement: str, times: int, **values: object) -> Callable[[], Sample]:
        """One statement again and again, its rows fetched."""
        return lambda: self._asked(statement, times, {"user_id": USER, **values})

    def _asked(self, statement: str, times: int, values: dict[str, object]) -> Sample:
        latencies = []
        began = time.perf_counter()
        with self.connection.cursor(binary=True) as cursor:
            for _ in range(times):
                before = time.perf_counter()
                cursor.execute(SQL[statement], values)
                if cursor.description is not None:
                    cursor.fetchall()
                latencies.append(time.perf_counter() - before)
        return Sample(count=times, seconds=time.perf_counter() - began, latencies=latencies)

    def saving(self, clients: int, seconds: float, total: int) -> Callable[[], Sample]:
        """Drafts saved one by one, each committed, by so many clients with a connection of their own."""
        return lambda: self._saved_by(clients, seconds, total)

    def _saved_by(self, clients: int, seconds: float, total: int) -> Sample:
        found: list[Sample] = []
        threads = [
            threading.Thread(target=lambda client=client: found.append(self._saves(client, seconds, total)))
            for client in range(clients)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        latencies = [each for sample in found for each in sample.latencies]
        return Sample(count=len(latencies), seconds=max(sample.seconds for sample in found), latencies=latencies)

    def _saves(self, client: int, seconds: float, total: int) -> Sample:
        latencies = []
        owner = UUID(int=USER.int + 1 + client)
        with psycopg.connect(self._url, autocommit=True) as connection:
            began = time.perf_counter()
            for number in _spread(total, client):
                before = time.perf_counter()
                if before - began > seconds:
                    break
                connection.execute(SQL["save"], _saved(number, {"forecast_cost": number}) | {"user_id": owner})
                latencies.append(time.perf_counter() - before)
        return Sample(count=len(latencies), seconds=time.perf_counter() - began, latencies=latencies)


def _spread(total: int, client: int) -> Iterator[int]:
    """Numbers of records without an end, no two next to each other."""
    number = client * 7919
    while True:
        number = (number + 104_729) % total
        yield number


def _saved(number: int, change: Mapping[str, Any]) -> dict[str, Any]:
    numbers = {"forecast_cost", "monthly_rate", "purchase_price"}
    typed = {name: float(value) if name in numbers else value for name, value in change.items()}
    return {"user_id": USER, "record_id": number, "changes": Jsonb(typed)}
