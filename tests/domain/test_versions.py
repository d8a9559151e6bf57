"""From draft to award and back, classes, tags, and what a new version takes over."""

from datetime import date
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from domain.decider import Ref
from domain.estimate import estimate
from domain.estimate_commands import (
    AddLine,
    AddRisk,
    ApplyMitigation,
    ChangeEstimateStatus,
    ChangeMargin,
    Classify,
    CloseRisk,
    RemoveRisk,
    ReopenRisk,
    ReviseRisk,
    SetMarkups,
    StartEstimate,
    SubmitEstimate,
    TagVersion,
    UndoChange,
    UntagVersion,
    WithdrawMitigation,
)
from domain.estimate_events import (
    Classification,
    Classified,
    EstimateStarted,
    EstimateStatusChanged,
    EstimateSubmitted,
    MitigationApplied,
    RiskClosed,
    RiskRevised,
    RisksCopied,
    Tagged,
    Untagged,
)
from domain.markups import MarkupInput
from domain.project import Project
from domain.risk_edits import occurred
from domain.risks import RiskChange, contribution, exposure
from tests.specs import SOME_ID, Given, given

PROJECT, PARENT, A, B, ACTUALS = (UUID(int=n) for n in range(1, 6))
STARTED = EstimateStarted(project_id=PROJECT, version=1, currency="USD", target_margin=Decimal("0.12"))
ON = date(2022, 1, 25)


def line(**other: Any) -> AddLine:
    body = {
        "line_id": UUID(int=9),
        "wbs_path": ("SP",),
        "description": "ALL WORK",
        "quantity": Decimal(1),
        "unit": "LS",
    }
    return AddLine.model_validate({**body, "unit_price": Decimal("2045323.78"), **other})


def risk(risk_id: UUID, probability: str, low: int, high: int, **other: Any) -> AddRisk:
    body = {"risk_id": risk_id, "kind": "threat", "title": "Peat", "probability": Decimal(probability)}
    return AddRisk.model_validate({**body, "low": Decimal(low), "high": Decimal(high), **other})


RESPONSE = {
    "kind": "mitigate",
    "cost": Decimal(8_000),
    "residual_probability": Decimal("0.05"),
    "residual_low": Decimal(100_000),
    "residual_high": Decimal(300_000),
}
WORKED = (line(), risk(A, "0.40", 20_000, 60_000), risk(B, "0.15", 100_000, 300_000, response=RESPONSE))


def priced(*more: Any) -> Given:
    scene = given(estimate, STARTED)
    scene.when(*WORKED, *more)
    return scene


def test_a_mitigation_changes_the_bid_by_what_it_saves() -> None:
    (before,) = priced().when(SubmitEstimate()).events
    assert isinstance(before, EstimateSubmitted)
    assert (before.risk_adjustment, before.final_bid) == (Decimal("46000.00"), Decimal("2376504.30"))
    scene = priced()
    scene.when(ApplyMitigation(risk_id=B, applied_on=ON)).then(
        MitigationApplied(risk_id=B, applied_on=ON, adjusted_was=Decimal("30000.00"), adjusted_now=Decimal("18000.00"))
    )
    (after,) = scene.when(SubmitEstimate()).events
    assert isinstance(after, EstimateSubmitted)
    assert (after.risk_adjustment, after.final_bid) == (Decimal("34000.00"), Decimal("2362867.93"))
    assert (after.cost, after.content_format, after.risk_count) == (Decimal("2079323.78"), 2, 2)
    assert after.totals.base + sum(step.amount for step in after.bridge) == after.final_bid


def test_a_risk_is_mitigated_by_its_response_only() -> None:
    scene = priced()
    scene.when(ApplyMitigation(risk_id=A, applied_on=ON)).then_rejected("estimate.risk-without-response", "conflict")
    scene.when(ApplyMitigation(risk_id=B, applied_on=ON), ApplyMitigation(risk_id=B, applied_on=ON)).then_nothing()
    later = ApplyMitigation(risk_id=B, applied_on=date(2022, 2, 1))
    scene.when(later).then_rejected("estimate.risk-mitigated", "conflict", mitigated_on="2022-01-25")
    scene.when(ReviseRisk(risk_id=B, response=None)).then_rejected("estimate.risk-without-response", "conflict")
    scene.when(WithdrawMitigation(risk_id=B, reason="No rig")).then_accepted()
    assert scene.state.risk_adjustment == Decimal("46000.00")
    scene.when(WithdrawMitigation(risk_id=B, reason="No rig")).then_nothing()


