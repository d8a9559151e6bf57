"""Connections to upstreams, their field mappings, and every sync: how far it is, or what came of it."""

from datetime import datetime
from typing import Any, Final
from uuid import UUID

import msgspec
from msgspec.structs import asdict, replace

from domain import actuals, codeset, company, estimate, membership, pricebook, project
from domain.connection_events import (
    ConnectionClosed,
    ConnectionDisabled,
    ConnectionEnabled,
    ConnectionOpened,
    ConnectionRevised,
    CredentialsReplaced,
    MappingSet,
    Schedule,
    ScheduleSet,
)
from domain.decider import Event
from domain.mapping import FieldMapping
from domain.mirror_events import (
    RecordsChanged,
    SyncBegan,
    SyncCancelled,
    SyncCounts,
    SyncFailed,
    SyncFault,
    SyncFinished,
    SyncRequested,
    mirror_of,
)
from domain.registry import OF_UPSTREAMS
from eventstore.db import Reader
from eventstore.log import POSITION_MAX
from eventstore.sql import beside
from projections.projection import Change, Key, Projection, Seen, Table, change, identity, of_stream

OPEN: Final = "open"
DISABLED: Final = "disabled"
CLOSED: Final = "closed"

REQUESTED: Final = "requested"
RUNNING: Final = "running"
FINISHED: Final = "finished"
FAILED: Final = "failed"
CANCELLED: Final = "cancelled"


class ConnectionRow(msgspec.Struct, frozen=True):
    """A connection as it is stored. No secret is: only that there is one, since when, and whom the upstream knows."""

    connection_id: UUID
    name: str
    kind: str
    upstream: dict[str, Any]
    username: str | None
    credentials_at: datetime | None
    schedule: Schedule | None
    mapping_version: int
    currency: str | None
    status: str
    reason: str | None
    opened_at: datetime
    opened_by: UUID
    updated_at: datetime


class MappingRow(msgspec.Struct, frozen=True):
    """A field mapping that a connection has or had. `currency` is that of all its money, null without any."""

    connection_id: UUID
    version: int
    mapping: FieldMapping
    currency: str | None
    position: int
    set_at: datetime
    set_by: UUID


class RunRow(msgspec.Struct, frozen=True):
    """A sync as it is stored: `counts` are SyncCounts by name. `first_position` is that of the event that brought it
    about.
    """

    connection_id: UUID
    run_id: UUID
    first_position: int
    mode: str
    trigger: str
    status: str
    attempt: int
    mapping_version: int
    requested_at: datetime | None
    requested_by: UUID | None
    began_at: datetime | None
    finished_at: datetime | None
    counts: dict[str, int]
    faults: tuple[SyncFault, ...]
    failure: str | None
    code: str | None
    facts: dict[str, Any] | None
    retry_at: datetime | None
    reason: str | None


class MirrorRow(msgspec.Struct, frozen=True):
    """What has come of all syncs of a connection so far. `synced_at`: when the last one finished that did."""

    connection_id: UUID
    records: int
    running_id: UUID | None
    last_run_id: UUID | None
    synced_at: datetime | None
    failed_at: datetime | None


class _Read(msgspec.Struct, frozen=True, kw_only=True):
    connection_id: UUID
    name: str
    kind: str
    upstream: dict[str, Any]
    has_credentials: bool
    username: str | None
    credentials_at: datetime | None
    schedule: Schedule | None
    mapping_version: int
    currency: str | None
    status: str
    reason: str | None
    opened_at: datetime
    opened_by: UUID
    updated_at: datetime
    records: int
    syncing: UUID | None
    last_run_id: UUID | None
    last_synced_at: datetime | None
    last_failed_at: datetime | None


class Connection(_Read, frozen=True, kw_only=True):
    """A connection to an upstream. `status`: open, disabled or closed, with the reason it was given.

    `upstream` is how it is reached; what it is reached with is shown to nobody, only whether there is something
    (`has_credentials`) and since when. `mapping_version` is 0 before the first mapping. `records` is the number of
    records mirrored, those gone upstream not among them; `last_synced_at` when a sync last finished, `last_failed_at`
    when one last failed, null when none has failed since; `syncing` the run that is requested or under way. `mirror_id`
    is the id that commands about syncs go to.
    """

    mirror_id: UUID


