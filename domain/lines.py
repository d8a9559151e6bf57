"""Lines of an estimate: what one carries, what it costs, and which total it counts in."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from decimal import Decimal
from typing import Annotated, Final, Literal, TypeAlias, TypeVar
from uuid import UUID

import msgspec
import pydantic
from msgspec import UNSET, UnsetType
from msgspec.structs import replace
from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from domain.money import (
    EXACT,
    LARGEST_AMOUNT,
    LARGEST_UNIT_PRICE,
    SIX_PLACES,
    ZERO,
    Amount,
    Currency,
    ExchangeRate,
    Quantity,
    UnitPrice,
    extension_of,
)
from domain.subset import Change
from domain.text import Label, Name, Note, NotEmpty, Sentence
from domain.units import LUMP_SUM, Unit

T = TypeVar("T")

CostType: TypeAlias = Literal["labour", "material", "equipment", "subcontract", "other"]
"""What kind of money. The WBS path says what is built, the cost code where the money is booked: three separate axes."""
Firmness: TypeAlias = Literal["firm", "plug"]
"""A plug stands in for a quote that has not arrived."""
Pricing: TypeAlias = Literal["base", "allowance", "alternate"]
"""Allowances and alternates are priced apart: they never count in the base total."""
WbsPath: TypeAlias = Annotated[tuple[Label, ...], Field(max_length=10), NotEmpty()]
Code: TypeAlias = Label | None

IMPORT_LIMIT: Final = 20_000
CHUNK: Final = 500
"""Lines per stored event of an import or a copy."""
TWO_PRICES: Final = "Send a unit price or a conversion, not both: with a conversion the unit price is price × rate"


class ConversionInput(pydantic.BaseModel):
    """A price quoted in another currency, and the rate it is taken over at. Nothing is looked up: the rate is yours."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", strict=True)

    currency: Currency = Field(description="What the price was quoted in; not the estimate's.", examples=["CAD"])
    unit_price: UnitPrice = Field(description="Price of one unit as it was quoted.", examples=["8.10"])
    rate: ExchangeRate = Field(description="Worth of one unit of it in the estimate's currency.", examples=["0.7352"])
    rated_on: date = Field(description="The day the rate is of.", examples=["2022-01-20"])
    source: Name | None = Field(default=None, description="Where the rate is from.", examples=["Bank of Canada"])


class LineInput(pydantic.BaseModel):
    """A new line as it is sent. The id is the sender's and stays with the line in later versions."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", strict=True)

    line_id: UUID = Field(description="Names the line.", examples=["0197b2a4-5f6e-7c3d-8a9b-0c1d2e3f4a5b"])
    wbs_path: WbsPath = Field(
        description="Work breakdown, from the whole to the part: what is built.", examples=[["SP 5625-20", "Paving"]]
    )
    description: Sentence = Field(description="What the line is for.", examples=["REMOVE BITUMINOUS PAVEMENT"])
    quantity: Quantity = Field(description="How much; 1 for a lump sum.", examples=["4366"])
    unit: Unit = Field(
        description="A unit of the controlled list, or another spelling of one: `C Y` is stored as `CY`.",
        examples=["SY"],
    )
    conversion: ConversionInput | None = Field(
        default=None, description="A price in another currency. Then `unit_price` is left out: it is price × rate."
    )
    unit_price: UnitPrice | None = Field(
        default=None,
        validate_default=True,
        description="Price of one unit, in the estimate's currency. Required without a conversion.",
        examples=["5.72882"],
    )
    extension: Amount | None = Field(
        default=None,
        description="A submitted amount. It is the authority: never derived again from quantity and unit price. "
        "Without it the extension is quantity × unit price, rounded half-up to cents.",
        examples=["14335.86"],
    )
    code: Code = Field(default=None, description="Cost code: where the money is booked.", examples=["2104504/00120"])
    code_set: Code = Field(default=None, description="The set the code is from.", examples=["MnDOT"])
    code_edition: Code = Field(default=None, description="The edition of that set.", examples=["2020"])
    cost_type: CostType = Field(default="other", description="What kind of money.", examples=["subcontract"])
    note: Note | None = Field(default=None, description="Basis or remark.", examples=["Quantity from sheet 14"])
    quote_reference: Name | None = Field(default=None, description="The quote it rests on.", examples=["Q-2217"])
    firmness: Firmness = Field(default="firm", description="A plug awaits its quote.", examples=["plug"])
    pricing: Pricing = Field(default="base", description="Only base lines count in the bid.", examples=["allowance"])
    currency: Currency | None = Field(
        default=None,
        description="If given, must be the estimate's; a price in another one is sent as a conversion.",
        examples=["USD"],
    )

    @field_validator("unit_price")
    @classmethod
    def _has_one_price(cls, unit_price: Decimal | None, body: pydantic.ValidationInfo) -> Decimal | None:
        if "conversion" in body.data:  # or it has faults of its own
            if unit_price is None and body.data["conversion"] is None:
                raise PydanticCustomError("missing", "Field required")
            if unit_price is not None and body.data["conversion"] is not None:
                raise PydanticCustomError("two_prices", TWO_PRICES)
        return unit_price


class Conversion(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where a line's unit price is from: a price in another currency and the rate it was taken over at."""

    currency: str
    unit_price: Decimal
    rate: Decimal
    rated_on: date
    source: str | None = None


