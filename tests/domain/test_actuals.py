"""What a project really cost: opened beside a submitted estimate, recorded, corrected, explained, finished."""

import json
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Any
from uuid import UUID

import pydantic
import pytest
from msgspec.structs import replace

from domain.actuals import (
    AddFinding,
    BaselineChanged,
    ChangeBaseline,
    CorrectCost,
    CorrectRiskCost,
    CostCorrected,
    CostRemoved,
    CostsRecorded,
    DurationSet,
    ExplainVariance,
    FindingAdded,
    FindingRemoved,
    FindingRevised,
    FinishActuals,
    Finished,
    OpenActuals,
    Opened,
    RecordCosts,
    RecordRiskOccurrence,
    RemoveCost,
    RemoveFinding,
    ReopenActuals,
    Reopened,
    ReviseFinding,
    RiskCostCorrected,
    RiskCostRecorded,
    SetDuration,
    VarianceExplained,
    actuals,
)
from domain.costs import (
    Booked,
    Entry,
    EntryChange,
    Explanation,
    Finding,
    FindingChange,
    OccurrenceChange,
    Scope,
    Sum,
    booked,
    code_key,
    scope_key,
)
from domain.decider import Ref, State
from domain.estimate_events import Occurrence, OccurrenceCorrected, RiskOccurred
from domain.estimate_state import Estimate
from domain.maps import trie_map
from domain.project import ActualsOpened, Project
from domain.risks import Risk
from tests.specs import SOME_ID, given

PROJECT, BASELINE, OTHER, DRAFT, ENTRY, SECOND, FINDING = (UUID(int=n) for n in range(1, 8))
PROJECT_REF = Ref("project", PROJECT)
SUBMITTED = Estimate(version=1, project_id=PROJECT, currency="USD", status="submitted")
BESIDE: Mapping[Ref, State] = {
    PROJECT_REF: Project(name="TH 108", versions=3),
    Ref("estimate", BASELINE): SUBMITTED,
    Ref("estimate", OTHER): replace(SUBMITTED, version=2),
    Ref("estimate", DRAFT): replace(SUBMITTED, version=3, status="draft"),
}
OPEN = OpenActuals(project_id=PROJECT, baseline_id=BASELINE)
OPENED = Opened(project_id=PROJECT, baseline_id=BASELINE, currency="USD")
RECORDED_ENTRY = Entry(
    entry_id=ENTRY,
    amount=Decimal("25914.20"),
    booked_on=date(2022, 8, 31),
    code="2104504/00120",
    code_set="MnDOT",
    code_edition="2020",
    cost_type="subcontract",
    quantity=Decimal("4401.5"),
    unit="SY",
)
RECORDED = CostsRecorded(entries=(RECORDED_ENTRY,))
FINISHED = Finished(finished_on=date(2022, 10, 14), amount=Decimal("25914.20"), entry_count=1)
REMOVED = CostRemoved(entry=RECORDED_ENTRY, reason="Another project's")


def body(**more: object) -> dict[str, object]:
    """An entry as it is sent."""
    usual = {
        "entry_id": str(ENTRY),
        "amount": "25914.2",
        "booked_on": "2022-08-31",
        "code": "2104504/00120",
        "code_set": "MnDOT",
        "code_edition": "2020",
        "cost_type": "subcontract",
        "quantity": "4401.5",
        "unit": "S Y",
    }
    return usual | more


def record(*bodies: dict[str, object]) -> RecordCosts:
    return RecordCosts.model_validate_json(json.dumps({"entries": bodies or [body()]}))


def correct(**fields: object) -> CorrectCost:
    sent = {"entry_id": str(ENTRY), "reason": "Wrong code"} | fields
    return CorrectCost.model_validate_json(json.dumps(sent))


