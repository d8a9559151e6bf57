"""Accuracy of estimates, against the standard library's statistics."""

import statistics
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.accuracy import Accuracy, accuracy

fractions = st.integers(-5_000_000, 5_000_000).map(lambda n: Decimal(n).scaleb(-6))


def test_by_hand() -> None:
    found = accuracy([Decimal("0.1"), None, Decimal("-0.2"), Decimal("0.4")])
    assert found == Accuracy(
        count=3,
        undefined=1,
        bias=Decimal("0.1"),
        mean_absolute=Decimal("0.233333"),
        median=Decimal("0.1"),
        spread=Decimal("0.3"),
    )
    assert accuracy([Decimal("0.1"), Decimal("0.2")]).median == Decimal("0.15")


def test_few() -> None:
    nothing = Accuracy(count=0, undefined=0, bias=None, mean_absolute=None, median=None, spread=None)
    assert accuracy([]) == nothing
    one = accuracy([Decimal("-0.5")])
    assert (one.bias, one.mean_absolute, one.median, one.spread) == (
        Decimal("-0.5"),
        Decimal("0.5"),
        Decimal("-0.5"),
        None,
    )


@given(st.lists(fractions, min_size=2, max_size=30))
def test_against_the_standard_library(sample: list[Decimal]) -> None:
    found = accuracy(sample)
    exact = [Fraction(each) for each in sample]
    assert found.count == len(sample)
    for value, expected in (
        (found.bias, statistics.mean(exact)),
        (found.mean_absolute, statistics.mean([abs(each) for each in exact])),
        (found.median, statistics.median(exact)),
    ):
        assert value is not None
        assert abs(Fraction(value) - Fraction(expected)) <= Fraction(1, 2_000_000)
    assert found.spread is not None
    assert float(found.spread) == pytest.approx(statistics.stdev(map(float, sample)), abs=1e-6)
