"""Decisions on the risks of an estimate, and what each does to the risk adjustment."""

from datetime import date
from decimal import Decimal
from typing import Any
from uuid import UUID

from msgspec.structs import replace

from domain.decider import Rejected
from domain.estimate_commands import (
    AddRisk,
    ApplyMitigation,
    CloseRisk,
    RemoveRisk,
    ReopenRisk,
    ReviseRisk,
    WithdrawMitigation,
)
from domain.estimate_events import (
    EstimateEvent,
    MitigationApplied,
    MitigationWithdrawn,
    Occurrence,
    OccurrenceCorrected,
    RiskAdded,
    RiskClosed,
    RiskOccurred,
    RiskRemoved,
    RiskReopened,
    RiskRevised,
    status_before_closing,
)
from domain.estimate_state import Estimate, existing_risk
from domain.risks import Risk, RiskChange, contribution, impact_faults, response_from, risk_from
from domain.subset import difference


def add(command: AddRisk, estimate: Estimate) -> list[EstimateEvent]:
    risk = risk_from(command)
    existing = estimate.risks.get(command.risk_id)
    if existing is None and command.risk_id not in estimate.removed_risks:
        return [RiskAdded(risk=risk)]
    if existing == risk:
        return []
    if existing is None:
        raise Rejected("estimate.risk-removed", "conflict", risk_id=str(command.risk_id))
    raise Rejected("estimate.risk-already-exists", "conflict", risk_id=str(command.risk_id))


def revise(command: ReviseRisk, estimate: Estimate) -> list[EstimateEvent]:
    wanted: dict[str, Any] = command.given()
    if "response" in wanted:
        wanted["response"] = response_from(wanted["response"])
    risk = existing_risk(command.risk_id, estimate)
    change = difference(RiskChange, risk, wanted)
    if change is None:
        return []
    _must_be_live(risk)
    return [revision(risk, *change)]


def revision(risk: Risk, was: RiskChange, now: RiskChange) -> RiskRevised:
    """The event of a change. Raises Rejected when the risk cannot be so."""
    revised = replace(risk, **now.given())
    if revised.status == "mitigated" and revised.response is None:
        raise Rejected("estimate.risk-without-response", "conflict", risk_id=str(risk.risk_id))
    if faults := [fault.as_fact() for fault in impact_faults(revised)]:
        raise Rejected("estimate.risk-impossible", risk_id=str(risk.risk_id), faults=faults)
    return RiskRevised(risk_id=risk.risk_id, was=was, now=now, **_adjusted(risk, revised))


def _adjusted(risk: Risk, after: Risk, *, frozen: bool = False) -> dict[str, Decimal]:
    was = contribution(risk)
    return {"adjusted_was": was, "adjusted_now": was if frozen else contribution(after)}


def _must_be_live(risk: Risk) -> None:
    if risk.status == "closed":
        raise Rejected("estimate.risk-closed", "conflict", risk_id=str(risk.risk_id), closed_on=str(risk.closed_on))
    if risk.status == "occurred":
        facts = {"risk_id": str(risk.risk_id), "occurred_on": str(risk.occurred_on)}
        raise Rejected("estimate.risk-occurred", "conflict", **facts)


def apply_mitigation(command: ApplyMitigation, estimate: Estimate) -> list[EstimateEvent]:
    risk = existing_risk(command.risk_id, estimate)
    if risk.status == "mitigated" and risk.mitigated_on == command.applied_on:
        return []
    _must_be_live(risk)
    if risk.status == "mitigated":
        facts = {"risk_id": str(risk.risk_id), "mitigated_on": str(risk.mitigated_on)}
        raise Rejected("estimate.risk-mitigated", "conflict", **facts)
    return [mitigated(risk, command.applied_on)]


def mitigated(risk: Risk, applied_on: date) -> MitigationApplied:
    """The event that mitigates an open risk. Raises Rejected when it has no response."""
    if risk.response is None:
        raise Rejected("estimate.risk-without-response", "conflict", risk_id=str(risk.risk_id))
    after = replace(risk, status="mitigated", mitigated_on=applied_on)
    return MitigationApplied(risk_id=risk.risk_id, applied_on=applied_on, **_adjusted(risk, after))