def test_opening() -> None:
    outcome = given(actuals, beside=BESIDE).when(OPEN)
    outcome.then_written((PROJECT_REF, ActualsOpened(actuals_id=SOME_ID)), (Ref("actuals", SOME_ID), OPENED))
    assert outcome.world.state(PROJECT_REF).actuals_id == SOME_ID
    given(actuals, beside=BESIDE).when(OPEN, OPEN).then_nothing()
    again = OpenActuals(project_id=PROJECT, baseline_id=OTHER)
    given(actuals, beside=BESIDE).when(OPEN, again).then_rejected("actuals.already-opened", "conflict")


def test_a_project_has_one() -> None:
    had = {**BESIDE, PROJECT_REF: Project(name="TH 108", actuals_id=SECOND)}
    given(actuals, beside=had).when(OPEN).then_rejected(
        "actuals.already-open-for-project", "conflict", actuals_id=str(SECOND)
    )


@pytest.mark.parametrize(
    ("beside", "baseline", "code", "severity"),
    [
        ({}, BASELINE, "actuals.project-unknown", "missing"),
        ({PROJECT_REF: Project(name="TH 108", deleted=True)}, BASELINE, "actuals.project-deleted", "conflict"),
        (BESIDE, UUID(int=99), "actuals.baseline-unknown", "missing"),
        (BESIDE, DRAFT, "actuals.baseline-not-submitted", "conflict"),
        (
            {**BESIDE, Ref("estimate", BASELINE): replace(SUBMITTED, project_id=SECOND)},
            BASELINE,
            "actuals.baseline-elsewhere",
            "refused",
        ),
    ],
)
def test_opening_is_refused(beside: Mapping[Ref, State], baseline: UUID, code: str, severity: str) -> None:
    command = OpenActuals(project_id=PROJECT, baseline_id=baseline)
    given(actuals, beside=beside).when(command).then_rejected(code, severity)


def test_another_baseline() -> None:
    change = ChangeBaseline(baseline_id=OTHER, reason="Change order 3")
    changed = BaselineChanged(was=BASELINE, now=OTHER, reason="Change order 3")
    scene = given(actuals, OPENED, beside=BESIDE)
    scene.when(change).then(changed)
    scene.when(change).then_nothing()
    given(actuals, beside=BESIDE).when(change).then_rejected("actuals.unknown", "missing")
    refused = ChangeBaseline(baseline_id=DRAFT, reason="x")
    given(actuals, OPENED, beside=BESIDE).when(refused).then_rejected("actuals.baseline-not-submitted", "conflict")
    given(actuals, OPENED, FINISHED, beside=BESIDE).when(change).then_rejected("actuals.finished", "conflict")
    euro = {**BESIDE, Ref("estimate", OTHER): replace(SUBMITTED, currency="EUR")}
    given(actuals, OPENED, beside=euro).when(change).then_rejected("actuals.foreign-currency", baseline="EUR")


def test_recording() -> None:
    scene = given(actuals, OPENED)
    scene.when(record()).then(RECORDED)
    scene.when(record()).then_nothing()
    code = code_key("MnDOT", "2020", "2104504/00120")
    expected = Sum(amount=Decimal("25914.20"), quantity=Decimal("4401.5"), entries=1)
    assert dict(scene.state.sums.items()) == {(code, "SY"): expected}


def test_recording_lists_every_fault() -> None:
    second = body(entry_id=str(SECOND))
    entries = [body(amount="1"), second, second, body(entry_id=str(FINDING), currency="EUR"), body(entry_id=str(OTHER))]
    gone = CostRemoved(entry=replace(RECORDED_ENTRY, entry_id=OTHER), reason="x")
    before = (OPENED, RECORDED, CostsRecorded(entries=(gone.entry,)), gone)
    outcome = given(actuals, *before).when(record(*entries)).then_rejected("actuals.import-refused")
    assert outcome.rejection is not None
    faults: list[Any] = outcome.rejection.facts["faults"]  # type: ignore[assignment]
    assert [(fault["index"], fault["code"]) for fault in faults] == [
        (0, "actuals.entry-already-recorded"),
        (2, "actuals.entry-repeated"),
        (3, "actuals.foreign-currency"),
        (4, "actuals.entry-removed"),
    ]


