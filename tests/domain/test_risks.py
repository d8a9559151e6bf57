"""Risks and mark-ups by themselves: worked figures, what must hold of any, and what is refused."""

import json
from decimal import Decimal
from fractions import Fraction
from typing import Any
from uuid import UUID

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from domain.estimate_commands import SetMarkups
from domain.markups import MarkupInput, bridge, cost_of, markup_from
from domain.risks import RiskInput, contribution, expected, exposure, mean_impact, risk_from, saving
from tests.strategies import markup_lists, risk_bodies

BASE = Decimal("2045323.78")
MARGIN = Decimal("0.12")
PLAIN: dict[str, Any] = {"risk_id": str(UUID(int=1)), "kind": "threat", "title": "Peat", "probability": "0.40"}
A = {**PLAIN, "low": "20000", "high": "60000"}
RESPONSE = {"kind": "mitigate", "cost": "8000", "residual_probability": "0.05"}
B = {
    **PLAIN,
    "probability": "0.15",
    "low": "100000",
    "high": "300000",
    "response": {**RESPONSE, "residual_low": "100000", "residual_high": "300000"},
}


def risk(body: dict[str, Any]) -> Any:
    return risk_from(RiskInput.model_validate_json(json.dumps(body)))


def markups(*bodies: dict[str, Any]) -> tuple[Any, ...]:
    given = ({**body, "markup_id": str(UUID(int=n)), "name": body["kind"]} for n, body in enumerate(bodies))
    return tuple(markup_from(MarkupInput.model_validate_json(json.dumps(body))) for body in given)


def test_the_worked_bid() -> None:
    a, b = risk(A), risk(B)
    adjustment = contribution(a) + contribution(b)
    assert (contribution(a), contribution(b)) == (Decimal("16000.00"), Decimal("30000.00"))
    assert bridge(BASE, adjustment, (), MARGIN).final_bid == Decimal("2376504.30")
    mitigated = replace(b, status="mitigated")
    adjustment = contribution(a) + contribution(mitigated)
    assert adjustment == Decimal("34000.00")
    assert bridge(BASE, adjustment, (), MARGIN).final_bid == Decimal("2362867.93")
    assert (saving(b), saving(a)) == (Decimal("12000.00"), None)
    assert (exposure(b), exposure(mitigated), exposure(replace(b, status="closed"))) == (
        Decimal("30000.00"),
        Decimal("10000.00"),
        Decimal(0),
    )


def test_a_triangle_has_another_mean_than_a_range() -> None:
    assert mean_impact(Decimal(20), None, Decimal(60)) == 40
    assert mean_impact(Decimal(20), Decimal(25), Decimal(60)) == 35
    assert expected(risk({**A, "likely": "20000.01", "probability": "0.5"})) == Decimal("16666.67")


def test_a_response_may_cost_more_than_it_saves() -> None:
    dear = {**RESPONSE, "cost": "25000", "residual_low": "100000", "residual_high": "300000"}
    assert saving(risk({**B, "response": dear})) == Decimal("-5000.00")


def test_an_opportunity_lowers_the_bid() -> None:
    assert contribution(risk({**PLAIN, "kind": "opportunity", "low": "-30000", "high": "0"})) == Decimal("-6000.00")


def test_mark_ups_are_taken_of_the_base_or_of_all_before() -> None:
    steps = markups(
        {"kind": "indirect", "rate": "0.10", "on": "direct"},
        {"kind": "escalation", "escalation": {"annual_rate": "0.04", "months_to_midpoint": "18"}},
        {"kind": "overhead", "rate": "0.08"},
        {"kind": "other", "amount": "2500.00"},
    )
    whole = bridge(
        Decimal("100000.00"),
        Decimal("5000.00"),
        (*steps[:1], markup_from(MarkupInput(kind="risk")), *steps[1:]),
        MARGIN,
    )
    assert [(step.kind, step.on_amount, step.amount) for step in whole.steps] == [
        ("indirect", Decimal("100000.00"), Decimal("10000.00")),
        ("risk", Decimal("110000.00"), Decimal("5000.00")),
        ("escalation", Decimal("115000.00"), Decimal("6968.55")),  # 115,000 × (1.04 ^ 1.5 − 1)
        ("overhead", Decimal("121968.55"), Decimal("9757.48")),
        ("other", Decimal("131726.03"), Decimal("2500.00")),
        ("margin", Decimal("152529.58"), Decimal("18303.55")),
    ]
    assert (whole.cost, whole.final_bid) == (Decimal("134226.03"), Decimal("152529.58"))
    risk_first = bridge(Decimal("100000.00"), Decimal("5000.00"), steps, MARGIN)
    assert [step.kind for step in risk_first.steps][:2] == ["risk", "indirect"]


cents = st.integers(-(10**12), 10**12).map(lambda n: Decimal(n).scaleb(-2))
margins = st.integers(-1_000_000, 999_999).map(lambda n: Decimal(n).scaleb(-6))


