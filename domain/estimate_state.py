"""The state of an estimate version, and how each event changes it."""

from datetime import date
from decimal import Decimal
from typing import assert_never
from uuid import UUID

from msgspec.structs import replace

from domain.decider import Rejected, State
from domain.estimate_commands import Status
from domain.estimate_events import (
    ChangeUndone,
    Classified,
    EstimateEvent,
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
    RiskEvent,
    RiskOccurred,
    RiskRemoved,
    RiskReopened,
    RiskRestored,
    RiskRevised,
    RisksCopied,
    Tagged,
    Untagged,
    adjustment_after,
    risk_after,
)
from domain.lines import Line, Totals, counted
from domain.maps import TrieMap, trie_map
from domain.markups import Bridge, Markup, bridge
from domain.money import ZERO
from domain.ordinals import Ordinals, with_ordinal, without_ordinal
from domain.risks import Risk
from domain.simulation import (
    Simulation,
    SimulationCompleted,
    SimulationFailed,
    SimulationRequested,
    outcome_of,
)


class Estimate(State, frozen=True, kw_only=True):
    """`version` is 0 until the estimate is started. `risk_adjustment` is the sum of what the risks add to it, kept as
    it goes along and frozen with the bid; `shelved` is the status an archived version had. `stream_version` counts the
    events, which says what a simulation was made of.
    """

    version: int = 0
    project_id: UUID = UUID(int=0)
    parent_id: UUID | None = None
    currency: str = ""
    target_margin: Decimal = Decimal(0)
    title: str | None = None
    notes: str | None = None
    lines: TrieMap[UUID, Line] = trie_map()
    removed: TrieMap[UUID, bool] = trie_map()
    """Ids of lines taken out, each with True."""
    ordinals: Ordinals = ()
    totals: Totals = Totals()
    status: Status = "draft"
    shelved: Status = "draft"
    markups: tuple[Markup, ...] = ()
    risks: TrieMap[UUID, Risk] = trie_map()
    removed_risks: TrieMap[UUID, bool] = trie_map()
    risk_adjustment: Decimal = ZERO
    aace_class: int | None = None
    basis: str | None = None
    effective_on: date | None = None
    tags: tuple[str, ...] = ()
    undone: TrieMap[int, bool] = trie_map()
    """Stream versions of changes that were taken back, each with True."""
    simulations: TrieMap[UUID, Simulation] = trie_map()
    stream_version: int = 0

    @property
    def submitted(self) -> bool:
        """Whether the bid is frozen, whatever became of it since."""
        status = self.shelved if self.status == "archived" else self.status
        return status in {"submitted", "awarded", "lost"}


def bridge_of(estimate: Estimate) -> Bridge:
    """The way from its base total to its final bid."""
    return bridge(estimate.totals.base, estimate.risk_adjustment, estimate.markups, estimate.target_margin)


def existing_line(line_id: UUID, estimate: Estimate) -> Line:
    """The line. Raises Rejected."""
    line = estimate.lines.get(line_id)
    if line is not None:
        return line
    if line_id in estimate.removed:
        raise Rejected("estimate.line-removed", "conflict", line_id=str(line_id))
    raise Rejected("estimate.line-unknown", "missing", line_id=str(line_id))


def existing_risk(risk_id: UUID, estimate: Estimate) -> Risk:
    """The risk. Raises Rejected."""
    risk = estimate.risks.get(risk_id)
    if risk is not None:
        return risk
    if risk_id in estimate.removed_risks:
        raise Rejected("estimate.risk-removed", "conflict", risk_id=str(risk_id))
    raise Rejected("estimate.risk-unknown", "missing", risk_id=str(risk_id))


def evolve(estimate: Estimate, event: EstimateEvent) -> Estimate:
    return replace(_after(estimate, event), stream_version=estimate.stream_version + 1)