def test_recording_many_in_chunks() -> None:
    entries = [body(entry_id=str(UUID(int=100 + n))) for n in range(1_201)]
    outcome = given(actuals, OPENED).when(record(*entries))
    chunks = [event.entries for event in outcome.events if isinstance(event, CostsRecorded)]
    assert [len(chunk) for chunk in chunks] == [500, 500, 201]
    [total] = outcome.world.state(Ref("actuals", SOME_ID)).sums.values()
    assert (total.entries, total.amount) == (1_201, Decimal("25914.20") * 1_201)


def test_recording_too_many_is_refused() -> None:
    with pytest.raises(pydantic.ValidationError, match="at most 10000"):
        record(*[body()] * 10_001)
    with pytest.raises(pydantic.ValidationError, match="At least one item"):
        RecordCosts(entries=())


@pytest.mark.parametrize(
    ("wrong", "path"),
    [
        ({"quantity": None}, ("entries", 0)),
        ({"unit": None}, ("entries", 0)),
        ({"markup_id": str(OTHER)}, ("entries", 0)),
        ({"markup_id": str(OTHER), "code": None, "code_set": None}, ("entries", 0)),
        ({"markup_id": "overheads", "code": None}, ("entries", 0, "markup_id")),
        ({"unit": "parsec"}, ("entries", 0, "unit")),
        ({"amount": "1.005"}, ("entries", 0, "amount")),
        ({"amount": 1.5}, ("entries", 0, "amount")),
        ({"amount": "NaN"}, ("entries", 0, "amount")),
        ({"booked_on": "2022-02-30"}, ("entries", 0, "booked_on")),
        ({"cost_type": "bribe"}, ("entries", 0, "cost_type")),
        ({"colour": "red"}, ("entries", 0, "colour")),
    ],
)
def test_an_entry_that_is_none(wrong: dict[str, object], path: tuple[object, ...]) -> None:
    with pytest.raises(pydantic.ValidationError) as refused:
        record(body(**wrong))
    assert [error["loc"] for error in refused.value.errors()] == [path]


def test_nothing_before_they_are_opened_and_nothing_of_a_project_never_submitted() -> None:
    given(actuals).when(record()).then_rejected("actuals.unknown", "missing")
    given(actuals).when(FinishActuals(finished_on=date(2022, 1, 1))).then_rejected("actuals.unknown", "missing")


def test_correcting() -> None:
    scene = given(actuals, OPENED, RECORDED)
    was = Booked(
        amount=Decimal("25914.20"),
        code="2104504/00120",
        code_set="MnDOT",
        code_edition="2020",
        cost_type="subcontract",
        quantity=Decimal("4401.5"),
        unit="SY",
    )
    scene.when(correct(code="2104505/00120", amount="25914.2", note="moved")).then(
        CostCorrected(
            entry_id=ENTRY,
            was=EntryChange(code="2104504/00120", note=None),
            now=EntryChange(code="2104505/00120", note="moved"),
            booked_was=was,
            booked_now=replace(was, code="2104505/00120"),
            reason="Wrong code",
        )
    )
    assert [key for key, _ in scene.state.sums] == [code_key("MnDOT", "2020", "2104505/00120")]
    scene.when(correct(code="2104505/00120", note="moved")).then_nothing()
    given(actuals, OPENED, RECORDED).when(correct(quantity=None)).then_rejected("actuals.quantity-without-unit")
    given(actuals, OPENED, RECORDED).when(correct(quantity=None, unit=None)).then_accepted()
    given(actuals, OPENED).when(correct(note="x")).then_rejected("actuals.entry-unknown", "missing")
    given(actuals, OPENED, RECORDED, REMOVED).when(correct(note="x")).then_rejected("actuals.entry-removed", "conflict")


def test_a_correction_corrects_something_and_says_why() -> None:
    with pytest.raises(pydantic.ValidationError, match="at least one field"):
        correct()
    with pytest.raises(pydantic.ValidationError, match="not blank"):
        correct(note="x", reason=" ")