class RunListed(msgspec.Struct, frozen=True, kw_only=True):
    """A sync without its faults. `status`: requested, running, finished, failed or cancelled.

    While it runs `counts` grow with every batch; what is unchanged, faulty or repeated is told at the end. `expected`
    is the number of records that the mirror had before it, to compare `counts.processed` with; null where nothing is
    known, at the first sync and at incremental ones.
    `began_at` and `finished_at` are the worker's clock; `retry_at`: when it is tried again of itself.
    """

    connection_id: UUID
    run_id: UUID
    mode: str
    trigger: str
    status: str
    attempt: int
    mapping_version: int
    requested_at: datetime | None
    requested_by: UUID | None
    began_at: datetime | None
    finished_at: datetime | None
    duration_seconds: float | None
    counts: SyncCounts
    expected: int | None
    failure: str | None
    code: str | None
    facts: dict[str, Any] | None
    retry_at: datetime | None
    reason: str | None
    first_position: int


class Run(RunListed, frozen=True, kw_only=True):
    """A sync with what was wrong in its rows: the first 200 faults; `counts.faulty` counts all rows left out."""

    faults: tuple[SyncFault, ...]


connections_table = Table("connections_connections", ConnectionRow, key=("connection_id",))
mappings_table = Table("connections_mappings", MappingRow, key=("connection_id", "version"), append_only=True)
runs_table = Table("connections_runs", RunRow, key=("connection_id", "run_id"))
mirrors_table = Table("connections_mirrors", MirrorRow, key=("connection_id",))


def opened(row: ConnectionRow | None, seen: Seen, key: Key) -> ConnectionRow:
    event: ConnectionOpened = seen.event
    return ConnectionRow(
        connection_id=key[0],
        name=event.name,
        kind=event.kind,
        upstream=event.upstream,
        username=None,
        credentials_at=None,
        schedule=None,
        mapping_version=0,
        currency=None,
        status=OPEN,
        reason=None,
        opened_at=seen.recorded_at,
        opened_by=identity(seen.raw_actor),
        updated_at=seen.recorded_at,
    )


def revised(row: ConnectionRow | None, seen: Seen, key: Key) -> ConnectionRow:
    event: ConnectionRevised = seen.event
    dropped = {"username": None, "credentials_at": None} if event.credentials_dropped else {}
    return _changed(row, seen, **event.now.given(), **dropped)


def credentials_replaced(row: ConnectionRow | None, seen: Seen, key: Key) -> ConnectionRow:
    return _changed(row, seen, username=seen.event.username, credentials_at=seen.recorded_at)


def mapping_chosen(row: ConnectionRow | None, seen: Seen, key: Key) -> ConnectionRow:
    """A mapping without money leaves the currency that there was: it is fixed."""
    event: MappingSet = seen.event
    currency = event.currency or (row and row.currency)
    return _changed(row, seen, mapping_version=event.mapping.version, currency=currency)


def schedule_set(row: ConnectionRow | None, seen: Seen, key: Key) -> ConnectionRow:
    return _changed(row, seen, schedule=seen.event.now)


def disabled(row: ConnectionRow | None, seen: Seen, key: Key) -> ConnectionRow:
    return _changed(row, seen, status=DISABLED, reason=seen.event.reason)


def enabled(row: ConnectionRow | None, seen: Seen, key: Key) -> ConnectionRow:
    return _changed(row, seen, status=OPEN, reason=None)


def closed(row: ConnectionRow | None, seen: Seen, key: Key) -> ConnectionRow:
    return _changed(row, seen, status=CLOSED, reason=seen.event.reason)


def _changed(row: ConnectionRow | None, seen: Seen, **now: Any) -> ConnectionRow:
    if row is None:
        raise LookupError("the connection was never opened")
    return replace(row, updated_at=seen.recorded_at, **now)


def of_mapping(seen: Seen) -> list[Key]:
    return [(identity(seen.raw_stream_id), seen.event.mapping.version)]


def mapping_set(row: MappingRow | None, seen: Seen, key: Key) -> MappingRow:
    event: MappingSet = seen.event
    actor = identity(seen.raw_actor)
    return MappingRow(key[0], key[1], event.mapping, event.currency, seen.position, seen.recorded_at, actor)


def of_run(seen: Seen) -> list[Key]:
    return [] if seen.event.run_id is None else [(seen.event.connection_id, seen.event.run_id)]


def of_connection(seen: Seen) -> list[Key]:
    return [(seen.event.connection_id,)]


def run_requested(row: RunRow | None, seen: Seen, key: Key) -> RunRow:
    event: SyncRequested = seen.event
    asked = _new_run(seen, key, mode=event.mode, trigger="manual", status=REQUESTED)
    return replace(asked, requested_at=seen.recorded_at, requested_by=identity(seen.raw_actor))


