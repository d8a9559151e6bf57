"""Which records of a mirror are meant, by what they say once the asking user's drafts are put in."""

from datetime import date
from decimal import Decimal
from typing import Annotated, Any, Final, Self, TypeAlias

import pydantic
from pydantic import Field, StringConstraints, model_validator

from domain.faults import Fault, refuse
from domain.money import Amount

GROUPS: Final = ("category", "source", "record_class", "area")
"""The fields that records are grouped by. A blank one is a group of its own, written as the empty string."""
AMOUNTS: Final = ("plan_cost", "forecast_cost", "actual_cost", "monthly_rate", "purchase_price")
DAYS: Final = ("plan_start", "plan_end", "forecast_start", "forecast_end", "actual_start", "actual_end")
VALUES_LIMIT: Final = 100

Group: TypeAlias = Annotated[str, StringConstraints(max_length=200)]
Groups: TypeAlias = Annotated[tuple[Group, ...], Field(max_length=VALUES_LIMIT)]


class AmountRange(pydantic.BaseModel):
    """Amounts from `least` to `most`, both inclusive; a record without an amount is in no range."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", strict=True)

    least: Amount | None = Field(default=None, examples=["1000.00"])
    most: Amount | None = Field(default=None, examples=["250000.00"])

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        refuse(self, _order(self.least, self.most))
        return self


class DayRange(pydantic.BaseModel):
    """Days from `least` to `most`, both inclusive; a record without a day is in no range."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", strict=True)

    least: date | None = Field(default=None, examples=["2026-01-01"])
    most: date | None = Field(default=None, examples=["2026-12-31"])

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        refuse(self, _order(self.least, self.most))
        return self


class RecordFilter(pydantic.BaseModel):
    """What records must say, all of it at once; what is left out does not matter. Values are those of the asking user's
    merged view: a record whose drafted category is Crane is found under Crane, not under its old one.
    """

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", strict=True)

    category: Groups = Field(default=(), description="Any of these.", examples=[["Construction"]])
    source: Groups = Field(default=(), description="Any of these.")
    record_class: Groups = Field(default=(), description="Any of these.")
    area: Groups = Field(default=(), description="Any of these.")
    is_actualised: bool | None = None
    is_discontinued: bool | None = None
    plan_cost: AmountRange | None = None
    forecast_cost: AmountRange | None = None
    actual_cost: AmountRange | None = None
    monthly_rate: AmountRange | None = None
    purchase_price: AmountRange | None = None
    plan_start: DayRange | None = None
    plan_end: DayRange | None = None
    forecast_start: DayRange | None = None
    forecast_end: DayRange | None = None
    actual_start: DayRange | None = None
    actual_end: DayRange | None = None
    search: Annotated[str, StringConstraints(max_length=200)] | None = Field(
        default=None, description="Words of description, groups and identity; the last may be the beginning of one."
    )
    drafted: bool | None = Field(default=None, description="Whether the asking user drafted on it.")
    behind: bool | None = Field(
        default=None, description="Whether the upstream moved a field since the user drafted it."
    )
    removed: bool = Field(default=False, description="True: records that are gone upstream, which else are left out.")

    def given(self) -> dict[str, Any]:
        """The conditions that were given, by name."""
        return {name: getattr(self, name) for name in self.model_fields_set if getattr(self, name) not in (None, ())}


def _order(least: Decimal | date | None, most: Decimal | date | None) -> list[Fault]:
    if least is None or most is None or not most < least:  # type: ignore[operator]  # both of one kind
        return []
    return [Fault(("most",), "range_reversed", "The most is less than the least")]
