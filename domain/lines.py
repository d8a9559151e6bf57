"""Lines of an estimate: what one carries, what it costs, which total it counts in, and their digest."""

import hashlib
from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Annotated, Final, Literal, TypeAlias
from uuid import UUID

import msgspec
import pydantic
from msgspec import UNSET, UnsetType
from msgspec.structs import replace
from pydantic import Field

from domain.money import CENT, EXACT, LARGEST_AMOUNT, ZERO, Amount, Currency, Quantity, UnitPrice, extension_of, plain
from domain.subset import Change
from domain.text import Label, Name, Note, NotEmpty, Sentence
from domain.units import LUMP_SUM, Unit

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
    unit_price: UnitPrice = Field(description="Price of one unit.", examples=["5.72882"])
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
        default=None, description="If given, must be the estimate's: nothing is converted.", examples=["USD"]
    )


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


def line_from(sent: LineInput, ordinal: Decimal) -> Line:
    """The line that was sent, at this place, with its extension worked out unless it was submitted."""
    given = sent.extension
    return Line(
        line_id=sent.line_id,
        ordinal=ordinal,
        wbs_path=sent.wbs_path,
        description=sent.description,
        quantity=sent.quantity,
        unit=sent.unit,
        unit_price=sent.unit_price,
        extension=extension_of(sent.quantity, sent.unit_price) if given is None else given,
        submitted=given is not None,
        code=sent.code,
        code_set=sent.code_set,
        code_edition=sent.code_edition,
        cost_type=sent.cost_type,
        note=sent.note,
        quote_reference=sent.quote_reference,
        firmness=sent.firmness,
        pricing=sent.pricing,
    )


def lump_sum_is_one(line: Line) -> bool:
    """A lump sum has quantity 1; any other quantity is a mistake in quantity or unit."""
    return line.unit != LUMP_SUM or line.quantity == 1


def extension_fits(line: Line) -> bool:
    """Whether the extension is within the 15 digits of an amount."""
    return abs(line.extension) <= LARGEST_AMOUNT


def in_order(lines: Iterable[Line]) -> list[Line]:
    """As a reader sees them."""
    return sorted(lines, key=lambda line: line.ordinal)


def in_chunks(lines: list[Line]) -> Iterator[tuple[Line, ...]]:
    """Cuts a long list into the pieces that are stored as one event each."""
    for start in range(0, len(lines), CHUNK):
        yield tuple(lines[start : start + CHUNK])


def content_hash(title: str | None, notes: str | None, target_margin: Decimal, currency: str, lines: list[Line]) -> str:
    """SHA-256, in lower-case hexadecimal, of an estimate's content. Equal content has an equal hash in any version.

    The bytes hashed are UTF-8 JSON arrays without white space, each followed by a line feed (0x0A). First
    `["cairn-estimate-content/1", currency, target_margin, title, notes]`; then, for each line in reading order,
    `[line_id, wbs_path, code_set, code_edition, code, description, quantity, unit, unit_price, extension, submitted,
    cost_type, firmness, pricing, note, quote_reference]`. Absent is null, `wbs_path` an array of strings,
    `submitted` a boolean, a line id in lower case with hyphens. A decimal is a string without exponent or trailing
    zeros (`1.5`, `0`), except the extension: always two places. Strings are escaped as in RFC 8785.
    """
    digest = hashlib.sha256()
    header = ("cairn-estimate-content/1", currency, plain(target_margin), title, notes)
    digest.update(msgspec.json.encode(header) + b"\n")
    for line in lines:
        digest.update(msgspec.json.encode(_content_of(line)) + b"\n")
    return digest.hexdigest()


def _content_of(line: Line) -> tuple[object, ...]:
    return (
        line.line_id,
        line.wbs_path,
        line.code_set,
        line.code_edition,
        line.code,
        line.description,
        plain(line.quantity),
        line.unit,
        plain(line.unit_price),
        format(EXACT.quantize(line.extension, CENT), "f"),
        line.submitted,
        line.cost_type,
        line.firmness,
        line.pricing,
        line.note,
        line.quote_reference,
    )