def run_began(row: RunRow | None, seen: Seen, key: Key) -> RunRow:
    """Begun again after a crash, it goes through all rows anew; what had been changed is counted already."""
    event: SyncBegan = seen.event
    before = row or _new_run(seen, key, mode=event.mode, trigger=event.trigger, status=RUNNING)
    return replace(
        before,
        mode=event.mode,
        trigger=event.trigger,
        status=RUNNING,
        attempt=event.attempt,
        mapping_version=event.mapping_version,
        began_at=before.began_at or event.began_at,
        counts=before.counts | {"processed": 0},
    )


def _new_run(seen: Seen, key: Key, *, mode: str, trigger: str, status: str) -> RunRow:
    return RunRow(
        connection_id=key[0],
        run_id=key[1],
        first_position=seen.position,
        mode=mode,
        trigger=trigger,
        status=status,
        attempt=0,
        mapping_version=0,
        requested_at=None,
        requested_by=None,
        began_at=None,
        finished_at=None,
        counts=asdict(SyncCounts()),
        faults=(),
        failure=None,
        code=None,
        facts=None,
        retry_at=None,
        reason=None,
    )


def run_went_on(row: RunRow | None, seen: Seen, key: Key) -> RunRow:
    event: RecordsChanged = seen.event
    before, changes = _begun(row), event.changes
    more = {
        "processed": event.processed,
        "inserted": len(changes.inserted),
        "updated": len(changes.updated),
        "returned": len(changes.returned),
        "removed": len(changes.removed),
    }
    counts = {name: before.counts[name] + count for name, count in more.items()}
    return replace(before, counts=before.counts | counts)


def run_finished(row: RunRow | None, seen: Seen, key: Key) -> RunRow:
    event: SyncFinished = seen.event
    ended = replace(_begun(row), status=FINISHED, finished_at=event.finished_at)
    return replace(ended, counts=asdict(event.counts), faults=event.faults)


def run_failed(row: RunRow | None, seen: Seen, key: Key) -> RunRow:
    event: SyncFailed = seen.event
    ended = replace(_begun(row), status=FAILED, finished_at=event.finished_at, retry_at=event.retry_at)
    ended = replace(ended, counts=asdict(event.counts), faults=event.faults)
    return replace(ended, failure=event.failure, code=event.code, facts=event.facts)


def run_cancelled(row: RunRow | None, seen: Seen, key: Key) -> RunRow:
    event: SyncCancelled = seen.event
    ended = replace(_begun(row), status=CANCELLED, finished_at=seen.recorded_at, reason=event.reason)
    return replace(ended, counts=asdict(event.counts))


def _begun(row: RunRow | None) -> RunRow:
    if row is None:
        raise LookupError("the sync was never requested or begun")
    return row


def mirror_busy(row: MirrorRow | None, seen: Seen, key: Key) -> MirrorRow:
    return replace(_mirror(row, key), running_id=seen.event.run_id, last_run_id=seen.event.run_id)


def mirror_changed(row: MirrorRow | None, seen: Seen, key: Key) -> MirrorRow:
    changes = seen.event.changes
    before = _mirror(row, key)
    more = len(changes.inserted) + len(changes.returned) - len(changes.removed)
    return replace(before, records=before.records + more)


def mirror_synced(row: MirrorRow | None, seen: Seen, key: Key) -> MirrorRow:
    return replace(_mirror(row, key), running_id=None, synced_at=seen.event.finished_at, failed_at=None)


def mirror_failed(row: MirrorRow | None, seen: Seen, key: Key) -> MirrorRow:
    return replace(_mirror(row, key), running_id=None, failed_at=seen.event.finished_at)


def mirror_idle(row: MirrorRow | None, seen: Seen, key: Key) -> MirrorRow:
    return replace(_mirror(row, key), running_id=None)


def _mirror(row: MirrorRow | None, key: Key) -> MirrorRow:
    return row or MirrorRow(key[0], 0, None, None, None, None)


