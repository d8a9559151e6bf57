"""The fields that a record of plan, forecast and actual (PFA) has here, whatever its upstream calls them."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

import msgspec


class FieldType(StrEnum):
    """What a value is: text, int, Decimal, Decimal of two places, date, bool, or one line of text to group by."""

    TEXT = "text"
    INTEGER = "integer"
    DECIMAL = "decimal"
    MONEY = "money"
    DATE = "date"
    BOOLEAN = "boolean"
    CATEGORY = "category"


class ConflictPolicy(StrEnum):
    """Whose value stands when a draft and the upstream both moved the same field."""

    LAST_WRITE_WINS = "last-write-wins"
    SERVER_WINS = "server-wins"
    """The upstream's; the draft of that field is dropped, and reported."""
    CLIENT_WINS = "client-wins"
    """The draft's."""
    MERGE = "merge"
    """Both, where that has a meaning; never letter by letter."""
    MANUAL = "manual"
    """Nobody's until a person has chosen."""


class PfaField(msgspec.Struct, frozen=True):
    """One canonical field. Only an `editable` one may be drafted."""

    type: FieldType
    editable: bool
    policy: ConflictPolicy
    meaning: str


_PLAN = ConflictPolicy.SERVER_WINS
_ASK = ConflictPolicy.MANUAL
_LATEST = ConflictPolicy.LAST_WRITE_WINS

PFA_FIELDS: Final[Mapping[str, PfaField]] = {
    "category": PfaField(FieldType.CATEGORY, True, _LATEST, "What it is, such as Crane or Construction."),
    "source": PfaField(
        FieldType.CATEGORY, True, _LATEST, "Where it comes from, such as Rental, Purchase or a programme."
    ),
    "record_class": PfaField(FieldType.CATEGORY, True, _LATEST, "The upstream's own class or status."),
    "area": PfaField(FieldType.CATEGORY, True, _LATEST, "Where on the project it is used."),
    "description": PfaField(FieldType.TEXT, True, _ASK, "What people call it."),
    "plan_cost": PfaField(FieldType.MONEY, False, _PLAN, "What was planned to be spent."),
    "plan_start": PfaField(FieldType.DATE, False, _PLAN, "First day of the plan."),
    "plan_end": PfaField(FieldType.DATE, False, _PLAN, "Last day of the plan, inclusive."),
    "forecast_cost": PfaField(FieldType.MONEY, True, _ASK, "What is expected to be spent in all."),
    "forecast_start": PfaField(FieldType.DATE, True, _ASK, "First day expected."),
    "forecast_end": PfaField(FieldType.DATE, True, _ASK, "Last day expected, inclusive."),
    "actual_cost": PfaField(FieldType.MONEY, False, _PLAN, "What has been spent."),
    "actual_start": PfaField(FieldType.DATE, False, _PLAN, "First day in fact."),
    "actual_end": PfaField(FieldType.DATE, False, _PLAN, "Last day in fact, inclusive."),
    "monthly_rate": PfaField(FieldType.MONEY, True, _ASK, "What a month of rental costs."),
    "purchase_price": PfaField(FieldType.MONEY, True, _ASK, "What it costs once, where it is bought."),
    "is_actualised": PfaField(FieldType.BOOLEAN, False, _PLAN, "Whether it is over: the forecast then is the actual."),
    "is_discontinued": PfaField(
        FieldType.BOOLEAN, True, _LATEST, "Whether it was given up. Gone upstream is not this."
    ),
}
"""By name."""