def withdraw_mitigation(command: WithdrawMitigation, estimate: Estimate) -> list[EstimateEvent]:
    risk = existing_risk(command.risk_id, estimate)
    if risk.status == "open":
        return []
    _must_be_live(risk)
    return [withdrawn(risk, command.reason)]


def withdrawn(risk: Risk, reason: str | None) -> MitigationWithdrawn:
    """The event that opens a mitigated risk."""
    assert risk.mitigated_on is not None
    after = replace(risk, status="open", mitigated_on=None)
    adjusted = _adjusted(risk, after)
    return MitigationWithdrawn(risk_id=risk.risk_id, applied_on=risk.mitigated_on, reason=reason, **adjusted)


def close(command: CloseRisk, estimate: Estimate) -> list[EstimateEvent]:
    risk = existing_risk(command.risk_id, estimate)
    if risk.status == "closed" and risk.closed_on == command.closed_on:
        return []
    _must_be_live(risk)
    return [closed(risk, command.closed_on, command.reason, frozen=estimate.status != "draft")]


def closed(risk: Risk, closed_on: date, reason: str | None, *, frozen: bool) -> RiskClosed:
    """The event that closes a live risk."""
    adjusted = _adjusted(risk, replace(risk, status="closed"), frozen=frozen)
    return RiskClosed(risk_id=risk.risk_id, closed_on=closed_on, reason=reason, **adjusted)


def reopen(command: ReopenRisk, estimate: Estimate) -> list[EstimateEvent]:
    risk = existing_risk(command.risk_id, estimate)
    if risk.status in {"open", "mitigated"}:
        return []
    if risk.status == "occurred":
        _must_be_live(risk)
    return [reopened(risk, command.reason, frozen=estimate.status != "draft")]


def reopened(risk: Risk, reason: str | None, *, frozen: bool) -> RiskReopened:
    """The event that opens a closed risk again."""
    assert risk.closed_on is not None
    return RiskReopened(
        risk_id=risk.risk_id,
        closed_on=risk.closed_on,
        closed_because=risk.closed_because,
        reason=reason,
        **_adjusted(risk, replace(risk, status=status_before_closing(risk)), frozen=frozen),
    )


def remove(command: RemoveRisk, estimate: Estimate) -> list[EstimateEvent]:
    if command.risk_id in estimate.removed_risks:
        return []
    return [RiskRemoved(risk=existing_risk(command.risk_id, estimate))]


def occurred(
    estimate: Estimate, risk_id: UUID, *, cost: Decimal, occurred_on: date, actuals_id: UUID, note: str | None
) -> list[EstimateEvent]:
    """What the actuals of a project write into the version they are compared with, when a risk of it occurs. Nothing
    when it is already so. Raises Rejected.
    """
    if not estimate.version:
        raise Rejected("estimate.unknown", "missing")
    if estimate.status not in {"submitted", "awarded"}:
        raise Rejected("estimate.not-submitted", "conflict", status=estimate.status)
    risk = existing_risk(risk_id, estimate)
    if risk.status == "occurred" and (risk.occurred_on, risk.occurred_cost) == (occurred_on, cost):
        return []
    _must_be_live(risk)
    return [RiskOccurred(risk_id=risk_id, cost=cost, occurred_on=occurred_on, actuals_id=actuals_id, note=note)]


def occurrence_corrected(
    estimate: Estimate, risk_id: UUID, *, cost: Decimal, occurred_on: date, actuals_id: UUID, reason: str
) -> list[EstimateEvent]:
    """What the actuals write into the version whose risk occurred, when what they know of it is corrected. In any
    status: the bid is not changed. Nothing when it is already so.
    """
    risk = existing_risk(risk_id, estimate)
    change = difference(Occurrence, risk, {"occurred_cost": cost, "occurred_on": occurred_on})
    if change is None:
        return []
    was, now = change
    return [OccurrenceCorrected(risk_id=risk_id, was=was, now=now, actuals_id=actuals_id, reason=reason)]
