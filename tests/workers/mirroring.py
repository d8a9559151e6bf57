"""A company whose upstream is mirrored, for the tests of syncs and pushes: it sends commands and looks into the log."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import msgspec
import psycopg
from uuid_utils.compat import uuid7

from domain.decider import Command
from domain.drafts_events import drafts_of
from domain.mirror_events import mirror_of
from domain.registry import BY_CATEGORY, COMMANDS
from eventstore.db import Database, role_url
from eventstore.log import POSITION_MAX
from eventstore.settings import StoreSettings
from eventstore.transact import Context, Receipt, Store, transact
from eventstore.wire import Broker, Hints
from examples.upstream.fields import COLUMNS
from projections import pfa_lookups, positions
from projections.inline import InlineModels
from projections.registry import INLINE
from tests import schedules
from tests.keys import vault
from tests.workers.outside import process, until
from tests.workers.test_projector import QUICKLY

SWIFT: dict[str, Any] = {
    "sync_poll_seconds": 0.1,
    "sync_stalled_seconds": 2,
    "upstream_wait_seconds_min": 0.2,
    "upstream_networks": "127.0.0.0/8",
    "worker_beat_seconds": 0.1,
}
PATIENCE_SECONDS = 120
SMALL: dict[str, Any] = {
    "fields": [
        {"upstream": "Kind", "name": "category", "feeds": "category", "type": "category"},
        {"upstream": "Cost", "name": "cost", "feeds": "plan_cost", "type": "money", "unit": "USD"},
        {"upstream": "Start", "name": "start", "feeds": "plan_start", "type": "date"},
        {"upstream": "Note", "name": "note", "type": "text"},
    ],
    "identity": ["Id"],
}
"""A mapping of a small export: Id, Kind, Cost, Start, Note."""


class Company:
    """One company and its log."""

    def __init__(self, store: Store, reader: Database, owner: psycopg.Connection[Any], tenant: UUID) -> None:
        self.store = store
        self.reader = reader
        self.owner = owner
        self.tenant = tenant
        self.user = uuid4()

    async def send(self, category: str, id: UUID, verb: str, **body: Any) -> Receipt:
        """Sends a command."""
        _, kind = COMMANDS[category, verb]
        command: Command = kind.model_validate_json(msgspec.json.encode(body))
        context = Context(tenant=self.tenant, actor=self.user, command_id=uuid7(), request_hash=b"request1")
        return await transact(self.store, BY_CATEGORY[category], id, command, context)

    async def connect(self, upstream: dict[str, Any], mapping: dict[str, Any] = SMALL) -> UUID:
        """A connection with a mapping."""
        connection = uuid4()
        await self.send("connection", connection, "open-connection", name=f"ERP {connection}", upstream=upstream)
        await self.send("connection", connection, "set-mapping", mapping=mapping)
        return connection

    async def folder(self, folder: Path, mapping: dict[str, Any] = SMALL, **other: Any) -> UUID:
        """A connection to a folder of exports."""
        return await self.connect({"kind": "folder", "folder": str(folder)} | other, mapping)

    async def request(self, connection: UUID, mode: str = "full") -> UUID:
        """Asks for a sync."""
        run = uuid4()
        body = {"connection_id": str(connection), "run_id": str(run), "mode": mode}
        await self.send("mirror", mirror_of(connection), "request-sync", **body)
        return run

    def told(self, stream: UUID, *types: str) -> list[dict[str, Any]]:
        """The events of a stream, of these types if some are given."""
        rows = self.owner.execute(
            "select convert_from(payload, 'UTF8')::jsonb from cairn.events where tenant = %s and stream_id = %s "
            "and (%s::text[] = '{}' or type = any (%s)) order by position",
            [self.tenant, stream, list(types), list(types)],
        )
        return [row[0] for row in rows]

    def ends(self, connection: UUID) -> list[dict[str, Any]]:
        """How runs ended, the first first."""
        return self.told(mirror_of(connection), "mirror.sync-finished", "mirror.sync-failed", "mirror.sync-cancelled")

    async def ended(self, connection: UUID, run: UUID) -> dict[str, Any]:
        """How a run ended, once it has."""

        def found() -> list[dict[str, Any]]:
            return [each for each in self.ends(connection) if each["run_id"] == str(run)]

        async with asyncio.timeout(PATIENCE_SECONDS):
            while not found():  # noqa: ASYNC110  # a row announces nothing
                await asyncio.sleep(0.02)
        [end] = found()
        return end

    async def sync(self, connection: UUID, mode: str = "full") -> dict[str, Any]:
        """Asks for a sync; how it ended."""
        return await self.ended(connection, await self.request(connection, mode))

    async def draft(self, connection: UUID, drafts: dict[UUID, dict[str, Any]]) -> UUID:
        """Saves drafts; the id of their stream."""
        id = drafts_of(self.user, connection)
        body = [{"record_id": str(record), "fields": fields} for record, fields in drafts.items()]
        await self.send("drafts", id, "save-drafts", connection_id=str(connection), drafts=body)
        return id

    async def commit(self, connection: UUID, **other: Any) -> UUID:
        """Opens a changeset of all drafts."""
        changeset = uuid4()
        body = {"connection_id": str(connection), "drafts_id": str(drafts_of(self.user, connection))} | other
        await self.send("changeset", changeset, "open-changeset", **body)
        return changeset

    async def finished(self, changeset: UUID) -> dict[str, Any]:
        """How a changeset finished, once it has."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not (found := self.told(changeset, "changeset.finished")):  # noqa: ASYNC110  # as above
                await asyncio.sleep(0.02)
        return found[0]

    async def heard(self, stream: UUID, kind: str) -> dict[str, Any]:
        """The first event of a type in a stream, once it is there."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not (found := self.told(stream, kind)):  # noqa: ASYNC110  # as above
                await asyncio.sleep(0.02)
        return found[0]

    async def ids(self, connection: UUID) -> dict[str, UUID]:
        """The records of the mirror by the first identifying cell."""
        await self.projected("pfa")
        async with self.reader.bound(self.tenant) as reader:
            rows = await reader.tuples(
                b"select identity::jsonb ->> 0, record_id from pfa_records "
                b"where connection_id = %(connection)s and valid_to > %(now)s and not removed",
                {"connection": connection, "now": POSITION_MAX},
            )
        return dict(rows)

    async def projected(self, *models: str) -> None:
        """Until these read models have come to the end of the log."""

        async def there() -> bool:
            rows = self.owner.execute(
                "select c.position = h.position from cairn.checkpoints c join cairn.heads h using (tenant) "
                "where c.tenant = %s and c.model = any (%s)",
                [self.tenant, list(models)],
            ).fetchall()
            return rows == [(True,)] * len(models)

        await until(there)

    async def records(self, connection: UUID) -> dict[str, tuple[Any, ...]]:
        """What the mirror has now, by the first identifying cell: category, plan cost in cents, whether it is gone."""
        await self.projected("pfa")
        async with self.reader.bound(self.tenant) as reader:
            rows = await reader.tuples(
                b"select identity::jsonb ->> 0, category, plan_cost, removed from pfa_records "
                b"where connection_id = %(connection)s and valid_to > %(now)s",
                {"connection": connection, "now": POSITION_MAX},
            )
        return {row[0]: tuple(row[1:]) for row in rows}


def cut_off(company: Company) -> None:
    """Ends every backend of the syncer and the projector, as a restart of the database does."""
    company.owner.execute(
        "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() "
        "and (application_name like 'cairn syncer%' or application_name in ('cairn jobs', 'cairn projector'))"
    )


@asynccontextmanager
async def company_of(database_url: str, nats_url: str, tenant: UUID) -> AsyncIterator[Company]:
    """A company that sends commands, and whose log is followed by a projector."""
    broker = Broker(nats_url, name="test")
    await broker.open()
    hints = Hints(broker)
    writer = Database(role_url(database_url, "cairn_writer", None), name="writer", connections_max=2)
    reader = Database(role_url(database_url, "cairn_reader", None), name="reader", read_only=True)

    async def until_shown(of: UUID, model: str, position: int) -> None:
        async def there() -> bool:
            async with reader.bound(of) as bound:
                return await positions.position_of(bound, model) >= position

        await until(there)

    store = Store(
        writer,
        StoreSettings(),
        vault=vault(),
        inline=InlineModels(INLINE),
        committed=hints.log_moved,
        answers=pfa_lookups.answers(reader, until_shown),
    )
    await store.open()
    await reader.open()
    try:
        with (
            process("projector", database_url, nats_url, **QUICKLY),
            psycopg.connect(database_url, autocommit=True) as owner,
        ):
            yield Company(store, reader, owner, tenant)
    finally:
        await reader.close()
        await store.close()
        await broker.close()


@contextmanager
def syncing(database_url: str, nats_url: str, *folders: Path, **settings: Any) -> Iterator[Any]:
    """A syncer in a process of its own."""
    allowed = {"upstream_folders": ",".join(map(str, folders))} if folders else {}
    with process("syncer", database_url, nats_url, **SWIFT | allowed | settings) as started:
        yield started


PUBLISHED = schedules.FOLDERS
"""Where the published exports are at hand."""

ERP: dict[str, Any] = {
    "fields": [
        field | {"upstream": {header: column for column, header in COLUMNS.items()}[field["upstream"]]}
        for field in schedules.SENT["fields"]
    ],
    "identity": ["id"],
    "version_column": "version",
}
"""The mapping of the published exports by the names that the example ERP has for their columns."""


def erp(url: str, **other: Any) -> dict[str, Any]:
    """A connection to the example ERP."""
    return {
        "kind": "http",
        "url": url,
        "size": 500,
        "paging": {"by": "cursor"},
        "auth": {"by": "nothing"},
        "changes": {"at": "as_of_version", "parameter": "since_version", "parameters": {"deleted": "1"}},
        "push": {},
        "limits": {"first_wait_seconds": 0.001, "attempts_max": 2, "wait_seconds_max": 5},
    } | other