def test_a_cost_against_a_markup() -> None:
    against: dict[str, object] = {"markup_id": str(OTHER), "code": None, "code_set": None, "code_edition": None}
    no_code: dict[str, Any] = {"code": None, "code_set": None, "code_edition": None}
    entry = replace(RECORDED_ENTRY, markup_id=OTHER, **no_code)
    scene = given(actuals, OPENED)
    scene.when(record(body(**against))).then(CostsRecorded(entries=(entry,)))
    row = scope_key(Scope(kind="markup", markup_id=OTHER))
    assert [(key, each.amount) for key, each in scene.state.sums.items()] == [((row, "SY"), Decimal("25914.20"))]
    scene.when(correct(code="2104505/00120")).then_rejected("actuals.code-and-markup", entry_id=str(ENTRY))
    scene.when(correct(code="2104505/00120", markup_id=None)).then_accepted()
    assert [key for key, _ in scene.state.sums] == [code_key(None, None, "2104505/00120")]
    scene.when(correct(markup_id=str(OTHER))).then_rejected("actuals.code-and-markup")
    scene.when(correct(**against)).then(
        CostCorrected(
            entry_id=ENTRY,
            was=EntryChange(code="2104505/00120", markup_id=None),
            now=EntryChange(code=None, markup_id=OTHER),
            booked_was=replace(booked(entry), code="2104505/00120", markup_id=None),
            booked_now=booked(entry),
            reason="Wrong code",
        )
    )
    assert [key for key, _ in scene.state.sums] == [row]


def test_removing() -> None:
    remove = RemoveCost(entry_id=ENTRY, reason="Another project's")
    scene = given(actuals, OPENED, RECORDED)
    scene.when(remove).then(REMOVED)
    scene.when(remove).then_nothing()
    assert len(scene.state.sums) == len(scene.state.entries) == 0
    given(actuals, OPENED).when(remove).then_rejected("actuals.entry-unknown", "missing")


def occur(**more: object) -> RecordRiskOccurrence:
    sent = {"estimate_id": str(BASELINE), "risk_id": str(FINDING), "cost": "48000", "occurred_on": "2022-07-11"} | more
    return RecordRiskOccurrence.model_validate_json(json.dumps(sent))


RISK = Risk(
    risk_id=FINDING, kind="threat", title="Peat", probability=Decimal("0.4"), low=Decimal(20000), high=Decimal(60000)
)
RISKY = {
    Ref("estimate", BASELINE): replace(SUBMITTED, risks=trie_map([(FINDING, RISK)])),
    Ref("estimate", OTHER): replace(SUBMITTED, version=2, status="awarded", risks=trie_map([(FINDING, RISK)])),
}


def test_a_risk_comes_true() -> None:
    facts: dict[str, Any] = {"risk_id": FINDING, "cost": Decimal(48000), "occurred_on": date(2022, 7, 11)}
    scene = given(actuals, OPENED, RECORDED, beside=RISKY)
    scene.when(occur()).then_written(
        (Ref("estimate", BASELINE), RiskOccurred(actuals_id=SOME_ID, **facts)),
        (Ref("actuals", SOME_ID), RiskCostRecorded(estimate_id=BASELINE, **facts)),
    )
    scene.when(occur()).then_nothing()
    scene.when(occur(estimate_id=str(OTHER))).then_rejected("actuals.risk-already-occurred", "conflict")
    scene.when(occur(cost="1")).then_rejected("estimate.risk-occurred", "conflict")
    [finished] = scene.when(FinishActuals(finished_on=date(2022, 10, 14))).events
    assert isinstance(finished, Finished)
    assert finished.amount == Decimal("73914.20")
    scene.when(occur(cost="1")).then_rejected("actuals.finished", "conflict")


def test_a_risk_that_cannot_come_true() -> None:
    given(actuals, beside=RISKY).when(occur()).then_rejected("actuals.unknown", "missing")
    unknown = occur(risk_id=str(ENTRY))
    given(actuals, OPENED, beside=RISKY).when(unknown).then_rejected("estimate.risk-unknown", "missing")
    given(actuals, OPENED).when(occur()).then_rejected("estimate.unknown", "missing")
    draft = {Ref("estimate", BASELINE): replace(SUBMITTED, status="draft")}
    given(actuals, OPENED, beside=draft).when(occur()).then_rejected("estimate.not-submitted", "conflict")
    elsewhere = {Ref("estimate", BASELINE): replace(SUBMITTED, project_id=SECOND)}
    given(actuals, OPENED, beside=elsewhere).when(occur()).then_rejected("actuals.baseline-elsewhere")


