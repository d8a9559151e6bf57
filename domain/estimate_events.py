"""What happens to an estimate version: the events that are stored."""

from datetime import date
from decimal import Decimal
from typing import Literal, TypeAlias, assert_never
from uuid import UUID

from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from domain.decider import Event
from domain.estimate_commands import Status
from domain.lines import Counted, Line, LineChange, LinePlace, Totals
from domain.markups import BridgeStep, Markup
from domain.money import EXACT, ZERO
from domain.risks import Risk, RiskChange, RiskStatus, contribution
from domain.simulation import SimulationEvent
from domain.subset import Change


class Classification(Change, frozen=True):
    """Class and basis of estimate before or after a change."""

    aace_class: int | UnsetType | None = UNSET
    basis: str | UnsetType | None = UNSET


class Notes(Change, frozen=True):
    """Title and notes before or after a change."""

    title: str | UnsetType | None = UNSET
    notes: str | UnsetType | None = UNSET


class Occurrence(Change, frozen=True):
    """What an occurred risk cost, and when it came true, before or after a correction."""

    occurred_cost: Decimal | UnsetType = UNSET
    occurred_on: date | UnsetType = UNSET


class EstimateStarted(Event, frozen=True, kw_only=True, tag="estimate.started"):
    """With a parent, `LinesImported` and `RisksCopied` events with its lines and risks follow in the same append."""

    project_id: UUID
    version: int
    currency: str
    target_margin: Decimal
    parent_id: UUID | None = None
    title: str | None = None
    notes: str | None = None
    effective_on: date | None = None
    aace_class: int | None = None
    basis: str | None = None
    markups: tuple[Markup, ...] = ()


class LineAdded(Event, frozen=True, kw_only=True, tag="estimate.line-added"):
    line: Line


class LineRevised(Event, frozen=True, kw_only=True, tag="estimate.line-revised"):
    """`was` and `now` hold only what changed; the two counted amounts are always there, equal or not."""

    line_id: UUID
    was: LineChange
    now: LineChange
    counted_was: Counted
    counted_now: Counted


class LineMoved(Event, frozen=True, kw_only=True, tag="estimate.line-moved"):
    line_id: UUID
    was: LinePlace
    now: LinePlace


class LineRemoved(Event, frozen=True, kw_only=True, tag="estimate.line-removed"):
    """Carries the line as it last was."""

    line: Line


class LineRestored(Event, frozen=True, kw_only=True, tag="estimate.line-restored"):
    """A removal was undone. The line is as it was, at its old place or next to it."""

    line: Line


class LinesRemoved(Event, frozen=True, kw_only=True, tag="estimate.lines-removed"):
    """An import was undone: one part of it, as it was."""

    lines: tuple[Line, ...]


class LinesImported(Event, frozen=True, kw_only=True, tag="estimate.lines-imported"):
    """Part of one import or copy: at most 500 lines, the parts in order, all in one append."""

    source: Literal["import", "parent"]
    lines: tuple[Line, ...]


class MarginChanged(Event, frozen=True, kw_only=True, tag="estimate.margin-changed"):
    was: Decimal
    now: Decimal


class NotesChanged(Event, frozen=True, kw_only=True, tag="estimate.notes-changed"):
    was: Notes
    now: Notes


class MarkupsSet(Event, frozen=True, kw_only=True, tag="estimate.markups-set"):
    was: tuple[Markup, ...]
    now: tuple[Markup, ...]


class RiskAdded(Event, frozen=True, kw_only=True, tag="estimate.risk-added"):
    risk: Risk


class RiskRevised(Event, frozen=True, kw_only=True, tag="estimate.risk-revised"):
    """`was` and `now` hold only what changed. `adjusted_was` and `adjusted_now`, here and in the events below, are what
    the risk adds to the risk adjustment; they are always there, equal or not.
    """

    risk_id: UUID
    was: RiskChange
    now: RiskChange
    adjusted_was: Decimal
    adjusted_now: Decimal


class MitigationApplied(Event, frozen=True, kw_only=True, tag="estimate.mitigation-applied"):
    risk_id: UUID
    applied_on: date
    adjusted_was: Decimal
    adjusted_now: Decimal


class MitigationWithdrawn(Event, frozen=True, kw_only=True, tag="estimate.mitigation-withdrawn"):
    """`reason` is None when an undo did it."""

    risk_id: UUID
    applied_on: date
    adjusted_was: Decimal
    adjusted_now: Decimal
    reason: str | None = None


class RiskClosed(Event, frozen=True, kw_only=True, tag="estimate.risk-closed"):
    """Once the version is submitted its risk adjustment is frozen, and the two adjusted amounts are equal."""

    risk_id: UUID
    closed_on: date
    adjusted_was: Decimal
    adjusted_now: Decimal
    reason: str | None = None


class RiskReopened(Event, frozen=True, kw_only=True, tag="estimate.risk-reopened"):
    """As for a closed risk, the adjusted amounts are equal once the version is submitted."""

    risk_id: UUID
    closed_on: date
    adjusted_was: Decimal
    adjusted_now: Decimal
    closed_because: str | None = None
    reason: str | None = None


