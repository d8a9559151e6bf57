"""What happened in the company: who did what to which thing, from where, and what it was before."""

from datetime import datetime
from functools import lru_cache
from typing import Any
from uuid import UUID

import msgspec

from domain.actuals import (
    BaselineChanged,
    CostCorrected,
    CostRemoved,
    CostsRecorded,
    DurationSet,
    FindingRemoved,
    FindingRevised,
    Reopened,
    RiskCostCorrected,
    VarianceExplained,
)
from domain.changeset_events import ConflictsFound, ConflictsSettled, ItemsAdded, PushBegan, RecordsAnswered
from domain.codeset import CodesImported
from domain.company import CompanyRegistered, CompanyRenamed
from domain.connection_events import ConnectionOpened, ConnectionRevised, CredentialsReplaced, MappingSet
from domain.decider import WITHHELD, Event, tag_of
from domain.drafts_events import (
    CommitBegan,
    CommitEnded,
    DraftsCleared,
    DraftsDiscarded,
    DraftsRestored,
    DraftsSaved,
)
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
    OccurrenceCorrected,
    RiskRemoved,
    RiskRevised,
    RisksCopied,
)
from domain.membership import MemberAdded, TokenIssued
from domain.mirror_events import RecordsChanged, SyncFailed, SyncFinished, mirror_of
from domain.pricebook import PricesImported
from domain.project import ProjectCreated, ProjectRenamed, ProjectRestored
from domain.registry import EVENTS
from domain.simulation import SimulationCompleted, SimulationRequested
from eventstore import actors
from eventstore.db import Reader
from eventstore.log import POSITION_MAX, Metadata
from eventstore.sql import beside
from eventstore.vault import Keys, Origin, Vault, subject_of_actor, subjects_in
from projections.projection import Change, Key, Projection, Seen, Table, change, identity, of_stream


class ActivityRow(msgspec.Struct, frozen=True):
    """An entry as it is stored: without names, which change. What is about a person is sealed, `origin` as a whole."""

    position: int
    seq: int
    recorded_at: datetime
    actor: UUID
    type: str
    category: str
    entity_id: UUID
    was: Any
    now: Any
    origin: str | None


class NameRow(msgspec.Struct, frozen=True):
    """What a company, member, project or estimate is called. A member's name is sealed."""

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


class _Entry(msgspec.Struct, frozen=True):
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
    origin: str | None


_ADDED = tag_of(MemberAdded)
_PERSON = "membership"

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
    if isinstance(event, SimulationRequested):
        asked = {"trials": event.trials, "seed": event.seed, "method": event.method, "risk_count": len(event.risks)}
        return None, {"simulation_id": event.simulation_id, **asked}
    if isinstance(event, SimulationCompleted):
        return None, {"simulation_id": event.simulation_id, "mean": event.figures.mean}
    if isinstance(event, LineRemoved):
        return event.line, None
    if isinstance(event, LineRevised | LineMoved):
        return {"line_id": event.line_id, **event.was.given()}, {"line_id": event.line_id, **event.now.given()}
    if isinstance(event, CostsRecorded):
        return None, {"entry_count": len(event.entries)}
    if isinstance(event, CodesImported):
        return None, {"code_count": len(event.codes)}
    if isinstance(event, PricesImported):
        return None, {"price_count": len(event.prices)}
    if isinstance(event, CostCorrected):
        named = {"entry_id": event.entry_id}
        return named | event.was.given(), named | event.now.given() | {"reason": event.reason}
    if isinstance(event, RiskCostCorrected | OccurrenceCorrected):
        named = {"risk_id": event.risk_id}
        return named | event.was.given(), named | event.now.given() | {"reason": event.reason}
    if isinstance(event, CostRemoved):
        return event.entry, {"reason": event.reason}
    if isinstance(event, FindingRevised):
        named = {"finding_id": event.finding_id}
        return named | event.was.given(), named | event.now.given()
    if isinstance(event, FindingRemoved):
        return event.finding, None
    if isinstance(event, BaselineChanged):
        return {"baseline_id": event.was}, {"baseline_id": event.now, "reason": event.reason}
    if isinstance(event, DurationSet):
        return {"scope": event.scope, "days": event.was}, {"scope": event.scope, "days": event.now}
    if isinstance(event, VarianceExplained):
        return {"scope": event.scope, "said": event.was}, {"scope": event.scope, "said": event.now}
    if isinstance(event, CredentialsReplaced):
        return None, {"username": event.username, "secret": WITHHELD}
    if isinstance(event, ConnectionRevised):
        dropped = {"credentials_dropped": True} if event.credentials_dropped else {}
        return event.was, event.now.given() | dropped
    if isinstance(event, MappingSet):
        mapping = event.mapping
        return None, {"version": mapping.version, "field_count": len(mapping.fields), "currency": event.currency}
    if isinstance(event, SyncFinished | SyncFailed):
        told = msgspec.structs.asdict(event)
        return None, told | {"faults": len(event.faults)}
    if isinstance(event, _OF_MANY_RECORDS):
        return None, _counted(event)
    if isinstance(event, Reopened):
        return {"finished_on": event.was}, {"reason": event.reason}
    if isinstance(event, ProjectRestored) or not hasattr(event, "was"):
        return None, event
    return event.was, event.now


