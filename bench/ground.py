"""Where it is measured: servers as the product sets them up, in a folder that is gone afterwards."""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self
from uuid import uuid4

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from bench.meter import METER
from cairn import embedded
from eventstore import sql
from migrations import run as migrations

SQL = sql.beside(__file__)


class Ground:
    """The embedded servers, started when first asked for."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._servers: embedded.Servers | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def servers(self) -> embedded.Servers:
        """PostgreSQL and NATS with the product's settings."""
        if self._servers is None:
            folder = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="cairn-bench-"))
            Path(folder).chmod(0o755)
            running = self._stack.enter_context(embedded.start(Path(folder, "data")))
            self._servers, METER.postgres_pid = running.servers, running.postgres_pid
        return self._servers

    @contextmanager
    def database(self) -> Iterator[str]:
        """The URL of a database of its own, migrated; signed in as the superuser."""
        name = f"bench_{uuid4().hex[:12]}"
        administration = self.servers.database_url
        url = make_conninfo("", **{**conninfo_to_dict(administration), "dbname": name})
        with psycopg.connect(administration, autocommit=True) as connection:
            connection.execute(f"create database {name}".encode())
        try:
            migrations.upgrade(url)
            yield url
        finally:
            with psycopg.connect(administration, autocommit=True) as connection:
                connection.execute(f"drop database {name} with (force)".encode())


def bytes_an_event(url: str, table: str = "cairn.events") -> tuple[float, float]:
    """Bytes on disk per row, after VACUUM: heap with everything outside it, and all indexes."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"vacuum {table}".encode())
        row = connection.execute(SQL["sizes"], {"table": table}).fetchone()
    assert row is not None
    return float(row[0]), float(row[1])
