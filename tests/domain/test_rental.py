"""What a month of rental is, by each of the rules, and what holds of any rental."""

from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.company import MonthRule
from domain.rental import rental_cost, rental_months

RATE = Decimal(10_000)
RULES: tuple[MonthRule, ...] = get_args(MonthRule)
PERIODS = (
    (date(2025, 1, 1), date(2025, 1, 31)),
    (date(2025, 1, 31), date(2025, 3, 1)),
    (date(2025, 3, 15), date(2025, 9, 14)),
)
ORACLE: dict[MonthRule, tuple[str, str, str]] = {
    "days-30": ("10000.00", "9666.67", "61000.00"),
    "days-30-44": ("9855.45", "9526.94", "60118.27"),
    "days-28": ("11071.43", "10714.29", "65714.29"),
    "days-365-over-12": ("10191.78", "9863.01", "60493.15"),
    "fraction-of-calendar-month": ("10000.00", "10645.16", "60150.54"),
    "anniversary": ("10000.00", "10666.67", "60000.00"),
    "calendar-months-touched": ("10000.00", "30000.00", "70000.00"),
    "month-number-difference": ("0.00", "20000.00", "60000.00"),
}

days = st.dates()
rules = st.sampled_from(RULES)
rates = st.integers(0, 10**15 - 1).map(lambda cents: Decimal(cents).scaleb(-2))


@st.composite
def periods(draw: st.DrawFn) -> tuple[date, date]:
    """First and last day, up to a few years apart."""
    start = draw(days)
    left = (date.max - start).days
    return start, start + timedelta(days=draw(st.integers(0, min(left, 1_500))))


@pytest.mark.parametrize("rule", RULES)
def test_the_table(rule: MonthRule) -> None:
    assert tuple(str(rental_cost(RATE, *period, rule)) for period in PERIODS) == ORACLE[rule]


@given(periods(), rates)
def test_a_full_calendar_month_costs_the_rate(period: tuple[date, date], rate: Decimal) -> None:
    first = period[0].replace(day=1)
    last = (first.replace(day=28) + timedelta(days=4)).replace(day=1) if first < date(9999, 12, 1) else date.max
    last = last - timedelta(days=1) if last < date.max else last
    assert rental_cost(rate, first, last, "fraction-of-calendar-month") == rate
    assert rental_cost(rate, first, last, "anniversary") == rate
    assert rental_cost(rate, first, last, "calendar-months-touched") == rate


@given(periods(), st.data())
@pytest.mark.parametrize("rule", ["fraction-of-calendar-month", "days-28", "days-365-over-12"])
def test_a_rental_that_is_split_costs_the_same_before_rounding(
    rule: MonthRule, period: tuple[date, date], data: st.DataObject
) -> None:
    start, end = period
    if start == end:
        return
    split = start + timedelta(days=data.draw(st.integers(0, (end - start).days - 1)))
    parts = rental_months(start, split, rule) + rental_months(split + timedelta(days=1), end, rule)
    assert parts == rental_months(start, end, rule)


@given(periods(), rates, rules)
def test_it_is_rounded_once_and_half_up(period: tuple[date, date], rate: Decimal, rule: MonthRule) -> None:
    exact = Fraction(rate) * rental_months(*period, rule) * 100
    cents, rest = divmod(exact, 1)
    expected = cents + (1 if rest >= Fraction(1, 2) else 0)
    assert rental_cost(rate, *period, rule) == Decimal(int(expected)).scaleb(-2)


@given(periods(), rules)
def test_a_longer_rental_is_no_shorter(period: tuple[date, date], rule: MonthRule) -> None:
    start, end = period
    if end < date.max:
        assert rental_months(start, end + timedelta(days=1), rule) >= rental_months(start, end, rule) >= 0


@given(days, rules)
def test_a_rental_of_one_day_has_a_day(day: date, rule: MonthRule) -> None:
    assert rental_months(day, day, rule) > 0 or rule == "month-number-difference"


@pytest.mark.parametrize("rule", RULES)
def test_an_end_before_the_start_is_none(rule: MonthRule) -> None:
    with pytest.raises(ValueError, match="before it starts"):
        rental_months(date(2025, 1, 2), date(2025, 1, 1), rule)


def test_thirty_first_to_february_does_not_drift() -> None:
    start = date(2025, 1, 31)
    ends = [date(2025, 2, 27), date(2025, 3, 30), date(2025, 4, 29), date(2025, 5, 30)]
    assert [rental_months(start, end, "anniversary") for end in ends] == [1, 2, 3, 4]
