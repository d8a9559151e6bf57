"""What somebody may do to the drafts over a mirror's records: the commands."""

from datetime import date
from decimal import Decimal
from typing import Annotated, Any, Final, Literal, Self, TypeAlias
from uuid import UUID

import pydantic
from pydantic import AfterValidator, Field, PlainValidator, StringConstraints, TypeAdapter, WithJsonSchema
from pydantic import model_validator as check
from pydantic.json_schema import SkipJsonSchema
from pydantic_core import PydanticCustomError

from domain.decider import Command
from domain.faults import Fault, refuse
from domain.money import Amount
from domain.pfa_values import EDITABLE
from domain.record_filter import RecordFilter
from domain.subset import optional
from domain.text import NotEmpty, many_lines, one_line

DRAFTS_LIMIT: Final = 10_000
"""Records of one command."""
COMPUTED: Final = "computed"
"""In place of a forecast cost: work it out."""

_ID: Final = "0197b2a4-5f6e-7c3d-8a9b-0c1d2e3f4a5b"
_amount: TypeAdapter[Decimal] = TypeAdapter(Amount)


def _or_none(text: str | None) -> str | None:
    """Blank text is no value, as it is when an upstream sends it."""
    return None if text is None or not text.strip() else text


def _cost(value: Any) -> Decimal | str | None:
    return value if value is None or value == COMPUTED else _amount.validate_python(value)


def _theirs(_: Any) -> None:
    raise PydanticCustomError(
        "field_not_editable", "The upstream owns this field: what it says comes with the next sync, and is not drafted"
    )


Group: TypeAlias = Annotated[
    str | None, StringConstraints(max_length=200), AfterValidator(lambda text: _or_none(text and one_line(text)))
]
Told: TypeAlias = Annotated[
    str | None, StringConstraints(max_length=10_000), AfterValidator(lambda text: _or_none(text and many_lines(text)))
]
Cost: TypeAlias = Annotated[
    Decimal | Literal["computed"] | None,
    PlainValidator(_cost),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "integer"}, {"type": "null"}]}),
]
Theirs: TypeAlias = SkipJsonSchema[Annotated[None, PlainValidator(_theirs)]]


class _Input(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", strict=True)


class FieldsInput(_Input):
    """Some fields of a record as somebody wants them; null is no value. Only what is editable is taken."""

    category: Group = optional("What it is; null for a blank.", ["Crane"])
    source: Group = optional("Where it comes from; null for a blank.", ["Rental"])
    record_class: Group = optional("The upstream's own class; null for a blank.", ["In-Progress"])
    area: Group = optional("Where it is used; null for a blank.", ["Tower A"])
    description: Told = optional("What people call it; null for nothing.", ["Tower crane 2"])
    forecast_cost: Cost = optional(
        "What is expected to be spent; the word `computed` for the monthly rate times the months of the forecast by "
        "the company's month rule, or for the purchase price.",
        ["61250.00", "computed"],
    )
    forecast_start: date | None = optional("First day expected.", ["2026-03-01"])
    forecast_end: date | None = optional("Last day expected, inclusive.", ["2026-09-30"])
    monthly_rate: Amount | None = optional("What a month of rental costs.", ["8750.00"])
    purchase_price: Amount | None = optional("What it costs once.", ["42000.00"])
    is_discontinued: bool | None = optional("Whether it was given up.", [True])
    plan_cost: Theirs = None
    plan_start: Theirs = None
    plan_end: Theirs = None
    actual_cost: Theirs = None
    actual_start: Theirs = None
    actual_end: Theirs = None
    is_actualised: Theirs = None

    @check(mode="after")
    def _gives_something(self) -> Self:
        if not self.model_fields_set:
            raise PydanticCustomError("nothing_given", "Give at least one field")
        return self

    def given(self) -> dict[str, Any]:
        """Field → wanted value, of the fields that were sent."""
        return {name: getattr(self, name) for name in EDITABLE if name in self.model_fields_set}


class DraftInput(_Input):
    """What somebody wants of a record."""

    record_id: UUID = Field(description="Which record.", examples=[_ID])
    fields: FieldsInput = Field(description="Some of its fields.")


def _editable(name: str) -> str:
    if name not in EDITABLE:
        raise PydanticCustomError("field_not_editable", "No field of this name can be drafted")
    return name


EditableField: TypeAlias = Annotated[
    str, AfterValidator(_editable), WithJsonSchema({"type": "string", "enum": list(EDITABLE)})
]


class RecordFields(_Input):
    """A record whose draft is meant: all of it, or some fields."""

    record_id: UUID = Field(description="Which record.", examples=[_ID])
    fields: Annotated[tuple[EditableField, ...], NotEmpty()] | None = Field(
        default=None, description="Which fields; null for all.", examples=[["forecast_cost"]]
    )


class _OfConnection(Command):
    """Its stream is that of whoever sends it, over one connection."""

    connection_id: UUID = Field(description="The connection whose records are drafted.", examples=[_ID])


class SaveDrafts(_OfConnection):
    """Drafts fields of records, all of them or none; fields that are not named stay as they are. A field that says what
    the upstream says now is no draft any more.
    """

    position: int | None = Field(
        default=None,
        ge=0,
        description="The position that the sender looked at, so that what the upstream moved since is found "
        "when it is committed; null for now.",
        examples=[48211],
    )
    drafts: Annotated[tuple[DraftInput, ...], Field(max_length=DRAFTS_LIMIT), NotEmpty()] = Field(
        description=f"Up to {DRAFTS_LIMIT:,} records, each once."
    )


class DraftMany(_OfConnection):
    """Drafts the same fields of all records that a filter means, in the sender's own view."""

    filter: RecordFilter = Field(description=f"Which records: up to {DRAFTS_LIMIT:,}.")
    fields: FieldsInput = Field(description="What they shall say.")
    expected: int = Field(ge=0, description="How many records are meant, as the preview said.", examples=[214])
    position: int | None = Field(
        default=None, ge=0, description="The position that the sender looked at; null for now.", examples=[48211]
    )


class DiscardDrafts(_OfConnection):
    """Ends drafts: all of them, or those that are named. What is not drafted is passed over."""

    all: Literal[True] | None = Field(default=None, description="All drafts on the connection.", examples=[True])
    records: Annotated[tuple[RecordFields, ...], Field(max_length=DRAFTS_LIMIT)] = Field(
        default=(), description=f"Or up to {DRAFTS_LIMIT:,} records."
    )

    @check(mode="after")
    def _one_of_both(self) -> Self:
        if (self.all is None) == (not self.records):
            refuse(self, [Fault(("records",), "all_or_some", "Either all is true, or records names some")])
        return self


class RestoreDrafts(_OfConnection):
    """Takes a discard back. What was drafted anew since stays as it is."""

    stream_version: int = Field(
        ge=1, description="The version of the drafts' stream that the discard wrote; its receipt says it.", examples=[7]
    )


DraftsCommand: TypeAlias = SaveDrafts | DraftMany | DiscardDrafts | RestoreDrafts
"""Open to those who edit: what one drafts is nobody else's."""
