"""Simulations as an estimate decides them: what is drawn, in any status, and one answer each."""

from datetime import date
from decimal import Decimal
from typing import Any
from uuid import UUID

import pydantic
import pytest

from domain.estimate import estimate
from domain.estimate_events import EstimateStarted, EstimateStatusChanged, RiskAdded
from domain.risks import Response, Risk
from domain.simulation import (
    PERCENTS,
    RISKS_MAX,
    TRIALS_MAX,
    UNFINISHED_MAX,
    FailSimulation,
    Figures,
    FiguresInput,
    RecordSimulation,
    RequestSimulation,
    SimulatedRisk,
    SimulationCompleted,
    SimulationFailed,
    SimulationRequested,
)
from tests.specs import Given, given

PROJECT, A, B, C, RUN = (UUID(int=number) for number in range(1, 6))
STARTED = EstimateStarted(project_id=PROJECT, version=1, currency="USD", target_margin=Decimal(0))
RESPONSE = Response(
    kind="mitigate",
    cost=Decimal(8_000),
    residual_probability=Decimal("0.05"),
    residual_low=Decimal(100_000),
    residual_high=Decimal(300_000),
)
SUBGRADE = Risk(
    risk_id=A, kind="threat", title="Subgrade", probability=Decimal("0.4"), low=Decimal(20_000), high=Decimal(60_000)
)
UTILITIES = Risk(
    risk_id=B,
    kind="threat",
    title="Utilities",
    probability=Decimal("0.15"),
    low=Decimal(100_000),
    high=Decimal(300_000),
    response=RESPONSE,
)
REQUEST = RequestSimulation(simulation_id=RUN, trials=100_000, seed=7)
FIGURES = Figures(
    mean=Decimal("46012.34"),
    standard_deviation=Decimal("77000.00"),
    curve=tuple(Decimal(1_000 * percent) for percent in range(PERCENTS)),
    method_version=1,
    bit_generator="PCG64",
    numpy_version="2.4.6",
)
SENT = FiguresInput(**{name: getattr(FIGURES, name) for name in Figures.__struct_fields__})
RECORD = RecordSimulation(simulation_id=RUN, figures=SENT)


def with_risks(*risks: Risk) -> Given:
    return given(estimate, STARTED, *(RiskAdded(risk=risk) for risk in risks))


def changed(risk: Risk, **fields: Any) -> Risk:
    return Risk(**{name: getattr(risk, name) for name in Risk.__struct_fields__} | fields)


def requested(*risks: SimulatedRisk, expected: str, input_version: int) -> SimulationRequested:
    return SimulationRequested(
        simulation_id=RUN,
        trials=100_000,
        seed=7,
        method="independent-triangular",
        input_version=input_version,
        currency="USD",
        expected=Decimal(expected),
        risks=risks,
    )


OPEN_A = SimulatedRisk(risk_id=A, probability=Decimal("0.4"), low=Decimal(20_000), high=Decimal(60_000))
OPEN_B = SimulatedRisk(risk_id=B, probability=Decimal("0.15"), low=Decimal(100_000), high=Decimal(300_000))
REST_OF_B = SimulatedRisk(
    risk_id=B, probability=Decimal("0.05"), low=Decimal(100_000), high=Decimal(300_000), certain=Decimal(8_000)
)


def test_open_risks_are_drawn_as_they_are() -> None:
    with_risks(UTILITIES, SUBGRADE).when(REQUEST).then(requested(OPEN_A, OPEN_B, expected="46000.00", input_version=3))


def test_of_a_mitigated_risk_the_rest_is_drawn_and_its_response_is_certain() -> None:
    mitigated = changed(UTILITIES, status="mitigated", mitigated_on=date(2022, 1, 5))
    with_risks(SUBGRADE, mitigated).when(REQUEST).then(
        requested(OPEN_A, REST_OF_B, expected="34000.00", input_version=3)
    )


@pytest.mark.parametrize("status", ["closed", "occurred"])
def test_what_is_over_is_not_drawn(status: str) -> None:
    over = changed(UTILITIES, status=status)
    with_risks(SUBGRADE, over).when(REQUEST).then(requested(OPEN_A, expected="16000.00", input_version=3))
    with_risks(over).when(REQUEST).then_rejected("estimate.nothing-to-simulate", "conflict", risks=1)


def test_nothing_is_simulated_of_nothing() -> None:
    with_risks().when(REQUEST).then_rejected("estimate.nothing-to-simulate", "conflict", risks=0)
    given(estimate).when(REQUEST).then_rejected("estimate.unknown", "missing")


