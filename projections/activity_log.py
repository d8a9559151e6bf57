"""What happened in the company: who did what to which thing, from where, and what it was before."""

from datetime import datetime
from functools import lru_cache
from typing import Any
from uuid import UUID

import msgspec

from domain.company import CompanyRegistered, CompanyRenamed
from domain.decider import Event
from domain.estimate_events import (
    Classified,
    EstimateStarted,
    EstimateStatusChanged,
    LineMoved,
    LineRemoved,
    LineRevised,
    LinesImported,
    LinesRemoved,
    NotesChanged,
    RiskRemoved,
    RiskRevised,
    RisksCopied,
)
from domain.membership import MemberAdded, TokenIssued
from domain.project import ProjectCreated, ProjectRenamed, ProjectRestored
from domain.registry import EVENTS
from eventstore.db import Reader
from eventstore.log import POSITION_MAX, Metadata
from eventstore.sql import beside
from projections.projection import Change, Key, Projection, Seen, Table, change, identity, of_stream


class ActivityRow(msgspec.Struct, frozen=True):
    """An entry as it is stored: without names, which change."""

    position: int
    seq: int
    recorded_at: datetime
    actor: UUID
    type: str
    category: str
    entity_id: UUID
    was: Any
    now: Any
    ip: str | None
    user_agent: str | None


class NameRow(msgspec.Struct, frozen=True):
    """What a company, member, project or estimate is called."""

    entity_id: UUID
    name: str


class Activity(msgspec.Struct, frozen=True):
    """One event, told to people. Names are those of the position asked about, null when the thing has none."""

    position: int
    seq: int
    recorded_at: datetime
    actor: UUID
    actor_name: str | None
    type: str
    category: str
    entity_id: UUID
    entity_name: str | None
    was: Any
    now: Any
    ip: str | None
    user_agent: str | None


entries_table = Table("activity_log_entries", ActivityRow, key=("position", "seq"), append_only=True)
names_table = Table("activity_log_names", NameRow, key=("entity_id",))


@lru_cache(maxsize=4_096)
def _came_by(raw_metadata: bytes) -> Metadata:
    return msgspec.json.decode(raw_metadata, type=Metadata)


def _told(event: Any) -> tuple[Any, Any]:
    """(was, now) as JSON values."""
    if isinstance(event, LinesImported):
        return None, {"source": event.source, "line_count": len(event.lines)}
    if isinstance(event, LinesRemoved):
        return {"line_count": len(event.lines)}, None
    if isinstance(event, RisksCopied):
        return None, {"source": "parent", "risk_count": len(event.risks)}
    if isinstance(event, EstimateStatusChanged):
        return {"status": event.was}, {"status": event.now, "reason": event.reason}
    if isinstance(event, Classified):
        return event.was, {**event.now.given(), "reason": event.reason}
    if isinstance(event, RiskRemoved):
        return event.risk, None
    if isinstance(event, RiskRevised):
        return {"risk_id": event.risk_id, **event.was.given()}, {"risk_id": event.risk_id, **event.now.given()}
    if isinstance(event, TokenIssued):
        return None, {"token_id": event.token_id, "label": event.label, "expires_at": event.expires_at}
    if isinstance(event, LineRemoved):
        return event.line, None
    if isinstance(event, LineRevised | LineMoved):
        return {"line_id": event.line_id, **event.was.given()}, {"line_id": event.line_id, **event.now.given()}
    if isinstance(event, ProjectRestored) or not hasattr(event, "was"):
        return None, event
    return event.was, event.now


def noted(row: ActivityRow | None, seen: Seen, key: Key) -> ActivityRow:
    was, now = _told(seen.event)
    metadata = _came_by(seen.raw_metadata)
    return ActivityRow(
        seen.position,
        0,
        seen.recorded_at,
        identity(seen.raw_actor),
        seen.type,
        seen.category,
        identity(seen.raw_stream_id),
        was,
        now,
        metadata.ip,
        metadata.user_agent,
    )


def at_position(seen: Seen) -> list[Key]:
    return [(seen.position, 0)]


def named(row: NameRow | None, seen: Seen, key: Key) -> NameRow:
    return NameRow(key[0], seen.event.name)


def renamed(row: NameRow | None, seen: Seen, key: Key) -> NameRow:
    return NameRow(key[0], seen.event.now)


def estimate_started(row: NameRow | None, seen: Seen, key: Key) -> NameRow:
    event: EstimateStarted = seen.event
    return NameRow(key[0], event.title or f"version {event.version}")


def title_changed(row: NameRow | None, seen: Seen, key: Key) -> NameRow | None:
    title: str | msgspec.UnsetType | None = seen.event.now.title
    return NameRow(key[0], title) if isinstance(title, str) else row


noting = change(entries_table, at_position, noted)
_NAMING: dict[type[Event], Change] = {
    **{
        event: change(names_table, of_stream, named)
        for event in (CompanyRegistered, MemberAdded, ProjectCreated, ProjectRestored)
    },
    **{event: change(names_table, of_stream, renamed) for event in (CompanyRenamed, ProjectRenamed)},
    EstimateStarted: change(names_table, of_stream, estimate_started),
    NotesChanged: change(names_table, of_stream, title_changed),
}

projection = Projection(
    name="activity_log",
    version=2,
    sql=beside(__file__),
    tables=(entries_table, names_table),
    on={event: (noting, _NAMING[event]) if event in _NAMING else (noting,) for event in EVENTS.values()},
)


async def entries(
    reader: Reader,
    *,
    at: int,
    limit: int,
    after: tuple[int, int] | None = None,
    actor: UUID | None = None,
    category: str | None = None,
    entity_id: UUID | None = None,
) -> list[Activity]:
    """A page of what happened, newest first, entries older than the (position, seq) `after`."""
    position, seq = after or (POSITION_MAX, 0)
    values = {
        "at": at,
        "limit": limit,
        "after_position": position,
        "after_seq": seq,
        "actor": actor,
        "category": category,
        "entity_id": entity_id,
    }
    return await reader.rows(projection.sql["entries"], values, Activity)
