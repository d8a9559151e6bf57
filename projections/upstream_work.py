"""What waits for the syncer: runs that were asked for, schedules, and changesets on their way back."""

from datetime import datetime
from typing import Any, Final
from uuid import UUID

import msgspec
from msgspec.structs import replace

from domain.changeset_events import ChangesetOpened
from domain.connection_events import Mode, Schedule
from domain.mirror_events import Trigger
from eventstore import log
from eventstore.db import Reader
from eventstore.log import POSITION_MAX
from eventstore.sql import beside

SQL: Final = beside(__file__)
_NOW: Final = {"at": POSITION_MAX}
_OPENED: Final = str(ChangesetOpened.__struct_config__.tag)


class WaitingRun(msgspec.Struct, frozen=True):
    """The last run of a connection, which is not over; `retry_at` of one that failed and is tried again."""

    connection_id: UUID
    run_id: UUID
    mode: Mode
    trigger: Trigger
    status: str
    retry_at: datetime | None


class Scheduled(msgspec.Struct, frozen=True):
    """A connection that is synced of itself. `began_at`: its last run, of whatever kind."""

    connection_id: UUID
    schedule: Schedule
    updated_at: datetime
    began_at: datetime | None
    since_full: int


class KnownRun(msgspec.Struct, frozen=True):
    """A run: the position of the event that brought it about, and how it failed, if it did."""

    first_position: int = 0
    failure: str | None = None
    code: str | None = None
    facts: dict[str, Any] | None = None
    retry_at: datetime | None = None


class OpenChangeset(msgspec.Struct, frozen=True):
    """A changeset that is not through."""

    changeset_id: UUID
    connection_id: UUID


async def waiting_runs(reader: Reader) -> list[WaitingRun]:
    """Of the bound company."""
    return await reader.rows(SQL["waiting_runs"], _NOW, WaitingRun)


async def scheduled(reader: Reader) -> list[Scheduled]:
    """Of the bound company."""
    found = await reader.rows(SQL["scheduled"], _NOW, Scheduled)
    return [replace(row, schedule=msgspec.convert(row.schedule, Schedule)) for row in found]


async def known_run(reader: Reader, connection_id: UUID, run_id: UUID) -> KnownRun | None:
    """A run; None for one that nobody knows."""
    values = {"connection_id": connection_id, "run_id": run_id, **_NOW}
    return await reader.row(SQL["known_run"], values, KnownRun)


async def open_changesets(reader: Reader) -> list[OpenChangeset]:
    """Of the bound company, the first first."""
    return await reader.rows(SQL["open_changesets"], _NOW, OpenChangeset)


async def opened_changesets(reader: Reader, *, after: int, to: int) -> list[OpenChangeset]:
    """Those of the bound company that a piece of the log opens, in order: known before any read model tells of them."""
    found = [each.decoded() for each in await log.read_log(reader, after=after, to=to, types=[_OPENED])]
    return [
        OpenChangeset(each.stream_id, each.event.connection_id)
        for each in found
        if isinstance(each.event, ChangesetOpened)
    ]
