"""Variance: one signed definition, and parts that add up to it."""

from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from domain.variance import Spent, Variance, beyond, fraction_of, variance, word_of

D = Decimal
amounts = st.integers(-(10**15), 10**15).map(lambda n: D(n).scaleb(-2)) | st.just(D(0))
quantities = st.integers(-(10**12), 10**12).map(lambda n: D(n).scaleb(-6)) | st.integers(-3, 3).map(D)
spent = st.builds(
    lambda amount, quantity, unit: Spent(amount=amount, quantity=quantity, unit=quantity if quantity is None else unit),
    amounts,
    st.none() | quantities,
    st.sampled_from(["CY", "CY", "TON"]),
)


def of(amount: str, quantity: str | None = None, unit: str | None = "CY") -> Spent:
    return Spent(amount=D(amount), quantity=None if quantity is None else D(quantity), unit=quantity and unit)


@pytest.mark.parametrize(
    ("budget", "actual", "expected"),
    [
        (of("1000.00", "100"), of("1320.00", "110"), ("320.00", "over", "0.32", "100.00", "220.00")),
        (of("1000.00", "100"), of("810.00", "90"), ("-190.00", "under", "-0.19", "-100.00", "-90.00")),
        (of("1000.00", "100"), of("1000.00", "100"), ("0.00", "on budget", "0", "0.00", "0.00")),
        (of("1000.00", "100"), of("1000.00", "125"), ("0.00", "on budget", "0", "250.00", "-250.00")),
        (of("100.00", "3"), of("200.00", "4"), ("100.00", "over", "1", "33.33", "66.67")),
        (of("0.00"), of("50.00", "5"), ("50.00", "over", None, None, None)),
        (of("500.00", "0"), of("50.00", "5"), ("-450.00", "under", "-0.9", None, None)),
        (of("500.00", "10", "TON"), of("50.00", "5"), ("-450.00", "under", "-0.9", None, None)),
        (of("500.00"), of("50.00", "5"), ("-450.00", "under", "-0.9", None, None)),
        (of("500.00", "10"), of("0.00"), ("-500.00", "under", "-1", None, None)),
        (of("-100.00"), of("-50.00"), ("50.00", "over", "0.5", None, None)),
        (of("3.00"), of("4.00"), ("1.00", "over", "0.333333", None, None)),
    ],
)
def test_by_hand(budget: Spent, actual: Spent, expected: tuple[Any, ...]) -> None:
    found = variance(budget, actual)
    assert found == Variance(
        amount=D(expected[0]),
        word=expected[1],
        fraction=None if expected[2] is None else D(expected[2]),
        quantity_part=None if expected[3] is None else D(expected[3]),
        price_part=None if expected[4] is None else D(expected[4]),
    )


@given(spent, spent)
@example(of("0.00", "2"), of("0.00", "3"))
def test_parts_add_up_and_agree_with_exact_arithmetic(budget: Spent, actual: Spent) -> None:
    found = variance(budget, actual)
    assert Fraction(found.amount) == Fraction(actual.amount) - Fraction(budget.amount)
    assert found.word == ("over" if found.amount > 0 else "under" if found.amount < 0 else "on budget")
    assert (found.fraction is None) == (budget.amount == 0)
    if found.fraction is not None:
        exact = Fraction(found.amount) / abs(Fraction(budget.amount))
        assert abs(Fraction(found.fraction) - exact) <= Fraction(1, 2_000_000)
    if found.quantity_part is None or found.price_part is None:
        assert found.quantity_part is found.price_part is None
        assert not (budget.quantity and actual.quantity is not None and budget.unit == actual.unit)
        return
    assert found.quantity_part + found.price_part == found.amount
    assert budget.quantity is not None
    assert actual.quantity is not None
    price = Fraction(budget.amount) / Fraction(budget.quantity)
    exact = (Fraction(actual.quantity) - Fraction(budget.quantity)) * price
    assert abs(Fraction(found.quantity_part) - exact) <= Fraction(1, 200)


@given(spent, spent)
def test_taking_the_sides_round_the_other_way_changes_the_word(one: Spent, other: Spent) -> None:
    assert variance(one, other).amount == -variance(other, one).amount
    words = {"over": "under", "under": "over", "on budget": "on budget"}
    assert variance(other, one).word == words[variance(one, other).word]


def test_a_threshold_is_passed_not_met() -> None:
    assert not beyond(D("100.00"), D("1000.00"), D("0.1"))
    assert beyond(D("100.01"), D("1000.00"), D("0.1"))
    assert beyond(D("-100.01"), D("1000.00"), D("0.1"))
    assert beyond(D("100.01"), D("-1000.00"), D("0.1"))
    assert beyond(D("0.01"), D("0.00"), D("0.1"))
    assert not beyond(D("0.00"), D("0.00"), D("0.1"))
    assert fraction_of(D("1"), D("0")) is None
    assert word_of(D("0.00")) == "on budget"