def test_a_risk_is_revised_field_by_field() -> None:
    scene = priced()
    scene.when(ReviseRisk(risk_id=A, probability=Decimal("0.5"), title="Peat")).then(
        RiskRevised(
            risk_id=A,
            was=RiskChange(probability=Decimal("0.40")),
            now=RiskChange(probability=Decimal("0.5")),
            adjusted_was=Decimal("16000.00"),
            adjusted_now=Decimal("20000.00"),
        )
    )
    scene.when(ReviseRisk(risk_id=A, low=Decimal(60_001))).then_rejected(
        "estimate.risk-impossible",
        faults=[
            {
                "path": "/low",
                "code": "impact-order",
                "message": "The impacts are in order: low is at most likely, and likely at most high",
            }
        ],
    )
    scene.when(ReviseRisk(risk_id=PROJECT, title="x")).then_rejected("estimate.risk-unknown", "missing")


def test_adding_and_removing_risks_again() -> None:
    scene = priced()
    scene.when(WORKED[1]).then_nothing()
    scene.when(risk(A, "0.1", 1, 2)).then_rejected("estimate.risk-already-exists", "conflict")
    scene.when(RemoveRisk(risk_id=A), RemoveRisk(risk_id=A)).then_nothing()
    scene.when(WORKED[1]).then_rejected("estimate.risk-removed", "conflict")
    assert scene.state.risk_adjustment == Decimal("30000.00")


def test_a_risk_that_is_over_leaves_a_draft_but_not_a_bid() -> None:
    scene = priced()
    scene.when(CloseRisk(risk_id=A, closed_on=ON, reason="Over")).then_accepted()
    assert scene.state.risk_adjustment == Decimal("30000.00")
    scene.when(ReviseRisk(risk_id=A, title="x")).then_rejected("estimate.risk-closed", "conflict")
    scene.when(ReopenRisk(risk_id=A, reason="Not over"), SubmitEstimate()).then_accepted()
    bid = Decimal("16000.00")
    scene.when(CloseRisk(risk_id=A, closed_on=ON, reason="Over")).then(
        RiskClosed(risk_id=A, closed_on=ON, reason="Over", adjusted_was=bid, adjusted_now=bid)
    )
    assert scene.state.risk_adjustment == Decimal("46000.00")
    assert exposure(scene.state.risks[A]) == 0
    scene.when(CloseRisk(risk_id=A, closed_on=ON, reason="Over")).then_nothing()
    scene.when(ReopenRisk(risk_id=A, reason="Not over"), ReopenRisk(risk_id=A, reason="Not over")).then_nothing()
    assert scene.state.risk_adjustment == Decimal("46000.00")


def test_a_risk_occurs_to_a_submitted_version() -> None:
    scene = priced()
    how: Any = {"cost": Decimal(142_500), "occurred_on": ON, "actuals_id": ACTUALS, "note": None}
    with pytest.raises(Exception, match=r"estimate\.not-submitted"):
        occurred(scene.state, A, **how)
    scene.when(SubmitEstimate())
    (event,) = occurred(scene.state, A, **how)
    after = estimate.evolve(scene.state, event)
    assert (after.risks[A].status, after.risk_adjustment) == ("occurred", Decimal("46000.00"))
    assert occurred(after, A, **how) == []
    with pytest.raises(Exception, match=r"estimate\.risk-occurred"):
        occurred(after, A, **{**how, "cost": Decimal(1)})


def test_a_new_version_takes_over_all_but_status_and_tags() -> None:
    markups = SetMarkups(markups=(MarkupInput(kind="other", markup_id=A, name="Bond", amount=Decimal(2_500)),))
    parent = priced(
        markups,
        ApplyMitigation(risk_id=B, applied_on=ON),
        Classify(aace_class=3, basis="60 %"),
        TagVersion(tag="bid"),
        SubmitEstimate(),
    )
    beside = {Ref("project", PROJECT): Project(name="TH 108", versions=1), Ref("estimate", PARENT): parent.state}
    scene = given(estimate, beside=beside)
    start = StartEstimate(
        project_id=PROJECT, parent_id=PARENT, currency="USD", effective_on=ON, aace_class=2, basis="90 %"
    )
    _, started, _, copied = scene.when(start).events
    assert isinstance(started, EstimateStarted)
    assert (started.aace_class, started.basis, started.effective_on) == (2, "90 %", ON)
    assert isinstance(copied, RisksCopied)
    assert [each.risk_id for each in copied.risks] == [A, B]
    of, was = scene.state, parent.state
    assert (of.risks, of.lines, of.markups, of.risk_adjustment) == (
        was.risks,
        was.lines,
        was.markups,
        was.risk_adjustment,
    )
    assert (of.status, of.tags, of.target_margin) == ("draft", (), Decimal("0.12"))
    scene.when(start).then_nothing()


def test_a_better_class_than_the_parents_rests_on_something() -> None:
    parent = priced(Classify(aace_class=4, basis="Sketch"))
    beside = {Ref("project", PROJECT): Project(name="TH 108", versions=1), Ref("estimate", PARENT): parent.state}
    better = StartEstimate(project_id=PROJECT, parent_id=PARENT, currency="USD", aace_class=3)
    given(estimate, beside=beside).when(better).then_rejected("estimate.class-reason-missing", aace_class=4, wanted=3)
    worse = StartEstimate(project_id=PROJECT, parent_id=PARENT, currency="USD", aace_class=5)
    given(estimate, beside=beside).when(worse).then_accepted()


