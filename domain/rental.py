"""What a rental costs: a rate a month, times months under one of the rules of what a month is."""

from calendar import monthrange
from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import Final, assert_never

from domain.company import MonthRule
from domain.money import CENT, EXACT, ZERO

RULE_VERSION: Final = 1
"""Raised when a rule would give another figure than it did; computed costs are stored with it."""


def rental_cost(rate: Decimal, start: date, end: date, rule: MonthRule) -> Decimal:
    """The cost of a rental at `rate` a month from the first to the last day, both included: rounded once, half-up to
    cents. Raises ValueError when it ends before it starts.
    """
    months = rental_months(start, end, rule)
    exact = EXACT.divide(EXACT.multiply(rate, Decimal(months.numerator)), Decimal(months.denominator))
    return EXACT.quantize(exact, CENT) or ZERO


def rental_months(start: date, end: date, rule: MonthRule) -> Fraction:
    """Months from the first to the last day, both included, exactly. Raises ValueError when it ends before it starts.

    Where a rule counts days without the last one, as from check-out to return, a rental still has one day at least.
    """
    if end < start:
        raise ValueError("the rental ends before it starts")
    days = end.toordinal() - start.toordinal() + 1
    apart = _month(end) - _month(start)
    match rule:
        case "fraction-of-calendar-month":
            return _fractions(start, end, apart)
        case "calendar-months-touched":
            return Fraction(apart + 1)
        case "month-number-difference":
            return Fraction(apart)
        case "anniversary":
            return _by_anniversaries(start, end, apart)
        case "days-28":
            return Fraction(days, 28)
        case "days-30":
            return Fraction(max(days - 1, 1), 30)
        case "days-30-44":
            return Fraction(max(days - 1, 1) * 100, 3044)
        case "days-365-over-12":
            return Fraction(days * 12, 365)
    assert_never(rule)


def _month(day: date) -> int:
    return day.year * 12 + day.month - 1


def _length(month: int) -> int:
    return monthrange(month // 12, month % 12 + 1)[1]


def _fractions(start: date, end: date, apart: int) -> Fraction:
    """Of each calendar month the part that is rented: so whole months cost the rate, and any split adds up."""
    until_end = Fraction(end.day, _length(_month(end)))
    before_start = Fraction(start.day - 1, _length(_month(start)))
    return apart + until_end - before_start


def _by_anniversaries(start: date, end: date, apart: int) -> Fraction:
    """Whole months to the same day, or the last of a shorter month, and what is left in thirtieths."""
    over = end.toordinal() + 1
    whole = apart + 1
    while whole and _anniversary(start, whole) > over:
        whole -= 1
    return whole + Fraction(over - _anniversary(start, whole), 30)


def _anniversary(start: date, months: int) -> int:
    """The ordinal of the day so many months after the start."""
    month = _month(start) + months
    if month // 12 > date.max.year:
        return date.max.toordinal() + start.day
    day = min(start.day, _length(month))
    return date(month // 12, month % 12 + 1, day).toordinal()