_OF_MANY_RECORDS = (
    *(DraftsSaved, DraftsDiscarded, DraftsRestored, DraftsCleared),
    *(ConflictsFound, ConflictsSettled, PushBegan, RecordsAnswered),
)


def _counted(event: Any) -> dict[str, Any]:
    """Lists by how long they are."""
    told = msgspec.structs.asdict(event)
    return {name: len(value) if isinstance(value, tuple) else value for name, value in told.items()}


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
        _origin(metadata),
    )


def _origin(metadata: Metadata) -> str | None:
    """As it is in the log: sealed, but for events older than that."""
    if metadata.ip is None and metadata.user_agent is None:
        return metadata.origin
    return msgspec.json.encode(Origin(metadata.ip, metadata.user_agent)).decode()


def of_connection(seen: Seen) -> list[Key]:
    """A connection, and its mirror, which is called the same."""
    connection_id = identity(seen.raw_stream_id)
    return [(connection_id,), (mirror_of(connection_id),)]


def at_position(seen: Seen) -> list[Key]:
    return [(seen.position, 0)]


def named(row: NameRow | None, seen: Seen, key: Key) -> NameRow:
    return NameRow(key[0], seen.event.name)


def renamed(row: NameRow | None, seen: Seen, key: Key) -> NameRow:
    return NameRow(key[0], seen.event.now)


def estimate_started(row: NameRow | None, seen: Seen, key: Key) -> NameRow:
    event: EstimateStarted = seen.event
    return NameRow(key[0], event.title or f"version {event.version}")


def connection_revised(row: NameRow | None, seen: Seen, key: Key) -> NameRow | None:
    name: str | msgspec.UnsetType = seen.event.now.name
    return NameRow(key[0], name) if isinstance(name, str) else row


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
    ConnectionOpened: change(names_table, of_connection, named),
    ConnectionRevised: change(names_table, of_connection, connection_revised),
    EstimateStarted: change(names_table, of_stream, estimate_started),
    NotesChanged: change(names_table, of_stream, title_changed),
}

_UNTOLD = frozenset[type[Event]]((RecordsChanged, ItemsAdded, CommitBegan, CommitEnded))
"""Parts of what is told as a whole: what a sync changed is counted when it ends, a changeset when it is opened."""

projection = Projection(
    name="activity_log",
    version=2,
    sql=beside(__file__),
    tables=(entries_table, names_table),
    on={
        event: (noting, _NAMING[event]) if event in _NAMING else (noting,)
        for event in EVENTS.values()
        if event not in _UNTOLD
    },
    ignores=_UNTOLD,
)


async def entries(
    reader: Reader,
    vault: Vault,
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
    rows = await reader.rows(projection.sql["entries"], values, _Entry)
    keys = await vault.fetch(reader, {subject for row in rows for subject in _subjects(reader.tenant, row)})
    return [_shown(row, keys) for row in rows]


def _subjects(tenant: UUID, row: _Entry) -> list[UUID]:
    """Whose keys an entry may need."""
    told = [part for part in (row.was, row.now) if isinstance(part, dict)]
    found = [subject for part in told for subject in subjects_in(row.type, row.entity_id, part)]
    return [subject_of_actor(tenant, row.actor), *([row.entity_id] if row.category == _PERSON else ()), *found]


def _shown(row: _Entry, keys: Keys) -> Activity:
    origin = keys.shown_origin(subject_of_actor(keys.tenant, row.actor), row.origin)
    return Activity(
        row.position,
        row.seq,
        row.recorded_at,
        row.actor,
        actors.NAMES.get(row.actor) or _shown_name(row.actor, row.actor_name, keys),
        row.type,
        row.category,
        row.entity_id,
        _shown_name(row.entity_id, row.entity_name, keys) if row.category == _PERSON else row.entity_name,
        _shown_part(row, row.was, keys),
        _shown_part(row, row.now, keys),
        origin.ip,
        origin.user_agent,
    )


def _shown_name(member_id: UUID, name: str | None, keys: Keys) -> str | None:
    return None if name is None else keys.shown(member_id, _ADDED, "name", name)


def _shown_part(row: _Entry, part: Any, keys: Keys) -> Any:
    return keys.shown_fields(row.type, row.entity_id, part) if isinstance(part, dict) else part