def account(**more: object) -> CorrectRiskCost:
    sent = {"estimate_id": str(BASELINE), "risk_id": str(FINDING), "reason": "Final account"} | more
    return CorrectRiskCost.model_validate_json(json.dumps(sent))


def test_the_cost_of_a_risk_is_corrected() -> None:
    scene = given(actuals, OPENED, RECORDED, beside=RISKY)
    scene.when(occur())
    ids: dict[str, Any] = {"risk_id": FINDING, "reason": "Final account"}
    was, now = OccurrenceChange(cost=Decimal(48000)), OccurrenceChange(cost=Decimal(51250))
    scene.when(account(cost="51250", occurred_on="2022-07-11")).then_written(
        (
            Ref("estimate", BASELINE),
            OccurrenceCorrected(
                was=Occurrence(occurred_cost=Decimal(48000)),
                now=Occurrence(occurred_cost=Decimal(51250)),
                actuals_id=SOME_ID,
                **ids,
            ),
        ),
        (
            Ref("actuals", SOME_ID),
            RiskCostCorrected(estimate_id=BASELINE, was=was, now=now, **ids),
        ),
    )
    scene.when(account(cost="51250")).then_nothing()
    scene.when(account(note="Peat")).then(
        RiskCostCorrected(
            estimate_id=BASELINE, was=OccurrenceChange(note=None), now=OccurrenceChange(note="Peat"), **ids
        )
    )
    scene.when(occur()).then_rejected("estimate.risk-occurred", "conflict")
    withdrawn = scene.when(account(cost="0", occurred_on="2022-07-12", reason="It was not peat"))
    risk = withdrawn.world.state(Ref("estimate", BASELINE)).risks[FINDING]
    assert (risk.occurred_cost, risk.occurred_on, risk.status) == (Decimal(0), date(2022, 7, 12), "occurred")
    [finished] = scene.when(FinishActuals(finished_on=date(2022, 10, 14))).events
    assert isinstance(finished, Finished)
    assert finished.amount == Decimal("25914.20")
    scene.when(account(cost="1")).then_rejected("actuals.finished", "conflict")


def test_a_risk_that_cannot_be_corrected() -> None:
    given(actuals, beside=RISKY).when(account(cost="1")).then_rejected("actuals.unknown", "missing")
    scene = given(actuals, OPENED, beside=RISKY)
    scene.when(account(cost="1")).then_rejected("actuals.risk-cost-unknown", "missing", risk_id=str(FINDING))
    scene.when(occur())
    elsewhere = account(cost="1", estimate_id=str(OTHER))
    scene.when(elsewhere).then_rejected("actuals.risk-cost-unknown", "missing")
    for wrong in ({}, {"cost": None}, {"cost": "1.005"}, {"cost": "1", "reason": " "}):
        with pytest.raises(pydantic.ValidationError):
            account(**wrong)


def test_durations() -> None:
    scene = given(actuals, OPENED)
    scene.when(SetDuration(days=84)).then(DurationSet(now=84))
    scene.when(SetDuration(days=84)).then_nothing()
    scene.when(SetDuration(days=91, reason="Rain")).then(DurationSet(was=84, now=91, reason="Rain"))
    of_code = SetDuration.model_validate({"days": 3, "scope": {"code": "2104504/00120"}})
    scope = Scope(code="2104504/00120")
    scene.when(of_code).then(DurationSet(scope=scope, now=3))
    scene.when(SetDuration(days=None)).then(DurationSet(was=91))
    assert dict(scene.state.durations.items()) == {scope_key(scope): 3}
    for days in (-1, 36_501, 1.5, "3", True):
        with pytest.raises(pydantic.ValidationError) as refused:
            SetDuration.model_validate({"days": days})
        assert refused.value.errors()[0]["loc"] == ("days",)


