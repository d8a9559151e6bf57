"""Every change of an estimate version: who, when, which field, from what to what."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from domain import company, membership, project
from domain.decider import Event
from domain.estimate_events import (
    EstimateStarted,
    EstimateSubmitted,
    LineAdded,
    LineMoved,
    LineRemoved,
    LineRevised,
    LinesImported,
    MarginChanged,
    NotesChanged,
)
from domain.lines import Totals, counted
from eventstore.db import Reader
from eventstore.log import POSITION_MAX
from eventstore.sql import beside
from projections.projection import Key, Projection, Seen, Table, changes, identity


class VersionChange(msgspec.Struct, frozen=True):
    """One changed field; or one thing that came or went as a whole, `field` null then. `was` and `now` are JSON values,
    decimals in them strings. Of an import there is one change per 500 lines, with their count and total.
    """

    estimate_id: UUID
    position: int
    seq: int
    recorded_at: datetime
    actor: UUID
    type: str
    line_id: UUID | None
    field: str | None
    was: Any
    now: Any


class Told(msgspec.Struct, frozen=True):
    """What a change tells, before it is placed in time."""

    line_id: UUID | None
    field: str | None
    was: Any
    now: Any


changes_table = Table(
    "version_history_changes", VersionChange, key=("estimate_id", "position", "seq"), append_only=True
)


def _as_row(row: VersionChange | None, seen: Seen, part: tuple[int, Told]) -> VersionChange:
    seq, told = part
    return VersionChange(
        identity(seen.raw_stream_id),
        seen.position,
        seq,
        seen.recorded_at,
        identity(seen.raw_actor),
        seen.type,
        told.line_id,
        told.field,
        told.was,
        told.now,
    )


def _placed(seen: Seen, told: Iterable[Told]) -> list[tuple[Key, tuple[int, Told]]]:
    return [((seq,), (seq, each)) for seq, each in enumerate(told)]


def _fields(line_id: UUID | None, was: dict[str, Any], now: dict[str, Any]) -> list[Told]:
    return [Told(line_id, name, was.get(name), value) for name, value in now.items()]


def started(seen: Seen) -> list[tuple[Key, tuple[int, Told]]]:
    event: EstimateStarted = seen.event
    now = {
        "version": event.version,
        "currency": event.currency,
        "target_margin": event.target_margin,
        "parent_id": event.parent_id,
        "title": event.title,
        "notes": event.notes,
    }
    return _placed(seen, [Told(None, None, None, now)])


def line_added(seen: Seen) -> list[tuple[Key, tuple[int, Told]]]:
    event: LineAdded = seen.event
    return _placed(seen, [Told(event.line.line_id, None, None, event.line)])


def line_removed(seen: Seen) -> list[tuple[Key, tuple[int, Told]]]:
    event: LineRemoved = seen.event
    return _placed(seen, [Told(event.line.line_id, None, event.line, None)])


def line_changed(seen: Seen) -> list[tuple[Key, tuple[int, Told]]]:
    event: LineRevised | LineMoved = seen.event
    return _placed(seen, _fields(event.line_id, event.was.given(), event.now.given()))


def lines_imported(seen: Seen) -> list[tuple[Key, tuple[int, Told]]]:
    event: LinesImported = seen.event
    totals = Totals()
    for line in event.lines:
        totals = totals.plus(counted(line))
    now = {"source": event.source, "line_count": len(event.lines), "totals": totals}
    return _placed(seen, [Told(None, None, None, now)])


def margin_changed(seen: Seen) -> list[tuple[Key, tuple[int, Told]]]:
    return _placed(seen, [Told(None, "target_margin", seen.event.was, seen.event.now)])


def notes_changed(seen: Seen) -> list[tuple[Key, tuple[int, Told]]]:
    return _placed(seen, _fields(None, seen.event.was.given(), seen.event.now.given()))


def submitted(seen: Seen) -> list[tuple[Key, tuple[int, Told]]]:
    event: EstimateSubmitted = seen.event
    now = {
        "content_hash": event.content_hash,
        "totals": event.totals,
        "target_margin": event.target_margin,
        "final_bid": event.final_bid,
        "line_count": event.line_count,
    }
    return _placed(seen, [Told(None, None, None, now)])


projection = Projection(
    name="version_history",
    version=1,
    sql=beside(__file__),
    tables=(changes_table,),
    on={
        EstimateStarted: (changes(changes_table, started, _as_row),),
        LineAdded: (changes(changes_table, line_added, _as_row),),
        LineRemoved: (changes(changes_table, line_removed, _as_row),),
        LineRevised: (changes(changes_table, line_changed, _as_row),),
        LineMoved: (changes(changes_table, line_changed, _as_row),),
        LinesImported: (changes(changes_table, lines_imported, _as_row),),
        MarginChanged: (changes(changes_table, margin_changed, _as_row),),
        NotesChanged: (changes(changes_table, notes_changed, _as_row),),
        EstimateSubmitted: (changes(changes_table, submitted, _as_row),),
    },
    ignores=frozenset[type[Event]]((*company.company.events, *membership.membership.events, *project.project.events)),
)


async def of_estimate(
    reader: Reader,
    estimate_id: UUID,
    *,
    at: int,
    limit: int,
    after: tuple[int, int] | None = None,
    line_id: UUID | None = None,
) -> list[VersionChange]:
    """A page of an estimate's changes, newest first, those older than the (position, seq) `after`; of one line if
    asked.
    """
    position, seq = after or (POSITION_MAX, 0)
    values = {
        "estimate_id": estimate_id,
        "at": at,
        "limit": limit,
        "after_position": position,
        "after_seq": seq,
        "line_id": line_id,
    }
    statement = projection.sql["of_estimate" if line_id is None else "of_line"]
    return await reader.rows(statement, values, VersionChange)