@given(cents, cents, markup_lists, margins)
def test_a_bridge_adds_up(base: Decimal, adjustment: Decimal, sent: list[dict[str, Any]], margin: Decimal) -> None:
    command = SetMarkups.model_validate_json(json.dumps({"markups": sent}))
    steps = tuple(map(markup_from, command.markups))
    whole = bridge(base, adjustment, steps, margin)
    assert base + sum(step.amount for step in whole.steps) == whole.final_bid
    assert whole.cost == cost_of(base, adjustment, steps)
    assert [step.running for step in whole.steps[:-1]][-1] == whole.cost
    assert all(step.amount == step.amount.quantize(Decimal("0.01")) for step in whole.steps)
    assert sum(step.kind == "risk" for step in whole.steps) == 1


@given(cents.map(abs), margins, margins)
def test_a_bid_rises_with_its_margin(cost: Decimal, one: Decimal, other: Decimal) -> None:
    low, high = sorted((one, other))
    assert bridge(cost, Decimal(0), (), low).final_bid <= bridge(cost, Decimal(0), (), high).final_bid


@given(risk_bodies())
def test_an_expected_value_is_rounded_once(body: dict[str, Any]) -> None:
    of = risk(body)
    impacts = [Fraction(each) for each in (of.low, of.likely, of.high) if each is not None]
    exact = Fraction(of.probability) * sum(impacts) / len(impacts)
    assert abs(Fraction(expected(of)) - exact) <= Fraction(1, 200)
    assert of.low <= mean_impact(of.low, of.likely, of.high) <= of.high
    if of.response is not None:
        assert saving(of) == contribution(of) - contribution(replace(of, status="mitigated"))


def faults(kind: type[pydantic.BaseModel], body: Any) -> list[tuple[str, str]]:
    with pytest.raises(pydantic.ValidationError) as refused:
        kind.model_validate_json(json.dumps(body))
    return [("/".join(map(str, error["loc"])), error["type"]) for error in refused.value.errors()]


@pytest.mark.parametrize(
    ("change", "path", "code"),
    [
        ({"probability": "1.2"}, "probability", "fraction_range"),
        ({"probability": "12"}, "probability", "fraction_range"),
        ({"probability": "-0.1"}, "probability", "fraction_range"),
        ({"low": "60000.01"}, "low", "impact_order"),
        ({"likely": "10000"}, "likely", "impact_order"),
        ({"likely": "70000"}, "likely", "impact_order"),
        ({"low": "-1"}, "low", "impact_sign"),
        ({"kind": "opportunity", "low": "-5"}, "high", "impact_sign"),
        ({"kind": "danger"}, "kind", "literal_error"),
        ({"title": " "}, "title", "text_blank"),
        ({"schedule_days": 1.5}, "schedule_days", "int_type"),
        (
            {"response": {**RESPONSE, "residual_low": "5", "residual_high": "4"}},
            "response/residual_low",
            "impact_order",
        ),
        (
            {"response": {**RESPONSE, "residual_low": "-5", "residual_high": "4"}},
            "response/residual_low",
            "impact_sign",
        ),
        (
            {"response": {**RESPONSE, "cost": "-1", "residual_low": "1", "residual_high": "4"}},
            "response/cost",
            "amount_negative",
        ),
    ],
)
def test_a_risk_that_cannot_be(change: dict[str, Any], path: str, code: str) -> None:
    assert faults(RiskInput, {**A, **change}) == [(path, code)]


def test_a_percentage_is_asked_for_as_a_fraction() -> None:
    with pytest.raises(pydantic.ValidationError, match=r"between 0 and 1: twelve percent is 0\.12"):
        RiskInput.model_validate_json(json.dumps({**A, "probability": "12"}))


MARKUP = {"markup_id": str(UUID(int=1)), "name": "Overhead", "kind": "overhead", "rate": "0.08"}


@pytest.mark.parametrize(
    ("bodies", "path", "code"),
    [
        ([{**MARKUP, "rate": "12"}], "markups/0/rate", "rate_range"),
        ([{**MARKUP, "rate": "-1"}], "markups/0/rate", "rate_range"),
        ([{**MARKUP, "amount": "5"}], "markups/0/amount", "markup_figures"),
        ([{"kind": "other", "markup_id": str(UUID(int=1)), "name": "x"}], "markups/0/rate", "markup_figure_missing"),
        ([{"kind": "other", "name": "x", "rate": "0"}], "markups/0/markup_id", "missing"),
        ([MARKUP, {**MARKUP, "name": "Profit"}], "markups/1/markup_id", "markup_repeated"),
        ([{"kind": "risk"}, MARKUP, {"kind": "risk"}], "markups/2/kind", "risk_step_repeated"),
        ([{"kind": "risk", "rate": "0.1"}], "markups/0/rate", "risk_step_alone"),
        ([{**MARKUP, "markup_id": str(UUID(int=n)), "rate": "9"} for n in range(4)], "markups", "markups_too_large"),
        (
            [
                {
                    **MARKUP,
                    "rate": None,
                    "escalation": {"annual_rate": "3.5", "months_to_midpoint": "18"},
                }
            ],
            "markups/0/escalation/annual_rate",
            "annual_rate_range",
        ),
        ([{**MARKUP, "markup_id": str(UUID(int=n))} for n in range(51)], "markups", "too_long"),
    ],
)
def test_mark_ups_that_cannot_be(bodies: list[dict[str, Any]], path: str, code: str) -> None:
    assert faults(SetMarkups, {"markups": bodies}) == [(path, code)]