def _after(estimate: Estimate, event: EstimateEvent) -> Estimate:
    match event:
        case LineAdded(line=line):
            return _with_lines(estimate, (line,))
        case LineRevised():
            revised = replace(estimate.lines[event.line_id], **event.now.given())
            totals = estimate.totals.minus(event.counted_was).plus(event.counted_now)
            return replace(estimate, lines=estimate.lines.insert(event.line_id, revised), totals=totals)
        case LineMoved():
            return _with_moved(estimate, replace(estimate.lines[event.line_id], **event.now.given()))
        case LineRemoved(line=line):
            return _without_lines(estimate, (line,))
        case LineRestored(line=line):
            return _with_lines(replace(estimate, removed=estimate.removed.discard(line.line_id)), (line,))
        case LinesRemoved(lines=lines):
            return _without_lines(estimate, lines)
        case LinesImported(lines=lines):
            return _with_lines(estimate, lines)
        case MarginChanged():
            return replace(estimate, target_margin=event.now)
        case NotesChanged() | Classified():
            return replace(estimate, **event.now.given())
        case MarkupsSet():
            return replace(estimate, markups=event.now)
        case (
            RiskAdded()
            | RiskRevised()
            | MitigationApplied()
            | MitigationWithdrawn()
            | RiskClosed()
            | RiskReopened()
            | RiskOccurred()
            | OccurrenceCorrected()
            | RiskRemoved()
            | RiskRestored()
            | RisksCopied()
        ):
            return _with_risk_changed(estimate, event)
        case Tagged(tag=tag):
            return replace(estimate, tags=(*estimate.tags, tag))
        case Untagged():
            return replace(estimate, tags=tuple(tag for tag in estimate.tags if tag != event.tag))
        case EstimateStatusChanged():
            return replace(estimate, status=event.now, shelved=event.was)
        case ChangeUndone():
            return replace(estimate, undone=estimate.undone.update((each, True) for each in event.stream_versions))
        case EstimateSubmitted():
            return replace(estimate, status="submitted")
        case SimulationRequested() | SimulationCompleted() | SimulationFailed():
            simulation = _simulation_after(estimate, event)
            return replace(estimate, simulations=estimate.simulations.insert(event.simulation_id, simulation))
        case EstimateStarted():
            return _as_started(event)
    assert_never(event)


def _simulation_after(
    estimate: Estimate, event: SimulationRequested | SimulationCompleted | SimulationFailed
) -> Simulation:
    match event:
        case SimulationRequested():
            return Simulation(
                trials=event.trials, seed=event.seed, method=event.method, input_version=event.input_version
            )
        case SimulationCompleted():
            return replace(estimate.simulations[event.simulation_id], outcome=outcome_of(event.figures))
        case SimulationFailed():
            return replace(estimate.simulations[event.simulation_id], outcome=outcome_of(event.reason))


def _as_started(event: EstimateStarted) -> Estimate:
    return Estimate(
        version=event.version,
        project_id=event.project_id,
        parent_id=event.parent_id,
        currency=event.currency,
        target_margin=event.target_margin,
        title=event.title,
        notes=event.notes,
        effective_on=event.effective_on,
        aace_class=event.aace_class,
        basis=event.basis,
        markups=event.markups,
    )


def _with_lines(estimate: Estimate, lines: tuple[Line, ...]) -> Estimate:
    totals, ordinals = estimate.totals, estimate.ordinals
    for line in lines:
        totals = totals.plus(counted(line))
        ordinals = with_ordinal(ordinals, line.ordinal)
    kept = estimate.lines.update([(line.line_id, line) for line in lines])
    return replace(estimate, lines=kept, totals=totals, ordinals=ordinals)


def _with_moved(estimate: Estimate, line: Line) -> Estimate:
    others = without_ordinal(estimate.ordinals, estimate.lines[line.line_id].ordinal)
    lines = estimate.lines.insert(line.line_id, line)
    return replace(estimate, lines=lines, ordinals=with_ordinal(others, line.ordinal))


def _without_lines(estimate: Estimate, lines: tuple[Line, ...]) -> Estimate:
    totals, ordinals, kept = estimate.totals, estimate.ordinals, estimate.lines
    for line in lines:
        totals = totals.minus(counted(line))
        ordinals = without_ordinal(ordinals, line.ordinal)
        kept = kept.remove(line.line_id)
    removed = estimate.removed.update([(line.line_id, True) for line in lines])
    return replace(estimate, lines=kept, removed=removed, ordinals=ordinals, totals=totals)


def _with_risk_changed(estimate: Estimate, event: RiskEvent) -> Estimate:
    adjustment = adjustment_after(estimate.risk_adjustment, event)
    risks, removed = estimate.risks, estimate.removed_risks
    match event:
        case RisksCopied():
            risks = risks.update([(risk.risk_id, risk) for risk in event.risks])
        case RiskRemoved(risk=risk):
            risks, removed = risks.remove(risk.risk_id), removed.insert(risk.risk_id, True)
        case RiskAdded(risk=risk) | RiskRestored(risk=risk):
            risks, removed = risks.insert(risk.risk_id, risk), removed.discard(risk.risk_id)
        case _:
            risks = risks.insert(event.risk_id, risk_after(risks[event.risk_id], event))
    return replace(estimate, risks=risks, removed_risks=removed, risk_adjustment=adjustment)