_ON: Final[dict[type[Event], tuple[Change, ...]]] = {
    ConnectionOpened: (change(connections_table, of_stream, opened),),
    ConnectionRevised: (change(connections_table, of_stream, revised),),
    CredentialsReplaced: (change(connections_table, of_stream, credentials_replaced),),
    MappingSet: (
        change(connections_table, of_stream, mapping_chosen),
        change(mappings_table, of_mapping, mapping_set),
    ),
    ScheduleSet: (change(connections_table, of_stream, schedule_set),),
    ConnectionDisabled: (change(connections_table, of_stream, disabled),),
    ConnectionEnabled: (change(connections_table, of_stream, enabled),),
    ConnectionClosed: (change(connections_table, of_stream, closed),),
    SyncRequested: (change(runs_table, of_run, run_requested), change(mirrors_table, of_connection, mirror_busy)),
    SyncBegan: (change(runs_table, of_run, run_began), change(mirrors_table, of_connection, mirror_busy)),
    RecordsChanged: (change(runs_table, of_run, run_went_on), change(mirrors_table, of_connection, mirror_changed)),
    SyncFinished: (change(runs_table, of_run, run_finished), change(mirrors_table, of_connection, mirror_synced)),
    SyncFailed: (change(runs_table, of_run, run_failed), change(mirrors_table, of_connection, mirror_failed)),
    SyncCancelled: (change(runs_table, of_run, run_cancelled), change(mirrors_table, of_connection, mirror_idle)),
}

projection = Projection(
    name="connections",
    version=1,
    sql=beside(__file__),
    tables=(connections_table, mappings_table, runs_table, mirrors_table),
    on=_ON,
    ignores=frozenset[type[Event]](
        (
            *actuals.actuals.events,
            *codeset.codeset.events,
            *pricebook.pricebook.events,
            *company.company.events,
            *membership.membership.events,
            *project.project.events,
            *estimate.estimate.events,
            *(event for event in OF_UPSTREAMS if event not in _ON),
        )
    ),
)


async def connections(
    reader: Reader, *, at: int, limit: int, after: UUID | None = None, status: str | None = None
) -> list[Connection]:
    """A page of connections by id, those after `after`."""
    values = {"at": at, "limit": limit, "after": after or UUID(int=0), "status": status}
    return [_shown(row) for row in await reader.rows(projection.sql["connections"], values, _Read)]


async def connection(reader: Reader, connection_id: UUID, *, at: int) -> Connection | None:
    """One connection."""
    values = {"at": at, "connection_id": connection_id}
    row = await reader.row(projection.sql["connection"], values, _Read)
    return None if row is None else _shown(row)


def _shown(row: _Read) -> Connection:
    schedule = msgspec.convert(row.schedule, Schedule | None)
    return Connection(**asdict(row) | {"schedule": schedule}, mirror_id=mirror_of(row.connection_id))


async def mappings(
    reader: Reader, connection_id: UUID, *, at: int, limit: int, after: int | None = None
) -> list[MappingRow]:
    """A page of a connection's mappings, the newest first: those of a version before `after`."""
    values = {"connection_id": connection_id, "at": at, "limit": limit, "after": 2**31 - 1 if after is None else after}
    return [_mapping(row) for row in await reader.rows(projection.sql["mappings"], values, MappingRow)]


async def mapping(reader: Reader, connection_id: UUID, version: int, *, at: int) -> MappingRow | None:
    """One mapping of a connection, by its version."""
    values = {"connection_id": connection_id, "at": at, "version": version}
    row = await reader.row(projection.sql["mapping"], values, MappingRow)
    return None if row is None else _mapping(row)


def _mapping(row: MappingRow) -> MappingRow:
    return replace(row, mapping=msgspec.convert(row.mapping, FieldMapping))


async def runs(
    reader: Reader,
    connection_id: UUID,
    *,
    at: int,
    limit: int,
    after: int | None = None,
    status: str | None = None,
) -> list[RunListed]:
    """A page of a connection's syncs, the latest first: those that came about before the position `after`."""
    values = {
        "connection_id": connection_id,
        "at": at,
        "limit": limit,
        "after": POSITION_MAX if after is None else after,
        "status": status,
    }
    found = await reader.rows(projection.sql["runs"], values, RunListed)
    return [replace(row, counts=msgspec.convert(row.counts, SyncCounts)) for row in found]


async def run(reader: Reader, connection_id: UUID, run_id: UUID, *, at: int) -> Run | None:
    """One sync, with its faults."""
    values = {"connection_id": connection_id, "run_id": run_id, "at": at}
    row = await reader.row(projection.sql["run"], values, Run)
    if row is None:
        return None
    faults = msgspec.convert(row.faults, tuple[SyncFault, ...])
    return replace(row, counts=msgspec.convert(row.counts, SyncCounts), faults=faults)
