"""The peer's projection: its runner, its tracking, a view with a row per thing. Import only if the peer is there."""

import threading
import time
from typing import Any
from uuid import UUID, uuid4

from eventsourcing.application import Application
from eventsourcing.dispatch import singledispatchmethod
from eventsourcing.domain import Aggregate, DomainEventProtocol, event
from eventsourcing.persistence import Tracking
from eventsourcing.postgres import PostgresTrackingRecorder
from eventsourcing.projection import Projection, ProjectionRunner
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from bench.measure import Sample

PER_AGGREGATE = 100


class Sheet(Aggregate):
    """An estimate, as far as the peer's view needs it."""

    def __init__(self) -> None:
        self.lines = 0

    @event("LineAdded")
    def add_line(self, description: str, quantity: str, unit: str, unit_price: str, note: str) -> None:  # noqa: ARG002
        """A line with about the fields ours has."""
        self.lines += 1


class Sheets(Application[UUID]):
    """Its application."""


class CountsView(PostgresTrackingRecorder):
    """Events per aggregate, in a table; the row and the tracking in one transaction, as its documentation shows."""

    def __init__(self, datastore: Any, **options: Any) -> None:
        super().__init__(datastore, **options)
        self.check_identifier_length("bench_counts")
        self.sql_create_statements.append(
            sql.SQL("create table if not exists {}.bench_counts (id uuid primary key, events bigint)").format(
                sql.Identifier(datastore.schema)
            )
        )
        self.count_statement = sql.SQL(
            "insert into {0}.bench_counts as c values (%s, 1) on conflict (id) do update set events = c.events + 1"
        ).format(sql.Identifier(datastore.schema))

    def count(self, id: UUID, tracking: Tracking) -> None:
        """One more event."""
        with self.datastore.transaction(commit=True) as cursor:
            self._insert_tracking(cursor, tracking)
            cursor.execute(self.count_statement, (id,), prepare=True)


class Counting(Projection[CountsView]):
    """Counts, and says how many."""

    name = "counting"
    done = 0
    began = 0.0
    ended = 0.0
    reached = threading.Event()

    @singledispatchmethod
    def process_event(self, domain_event: DomainEventProtocol[UUID], tracking: Tracking) -> None:
        """Each event alike."""
        if not Counting.done:
            Counting.began = time.perf_counter()
        self.view.count(domain_event.originator_id, tracking)
        Counting.done += 1
        Counting.ended = time.perf_counter()


class Views:
    """A log of the peer's, and runs of its view runner over it."""

    def __init__(self, url: str) -> None:
        parts = conninfo_to_dict(url)
        self._environment = {
            "PERSISTENCE_MODULE": "eventsourcing.postgres",
            "POSTGRES_DBNAME": str(parts["dbname"]),
            "POSTGRES_HOST": str(parts["host"]),
            "POSTGRES_PORT": str(parts.get("port") or 5432),
            "POSTGRES_USER": str(parts["user"]),
            "POSTGRES_PASSWORD": str(parts.get("password") or "unused"),
        }

    def fill(self, events: int) -> None:
        """Records events for the runs to read."""
        application = Sheets(self._environment)
        for _ in range(max(1, events // PER_AGGREGATE)):
            sheet = Sheet()
            for _ in range(PER_AGGREGATE - 1):
                sheet.add_line("REMOVE BITUMINOUS PAVEMENT 4 INCHES", "4366.25", "SY", "5.728820", "From sheet 14")
            application.save(sheet)
        application.close()

    def run_two(self, seconds: float) -> Sample:
        """Projects into two views, one after the other: an event counts when it is in both."""
        one, other = self.run(seconds / 2), self.run(seconds / 2)
        return Sample(count=one.count, seconds=one.seconds + one.count / other.rate)

    def run(self, seconds: float) -> Sample:
        """Projects from the first event, into a view of its own, until time or events are up."""
        Counting.done, Counting.name = 0, f"counting{uuid4().hex[:8]}"
        environment = self._environment | {f"{Counting.name.upper()}_POSTGRES_SCHEMA": "public"}
        runner = ProjectionRunner(
            application_class=Sheets, projection_class=Counting, view_class=CountsView, env=environment
        )
        with runner:
            time.sleep(seconds)
        return Sample(count=Counting.done, seconds=max(Counting.ended - Counting.began, 0.001))