def test_findings() -> None:
    add = AddFinding(finding_id=FINDING, kind="lesson", text="Haul distance was twice as far.")
    finding = Finding(finding_id=FINDING, kind="lesson", text="Haul distance was twice as far.")
    scene = given(actuals, OPENED, FINISHED)
    scene.when(add).then(FindingAdded(finding=finding))
    scene.when(add).then_nothing()
    scene.when(AddFinding(finding_id=FINDING, kind="issue", text="x")).then_rejected(
        "actuals.finding-already-added", "conflict"
    )
    scene.when(ReviseFinding(finding_id=FINDING, kind="issue", text=finding.text)).then(
        FindingRevised(finding_id=FINDING, was=FindingChange(kind="lesson"), now=FindingChange(kind="issue"))
    )
    scene.when(RemoveFinding(finding_id=FINDING)).then(FindingRemoved(finding=replace(finding, kind="issue")))
    scene.when(RemoveFinding(finding_id=FINDING)).then_nothing()
    scene.when(add).then_rejected("actuals.finding-removed", "conflict")
    scene.when(ReviseFinding(finding_id=FINDING, kind="issue")).then_rejected("actuals.finding-removed", "conflict")
    scene.when(RemoveFinding(finding_id=OTHER)).then_rejected("actuals.finding-unknown", "missing")


def test_explaining() -> None:
    explain = ExplainVariance(narrative="Rock where clay was expected.", cause="ground", owner="Ada")
    now = Explanation(narrative="Rock where clay was expected.", cause="ground", owner="Ada")
    scene = given(actuals, OPENED, FINISHED)
    scene.when(explain).then(VarianceExplained(now=now))
    scene.when(explain).then_nothing()
    scene.when(ExplainVariance(narrative="Rock.")).then(VarianceExplained(was=now, now=Explanation(narrative="Rock.")))
    of_risks = ExplainVariance.model_validate({"narrative": "None came.", "scope": {"kind": "risk"}})
    none_came = Explanation(narrative="None came.")
    scene.when(of_risks).then(VarianceExplained(scope=Scope(kind="risk"), now=none_came))
    assert set(scene.state.explanations) == {"", "risk"}


@pytest.mark.parametrize(
    "scope",
    [{"kind": "markup"}, {"markup_id": str(OTHER)}, {"kind": "risk", "code": "A"}, {"kind": "total"}],
    ids=str,
)
def test_a_scope_that_is_none(scope: dict[str, object]) -> None:
    with pytest.raises(pydantic.ValidationError):
        ExplainVariance.model_validate_json(json.dumps({"narrative": "x", "scope": scope}))


def test_scopes_have_keys_of_their_own() -> None:
    scopes = [
        None,
        Scope(),
        Scope(code="risk"),
        Scope(code_set="risk"),
        Scope(kind="risk"),
        Scope(kind="markup", markup_id=OTHER),
        Scope(code_set="a", code="b"),
        Scope(code_set="a", code_edition="b"),
    ]
    assert len({scope_key(scope) for scope in scopes}) == len(scopes)


def test_finishing_and_reopening() -> None:
    finish = FinishActuals(finished_on=date(2022, 10, 14))
    scene = given(actuals, OPENED, RECORDED)
    scene.when(finish).then(FINISHED)
    scene.when(finish).then_nothing()
    scene.when(FinishActuals(finished_on=date(2022, 10, 15))).then_rejected("actuals.finished", "conflict")
    for command in (record(), correct(note="x"), RemoveCost(entry_id=ENTRY, reason="x"), SetDuration(days=1)):
        scene.when(command).then_rejected("actuals.finished", "conflict", finished_on="2022-10-14")
    scene.when(ReopenActuals(reason="A late invoice")).then(Reopened(was=date(2022, 10, 14), reason="A late invoice"))
    scene.when(ReopenActuals(reason="A late invoice")).then_nothing()
    scene.when(correct(note="x")).then_accepted()