@pytest.mark.parametrize("status", ["in-review", "submitted", "awarded", "lost", "archived"])
def test_any_status_may_be_simulated(status: Any) -> None:
    moved = EstimateStatusChanged(was="draft", now=status, reason=None)
    scene = given(estimate, STARTED, RiskAdded(risk=SUBGRADE), moved)
    scene.when(REQUEST).then(requested(OPEN_A, expected="16000.00", input_version=3))
    scene.when(RECORD).then_accepted()


def test_the_same_request_again_is_nothing_new() -> None:
    scene = with_risks(SUBGRADE)
    scene.when(REQUEST, REQUEST).then_nothing()
    for other in ({"trials": 1_000}, {"seed": 8}):
        again = REQUEST.model_copy(update=other)
        scene.when(again).then_rejected("estimate.simulation-already-requested", "conflict", simulation_id=str(RUN))


def test_the_answer_says_what_it_is_of_and_stands() -> None:
    scene = with_risks(SUBGRADE)
    scene.when(REQUEST, RECORD).then(
        SimulationCompleted(
            simulation_id=RUN,
            trials=100_000,
            seed=7,
            method="independent-triangular",
            input_version=2,
            figures=FIGURES,
        )
    )
    scene.when(RECORD).then_nothing()
    other = RECORD.model_copy(update={"figures": SENT.model_copy(update={"mean": Decimal(1)})})
    scene.when(other).then_rejected("estimate.simulation-finished", "conflict")
    scene.when(FailSimulation(simulation_id=RUN, reason="Too late.")).then_rejected(
        "estimate.simulation-finished", "conflict"
    )


def test_a_failure_stands_too() -> None:
    scene = with_risks(SUBGRADE)
    failing = FailSimulation(simulation_id=RUN, reason="No memory.")
    scene.when(REQUEST, failing).then(SimulationFailed(simulation_id=RUN, reason="No memory."))
    scene.when(failing).then_nothing()
    scene.when(RECORD).then_rejected("estimate.simulation-finished", "conflict")
    scene.when(FailSimulation(simulation_id=C, reason="Which?")).then_rejected("estimate.simulation-unknown", "missing")


def test_few_may_wait() -> None:
    scene = with_risks(SUBGRADE)
    runs = [REQUEST.model_copy(update={"simulation_id": UUID(int=100 + number)}) for number in range(UNFINISHED_MAX)]
    scene.when(*runs).then_accepted()
    scene.when(REQUEST).then_rejected("estimate.simulations-waiting", "conflict", waiting_max=UNFINISHED_MAX)
    scene.when(FailSimulation(simulation_id=UUID(int=100), reason="Enough."), REQUEST).then_accepted()


def test_a_request_carries_no_more_risks_than_it_may() -> None:
    risks = [changed(SUBGRADE, risk_id=UUID(int=1_000 + number)) for number in range(RISKS_MAX + 1)]
    with_risks(*risks[:-1]).when(REQUEST).then_accepted()
    with_risks(*risks).when(REQUEST).then_rejected("estimate.too-many-risks", risks_max=RISKS_MAX)


@pytest.mark.parametrize("trials", [10**12, TRIALS_MAX + 1, 999, 0, -1])
def test_trials_have_bounds(trials: int) -> None:
    with pytest.raises(pydantic.ValidationError, match=r"greater than or equal to 1000|less than or equal to 10000000"):
        RequestSimulation(simulation_id=RUN, trials=trials, seed=7)


@pytest.mark.parametrize("seed", [-1, 2**63])
def test_a_seed_has_bounds(seed: int) -> None:
    with pytest.raises(pydantic.ValidationError, match="seed"):
        RequestSimulation(simulation_id=RUN, trials=1_000, seed=seed)


def test_a_curve_never_falls_and_has_all_its_points() -> None:
    curve = list(SENT.curve)
    given_figures = SENT.model_dump()
    with pytest.raises(pydantic.ValidationError, match="No percentile is lower than a lower one, but P51 is"):
        FiguresInput.model_validate(given_figures | {"curve": (*curve[:51], curve[49], *curve[52:])})
    for wrong in (curve[:-1], [*curve, curve[-1]]):
        with pytest.raises(pydantic.ValidationError, match="101 items"):
            FiguresInput.model_validate(given_figures | {"curve": tuple(wrong)})