def test_a_copied_risk_that_is_over_counts_no_more() -> None:
    parent = priced(SubmitEstimate(), CloseRisk(risk_id=A, closed_on=ON, reason="Over"))
    assert parent.state.risk_adjustment == Decimal("46000.00")
    beside = {Ref("project", PROJECT): Project(name="TH 108", versions=1), Ref("estimate", PARENT): parent.state}
    scene = given(estimate, beside=beside)
    scene.when(StartEstimate(project_id=PROJECT, parent_id=PARENT, currency="USD"))
    assert scene.state.risk_adjustment == contribution(scene.state.risks[B]) == Decimal("30000.00")


def to(status: str, reason: str | None = None) -> ChangeEstimateStatus:
    return ChangeEstimateStatus.model_validate({"status": status, "reason": reason})


def test_the_way_from_draft_to_award() -> None:
    scene = given(estimate, STARTED)
    scene.when(to("in-review")).then(EstimateStatusChanged(was="draft", now="in-review"))
    scene.when(to("in-review")).then_nothing()
    scene.when(line()).then_rejected("estimate.in-review", "conflict")
    scene.when(UndoChange(stream_version=1)).then_rejected("estimate.in-review", "conflict")
    scene.when(to("draft")).then_rejected("estimate.reason-missing", status="in-review", wanted="draft")
    scene.when(to("draft", "Addendum 3"), to("in-review"), SubmitEstimate()).then_accepted()
    scene.when(to("awarded"), to("awarded")).then_nothing()
    scene.when(SubmitEstimate()).then_nothing()
    scene.when(ChangeMargin(target_margin=Decimal(0))).then_rejected("estimate.submitted", "conflict")
    scene.when(to("lost")).then_rejected(
        "estimate.transition-impossible", "conflict", possible=["archived", "submitted"]
    )
    scene.when(to("submitted")).then_rejected("estimate.reason-missing")
    scene.when(to("submitted", "Protest upheld"), to("lost")).then_accepted()


def test_submitted_is_not_reached_by_changing_the_status() -> None:
    given(estimate, STARTED).when(to("submitted", "please")).then_rejected(
        "estimate.transition-impossible", "conflict", possible=["archived", "in-review"]
    )


@pytest.mark.parametrize("before", [(), (to("in-review"),), (SubmitEstimate(),), (SubmitEstimate(), to("awarded"))])
def test_the_archive_and_back(before: tuple[Any, ...]) -> None:
    scene = given(estimate, STARTED)
    scene.when(line(), *before)
    was = scene.state
    scene.when(to("archived")).then_rejected("estimate.reason-missing")
    scene.when(to("archived", "Abandoned")).then(
        EstimateStatusChanged(was=was.status, now="archived", reason="Abandoned")
    )
    assert scene.state.submitted == was.submitted
    for command in (ChangeMargin(target_margin=Decimal(0)), SubmitEstimate(), TagVersion(tag="x")):
        scene.when(command).then_rejected("estimate.archived", "conflict")
    other = "lost" if was.status != "lost" else "awarded"
    scene.when(to(other, "x")).then_rejected(
        "estimate.transition-impossible", possible=[was.status], severity="conflict"
    )
    scene.when(to(was.status, "Revived")).then_accepted()
    assert scene.state.status == was.status


def test_a_better_class_needs_a_reason() -> None:
    scene = given(estimate, STARTED)
    scene.when(Classify(aace_class=4, basis="Sketch")).then(
        Classified(was=Classification(aace_class=None, basis=None), now=Classification(aace_class=4, basis="Sketch"))
    )
    scene.when(Classify(aace_class=3, basis="60 %")).then_rejected(
        "estimate.class-reason-missing", aace_class=4, wanted=3
    )
    scene.when(Classify(aace_class=3, basis="60 %", reason="Drawings came")).then_accepted()
    scene.when(Classify(aace_class=5, basis="60 %")).then(
        Classified(was=Classification(aace_class=3), now=Classification(aace_class=5))
    )


def test_tags_mark_a_moment_and_its_bid() -> None:
    scene = priced()
    scene.when(TagVersion(tag="bid")).then(Tagged(tag="bid", final_bid=Decimal("2376504.30")))
    scene.when(TagVersion(tag="bid")).then_nothing()
    scene.when(SubmitEstimate(), TagVersion(tag="sent")).then_accepted()
    scene.when(UntagVersion(tag="bid")).then(Untagged(tag="bid"))
    scene.when(UntagVersion(tag="bid")).then_nothing()
    many = [TagVersion(tag=str(number)) for number in range(99)]
    scene.when(*many, TagVersion(tag="more")).then_rejected("estimate.tags-full", limit=100)
    assert scene.ref.id == SOME_ID