class RiskOccurred(Event, frozen=True, kw_only=True, tag="estimate.risk-occurred"):
    """Only of a submitted version, whose risk adjustment is frozen. The cost is booked in the project's actuals."""

    risk_id: UUID
    cost: Decimal
    occurred_on: date
    actuals_id: UUID
    note: str | None = None


class OccurrenceCorrected(Event, frozen=True, kw_only=True, tag="estimate.risk-cost-corrected"):
    """What an occurred risk is said to have cost was corrected in the actuals it is booked in. Nothing of the bid."""

    risk_id: UUID
    was: Occurrence
    now: Occurrence
    actuals_id: UUID
    reason: str


class RiskRemoved(Event, frozen=True, kw_only=True, tag="estimate.risk-removed"):
    """Carries the risk as it last was."""

    risk: Risk


class RiskRestored(Event, frozen=True, kw_only=True, tag="estimate.risk-restored"):
    """A removal was undone."""

    risk: Risk


class RisksCopied(Event, frozen=True, kw_only=True, tag="estimate.risks-copied"):
    """The parent's risks: at most 500, in one append with the start."""

    risks: tuple[Risk, ...]


class Classified(Event, frozen=True, kw_only=True, tag="estimate.classified"):
    was: Classification
    now: Classification
    reason: str | None = None


class Tagged(Event, frozen=True, kw_only=True, tag="estimate.tagged"):
    """Marks the position it stands at; `final_bid` is the bid at that moment."""

    tag: str
    final_bid: Decimal


class Untagged(Event, frozen=True, kw_only=True, tag="estimate.untagged"):
    tag: str


class EstimateStatusChanged(Event, frozen=True, kw_only=True, tag="estimate.status-changed"):
    was: Status
    now: Status
    reason: str | None = None


class ChangeUndone(Event, frozen=True, kw_only=True, tag="estimate.change-undone"):
    """The change that this command made, at these versions of the stream, is taken back by the events that follow in
    the same append.
    """

    stream_versions: tuple[int, ...]
    command_id: UUID


class EstimateSubmitted(Event, frozen=True, kw_only=True, tag="estimate.submitted"):
    """`content_hash` is of the bytes that `domain.content` defines for this `content_format`. `bridge` leads from the
    base total to the final bid, and `cost` is what the margin is put on; both are missing from submissions of format
    1, whose cost was the base total.
    """

    content_hash: str
    totals: Totals
    target_margin: Decimal
    final_bid: Decimal
    line_count: int
    content_format: int = 1
    risk_adjustment: Decimal = ZERO
    cost: Decimal | None = None
    bridge: tuple[BridgeStep, ...] = ()
    risk_count: int = 0
    aace_class: int | None = None


RiskEvent: TypeAlias = (
    RiskAdded
    | RiskRevised
    | MitigationApplied
    | MitigationWithdrawn
    | RiskClosed
    | RiskReopened
    | RiskOccurred
    | OccurrenceCorrected
    | RiskRemoved
    | RiskRestored
    | RisksCopied
)
EstimateEvent: TypeAlias = (
    EstimateStarted
    | LineAdded
    | LineRevised
    | LineMoved
    | LineRemoved
    | LineRestored
    | LinesRemoved
    | LinesImported
    | MarginChanged
    | NotesChanged
    | MarkupsSet
    | RiskEvent
    | Classified
    | Tagged
    | Untagged
    | EstimateStatusChanged
    | ChangeUndone
    | EstimateSubmitted
    | SimulationEvent
)


def adjustment_after(adjustment: Decimal, event: RiskEvent) -> Decimal:
    """The estimate's risk adjustment once the event is counted."""
    match event:
        case RiskAdded(risk=risk) | RiskRestored(risk=risk):
            return EXACT.add(adjustment, contribution(risk))
        case RiskRemoved(risk=risk):
            return EXACT.subtract(adjustment, contribution(risk))
        case RisksCopied(risks=risks):
            for risk in risks:
                adjustment = EXACT.add(adjustment, contribution(risk))
            return adjustment
        case RiskOccurred() | OccurrenceCorrected():
            return adjustment
        case _:
            return EXACT.add(EXACT.subtract(adjustment, event.adjusted_was), event.adjusted_now)


def risk_after(risk: Risk, event: RiskEvent) -> Risk:
    """The one risk an event is about, once it happened."""
    match event:
        case RiskRevised() | OccurrenceCorrected():
            return replace(risk, **event.now.given())
        case MitigationApplied():
            return replace(risk, status="mitigated", mitigated_on=event.applied_on)
        case MitigationWithdrawn():
            return replace(risk, status="open", mitigated_on=None)
        case RiskClosed():
            return replace(risk, status="closed", closed_on=event.closed_on, closed_because=event.reason)
        case RiskReopened():
            return replace(risk, status=status_before_closing(risk), closed_on=None, closed_because=None)
        case RiskOccurred():
            return replace(risk, status="occurred", occurred_on=event.occurred_on, occurred_cost=event.cost)
        case RiskAdded() | RiskRestored() | RiskRemoved():
            return event.risk
        case RisksCopied():
            return next(copied for copied in event.risks if copied.risk_id == risk.risk_id)
    assert_never(event)


def status_before_closing(risk: Risk) -> RiskStatus:
    """What a closed risk was, and is again when it is reopened."""
    return "open" if risk.mitigated_on is None else "mitigated"