class Line(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A line as it stands. `extension` is what it costs, to the cent; `submitted` says it is an amount given as such,
    not quantity × unit price. Lines are read in order of `ordinal`, which no two of an estimate share.
    """

    line_id: UUID
    ordinal: Decimal
    wbs_path: tuple[str, ...]
    description: str
    quantity: Decimal
    unit: str
    unit_price: Decimal
    extension: Decimal
    submitted: bool = False
    code: str | None = None
    code_set: str | None = None
    code_edition: str | None = None
    cost_type: CostType = "other"
    note: str | None = None
    quote_reference: str | None = None
    firmness: Firmness = "firm"
    pricing: Pricing = "base"
    conversion: Conversion | None = None


class LineChange(Change, frozen=True):
    """Fields of a line before or after a revision."""

    description: str | UnsetType = UNSET
    quantity: Decimal | UnsetType = UNSET
    unit: str | UnsetType = UNSET
    unit_price: Decimal | UnsetType = UNSET
    extension: Decimal | UnsetType = UNSET
    submitted: bool | UnsetType = UNSET
    code: str | UnsetType | None = UNSET
    code_set: str | UnsetType | None = UNSET
    code_edition: str | UnsetType | None = UNSET
    cost_type: CostType | UnsetType = UNSET
    note: str | UnsetType | None = UNSET
    quote_reference: str | UnsetType | None = UNSET
    firmness: Firmness | UnsetType = UNSET
    pricing: Pricing | UnsetType = UNSET
    conversion: Conversion | UnsetType | None = UNSET


class LinePlace(Change, frozen=True):
    """Where a line stands, before or after a move."""

    wbs_path: tuple[str, ...] | UnsetType = UNSET
    ordinal: Decimal | UnsetType = UNSET


class Counted(msgspec.Struct, frozen=True):
    """What a line adds to which total: `extension`, to the total of `pricing`."""

    pricing: Pricing
    extension: Decimal


def counted(line: Line) -> Counted:
    """The line's part in the totals."""
    return Counted(line.pricing, line.extension)


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """Sums of rounded extensions, each pricing apart. Exact, so the order of adding does not matter."""

    base: Decimal = ZERO
    allowance: Decimal = ZERO
    alternate: Decimal = ZERO

    def plus(self, part: Counted) -> "Totals":
        """With a line's part added."""
        return replace(self, **{part.pricing: EXACT.add(getattr(self, part.pricing), part.extension)})

    def minus(self, part: Counted) -> "Totals":
        """With a line's part taken out."""
        return replace(self, **{part.pricing: EXACT.subtract(getattr(self, part.pricing), part.extension)})


def conversion_from(sent: ConversionInput | None) -> Conversion | None:
    """The conversion that was sent."""
    return None if sent is None else Conversion(**dict(sent))


def converted_price(conversion: Conversion) -> Decimal:
    """The unit price in the estimate's currency: price × rate, rounded half-up to six places."""
    return EXACT.quantize(EXACT.multiply(conversion.unit_price, conversion.rate), SIX_PLACES) or Decimal(0)


def line_from(sent: LineInput, ordinal: Decimal) -> Line:
    """The line that was sent, at this place, with price and extension worked out unless they were given."""
    conversion = conversion_from(sent.conversion)
    unit_price = sent.unit_price if conversion is None else converted_price(conversion)
    assert unit_price is not None, "one of the two was required"
    given = sent.extension
    return Line(
        line_id=sent.line_id,
        ordinal=ordinal,
        wbs_path=sent.wbs_path,
        description=sent.description,
        quantity=sent.quantity,
        unit=sent.unit,
        unit_price=unit_price,
        extension=extension_of(sent.quantity, unit_price) if given is None else given,
        submitted=given is not None,
        code=sent.code,
        code_set=sent.code_set,
        code_edition=sent.code_edition,
        cost_type=sent.cost_type,
        note=sent.note,
        quote_reference=sent.quote_reference,
        firmness=sent.firmness,
        pricing=sent.pricing,
        conversion=conversion,
    )


def lump_sum_is_one(line: Line) -> bool:
    """A lump sum has quantity 1; any other quantity is a mistake in quantity or unit."""
    return line.unit != LUMP_SUM or line.quantity == 1


def unit_price_fits(line: Line) -> bool:
    """Whether a converted unit price is within the 12 digits before the point."""
    return abs(line.unit_price) < LARGEST_UNIT_PRICE


def extension_fits(line: Line) -> bool:
    """Whether the extension is within the 15 digits of an amount."""
    return abs(line.extension) <= LARGEST_AMOUNT


def in_order(lines: Iterable[Line]) -> list[Line]:
    """As a reader sees them."""
    return sorted(lines, key=lambda line: line.ordinal)


def in_chunks(things: Sequence[T]) -> Iterator[tuple[T, ...]]:
    """Cuts a long list into the pieces that are stored as one event each."""
    for start in range(0, len(things), CHUNK):
        yield tuple(things[start : start + CHUNK])
