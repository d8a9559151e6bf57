"""How well estimates met what projects really cost: statistics over variances as fractions of budgets."""

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Final

import msgspec

from domain.money import EXACT

_SIX_PLACES: Final = Decimal("0.000001")


class Accuracy(msgspec.Struct, frozen=True, kw_only=True):
    """Over `count` projects, fractions to six places. `bias` is the mean with its sign: positive says that projects
    cost more than estimated. `mean_absolute` forgets the sign. `spread` is the sample standard deviation, None below
    two projects; the others are None without any. `undefined` counts those whose budget was 0: they have no fraction.
    """

    count: int
    undefined: int
    bias: Decimal | None
    mean_absolute: Decimal | None
    median: Decimal | None
    spread: Decimal | None


def accuracy(fractions: Iterable[Decimal | None]) -> Accuracy:
    """The statistics of these variances."""
    given = list(fractions)
    known = sorted(each for each in given if each is not None)
    bias = _mean(known)
    return Accuracy(
        count=len(known),
        undefined=len(given) - len(known),
        bias=_rounded(bias),
        mean_absolute=_rounded(_mean([abs(each) for each in known])),
        median=_rounded(_median(known)),
        spread=_rounded(_spread(known, bias)),
    )


def _total(numbers: Iterable[Decimal]) -> Decimal:
    total = Decimal(0)
    for number in numbers:
        total = EXACT.add(total, number)
    return total


def _mean(numbers: Sequence[Decimal]) -> Decimal | None:
    return EXACT.divide(_total(numbers), Decimal(len(numbers))) if numbers else None


def _median(in_order: Sequence[Decimal]) -> Decimal | None:
    middle = len(in_order) // 2
    return _mean(in_order[middle : middle + 1] if len(in_order) % 2 else in_order[max(middle - 1, 0) : middle + 1])


def _spread(numbers: Sequence[Decimal], mean: Decimal | None) -> Decimal | None:
    if mean is None or len(numbers) < 2:
        return None
    away = [EXACT.subtract(number, mean) for number in numbers]
    return EXACT.sqrt(EXACT.divide(_total(EXACT.multiply(each, each) for each in away), Decimal(len(numbers) - 1)))


def _rounded(number: Decimal | None) -> Decimal | None:
    return None if number is None else EXACT.quantize(number, _SIX_PLACES) or Decimal(0)
