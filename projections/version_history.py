"""Every change of an estimate version: who, when, which field, from what to what."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from domain import actuals, codeset, company, membership, pricebook, project
from domain.decider import Event, members
from domain.estimate_events import (
    ChangeUndone,
    Classified,
    EstimateStarted,
    EstimateStatusChanged,
    EstimateSubmitted,
    LineAdded,
    LineMoved,
    LineRemoved,
    LineRestored,
    LineRevised,
    LinesImported,
    LinesRemoved,
    MarginChanged,
    MarkupsSet,
    MitigationApplied,
    MitigationWithdrawn,
    NotesChanged,
    OccurrenceCorrected,
    RiskAdded,
    RiskClosed,
    RiskOccurred,
    RiskRemoved,
    RiskReopened,
    RiskRestored,
    RiskRevised,
    RisksCopied,
    Tagged,
    Untagged,
    adjustment_after,
)
from domain.lines import Line, Totals, counted
from domain.money import ZERO
from domain.registry import OF_UPSTREAMS
from domain.simulation import SimulationEvent
from eventstore.db import Reader
from eventstore.log import POSITION_MAX
from eventstore.sql import beside
from projections.projection import Key, Projection, Seen, Table, changes, identity


class VersionChange(msgspec.Struct, frozen=True):
    """One changed field; or one thing that came or went as a whole, `field` null then. `was` and `now` are JSON values,
    decimals in them strings. Of an import there is one change per 500 lines, with their count and total. `UndoChange`
    names a change by its `stream_version`.
    """

    estimate_id: UUID
    position: int
    seq: int
    stream_version: int
    recorded_at: datetime
    actor: UUID
    type: str
    line_id: UUID | None
    risk_id: UUID | None
    field: str | None
    was: Any
    now: Any


class Told(msgspec.Struct, frozen=True):
    """What a change tells, before it is placed in time."""

    line_id: UUID | None
    field: str | None
    was: Any
    now: Any
    risk_id: UUID | None = None


changes_table = Table(
    "version_history_changes", VersionChange, key=("estimate_id", "position", "seq"), append_only=True
)


def _as_row(row: VersionChange | None, seen: Seen, part: tuple[int, Told]) -> VersionChange:
    seq, told = part
    return VersionChange(
        identity(seen.raw_stream_id),
        seen.position,
        seq,
        seen.stream_version,
        seen.recorded_at,
        identity(seen.raw_actor),
        seen.type,
        told.line_id,
        told.risk_id,
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
        "effective_on": event.effective_on,
        "aace_class": event.aace_class,
        "basis": event.basis,
        "markups": event.markups,
    }
    return _placed(seen, [Told(None, None, None, now)])


def line_added(seen: Seen) -> list[tuple[Key, tuple[int, Told]]]:
    event: LineAdded | LineRestored = seen.event
    return _placed(seen, [Told(event.line.line_id, None, None, event.line)])


def line_removed(seen: Seen) -> list[tuple[Key, tuple[int, Told]]]:
    event: LineRemoved = seen.event
    return _placed(seen, [Told(event.line.line_id, None, event.line, None)])


def line_changed(seen: Seen) -> list[tuple[Key, tuple[int, Told]]]:
    event: LineRevised | LineMoved = seen.event
    return _placed(seen, _fields(event.line_id, event.was.given(), event.now.given()))


def lines_imported(seen: Seen) -> list[tuple[Key, tuple[int, Told]]]:
    event: LinesImported = seen.event
    now = {"source": event.source, **_counted(event.lines)}
    return _placed(seen, [Told(None, None, None, now)])


def lines_removed(seen: Seen) -> list[tuple[Key, tuple[int, Told]]]:
    event: LinesRemoved = seen.event
    return _placed(seen, [Told(None, None, _counted(event.lines), None)])


def _counted(lines: tuple[Line, ...]) -> dict[str, object]:
    totals = Totals()
    for line in lines:
        totals = totals.plus(counted(line))
    return {"line_count": len(lines), "totals": totals}


def risk_came(seen: Seen) -> list[tuple[Key, tuple[int, Told]]]:
    event: RiskAdded | RiskRestored = seen.event
    return _placed(seen, [Told(None, None, None, event.risk, event.risk.risk_id)])


def risk_removed(seen: Seen) -> list[tuple[Key, tuple[int, Told]]]:
    event: RiskRemoved = seen.event
    return _placed(seen, [Told(None, None, event.risk, None, event.risk.risk_id)])


def risk_revised(seen: Seen) -> list[tuple[Key, tuple[int, Told]]]:
    event: RiskRevised = seen.event
    was, now = event.was.given(), event.now.given()
    told = [Told(None, name, was.get(name), value, event.risk_id) for name, value in now.items()]
    return _placed(seen, [*told, *_adjustment(event)])


def _adjustment(event: Any) -> list[Told]:
    """The change of what the risk adds to the bid, if it did change."""
    was, now = event.adjusted_was, event.adjusted_now
    return [] if was == now else [Told(None, "contribution", was, now, event.risk_id)]


def risk_status_changed(seen: Seen) -> list[tuple[Key, tuple[int, Told]]]:
    event: MitigationApplied | MitigationWithdrawn | RiskClosed | RiskReopened = seen.event
    return _placed(seen, [Told(None, None, None, event, event.risk_id), *_adjustment(event)])


def risk_occurred(seen: Seen) -> list[tuple[Key, tuple[int, Told]]]:
    event: RiskOccurred = seen.event
    return _placed(seen, [Told(None, None, None, event, event.risk_id)])


def occurrence_corrected(seen: Seen) -> list[tuple[Key, tuple[int, Told]]]:
    event: OccurrenceCorrected = seen.event
    was = event.was.given()
    told = [Told(None, name, was.get(name), value, event.risk_id) for name, value in event.now.given().items()]
    return _placed(seen, told)


def risks_copied(seen: Seen) -> list[tuple[Key, tuple[int, Told]]]:
    event: RisksCopied = seen.event
    now = {"source": "parent", "risk_count": len(event.risks), "risk_adjustment": adjustment_after(ZERO, event)}
    return _placed(seen, [Told(None, None, None, now)])


def markups_set(seen: Seen) -> list[tuple[Key, tuple[int, Told]]]:
    return _placed(seen, [Told(None, "markups", seen.event.was, seen.event.now)])


def status_changed(seen: Seen) -> list[tuple[Key, tuple[int, Told]]]:
    event: EstimateStatusChanged = seen.event
    return _placed(seen, [Told(None, "status", event.was, event.now), *_reason(event.reason)])


def classified(seen: Seen) -> list[tuple[Key, tuple[int, Told]]]:
    event: Classified = seen.event
    return _placed(seen, [*_fields(None, event.was.given(), event.now.given()), *_reason(event.reason)])


def _reason(reason: str | None) -> list[Told]:
    return [] if reason is None else [Told(None, "reason", None, reason)]


def as_a_whole(seen: Seen) -> list[tuple[Key, tuple[int, Told]]]:
    return _placed(seen, [Told(None, None, None, seen.event)])


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
        "content_format": event.content_format,
        "risk_adjustment": event.risk_adjustment,
        "cost": event.cost,
        "bridge": event.bridge,
        "risk_count": event.risk_count,
        "aace_class": event.aace_class,
    }
    return _placed(seen, [Told(None, None, None, now)])


projection = Projection(
    name="version_history",
    version=2,
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
        Classified: (changes(changes_table, classified, _as_row),),
        LineRestored: (changes(changes_table, line_added, _as_row),),
        LinesRemoved: (changes(changes_table, lines_removed, _as_row),),
        RiskAdded: (changes(changes_table, risk_came, _as_row),),
        RiskRestored: (changes(changes_table, risk_came, _as_row),),
        RiskRemoved: (changes(changes_table, risk_removed, _as_row),),
        RiskRevised: (changes(changes_table, risk_revised, _as_row),),
        RisksCopied: (changes(changes_table, risks_copied, _as_row),),
        RiskOccurred: (changes(changes_table, risk_occurred, _as_row),),
        OccurrenceCorrected: (changes(changes_table, occurrence_corrected, _as_row),),
        MitigationApplied: (changes(changes_table, risk_status_changed, _as_row),),
        MitigationWithdrawn: (changes(changes_table, risk_status_changed, _as_row),),
        RiskClosed: (changes(changes_table, risk_status_changed, _as_row),),
        RiskReopened: (changes(changes_table, risk_status_changed, _as_row),),
        MarkupsSet: (changes(changes_table, markups_set, _as_row),),
        EstimateStatusChanged: (changes(changes_table, status_changed, _as_row),),
        Tagged: (changes(changes_table, as_a_whole, _as_row),),
        Untagged: (changes(changes_table, as_a_whole, _as_row),),
        ChangeUndone: (changes(changes_table, as_a_whole, _as_row),),
        EstimateSubmitted: (changes(changes_table, submitted, _as_row),),
    },
    ignores=frozenset[type[Event]](
        (
            *actuals.actuals.events,
            *codeset.codeset.events,
            *pricebook.pricebook.events,
            *company.company.events,
            *membership.membership.events,
            *project.project.events,
            *members(SimulationEvent),  # they change nothing in an estimate
            *OF_UPSTREAMS,
        )
    ),
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
