"""Variance of actual cost against budget: one signed definition, its words, and what of it is quantity, what price."""

from decimal import Decimal
from typing import Final, Literal, TypeAlias

import msgspec

from domain.money import CENT, EXACT, ZERO

Word: TypeAlias = Literal["over", "under", "on budget"]

_SIX_PLACES: Final = Decimal("0.000001")


class Spent(msgspec.Struct, frozen=True, kw_only=True):
    """Money of one row, budgeted or spent. `quantity` and `unit` are None where nothing was measured, or in several
    units, which no one quantity can stand for.
    """

    amount: Decimal = ZERO
    quantity: Decimal | None = None
    unit: str | None = None


class Variance(msgspec.Struct, frozen=True, kw_only=True):
    """`amount` is actual − budget: positive is over budget. `fraction` is the amount as a fraction of the budget, with
    the amount's sign, six places; None at budget 0, where there is none. `quantity_part` + `price_part` = `amount`
    exactly; both None where the variance cannot be split.
    """

    amount: Decimal
    word: Word
    fraction: Decimal | None
    quantity_part: Decimal | None = None
    price_part: Decimal | None = None


def variance(budget: Spent, actual: Spent) -> Variance:
    """How the actual cost stands to the budget."""
    amount = EXACT.subtract(actual.amount, budget.amount)
    quantity_part = _quantity_part(budget, actual)
    return Variance(
        amount=amount,
        word=word_of(amount),
        fraction=fraction_of(amount, budget.amount),
        quantity_part=quantity_part,
        price_part=None if quantity_part is None else EXACT.subtract(amount, quantity_part),
    )


def word_of(amount: Decimal) -> Word:
    """What people call a variance."""
    return "over" if amount > 0 else "under" if amount < 0 else "on budget"


def fraction_of(amount: Decimal, budget: Decimal) -> Decimal | None:
    """A variance as a fraction of the budget's size, half-up to six places; None at budget 0.

    Of a budgeted credit too, a positive fraction is over budget: the sign is the variance's.
    """
    if not budget:
        return None
    return EXACT.quantize(EXACT.divide(amount, abs(budget)), _SIX_PLACES) or Decimal(0)


def beyond(amount: Decimal, budget: Decimal, threshold: Decimal) -> bool:
    """Whether a variance is larger than this fraction of the budget. Any variance from a budget of 0 is."""
    return abs(amount) > EXACT.multiply(abs(budget), threshold)


def _quantity_part(budget: Spent, actual: Spent) -> Decimal | None:
    """(actual − budgeted quantity) × budgeted unit price, rounded half-up once. The rest of a variance is price, at the
    actual quantity: both conventions in one, and nothing is left over.
    """
    if budget.quantity is None or actual.quantity is None or budget.unit != actual.unit or not budget.quantity:
        return None
    more = EXACT.multiply(EXACT.subtract(actual.quantity, budget.quantity), budget.amount)
    return EXACT.quantize(EXACT.divide(more, budget.quantity), CENT) or ZERO
