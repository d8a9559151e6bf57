"""A price book: what units of work cost, as published or agreed on a day, to price lines from."""

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Annotated, ClassVar, Final, TypeAlias, assert_never

import msgspec
import pydantic
from msgspec.structs import replace
from pydantic import Field

from domain.decider import AUTHORS, Command, Decider, Event, Rejected, Role, State, members
from domain.lines import IMPORT_LIMIT, CostType, in_chunks
from domain.maps import TrieMap, trie_map
from domain.money import Currency, UnitPrice
from domain.text import Label, Name, NotEmpty, Sentence
from domain.units import Unit

REJECTIONS: Final[Mapping[str, str]] = {
    "pricebook.unknown": "No price book was opened under this id.",
    "pricebook.already-opened": "A price book with other particulars was opened under this id.",
    "pricebook.import-refused": "Some prices of the import have faults, listed by index; nothing of it was stored.",
    "pricebook.price-repeated": "The import names this code more than once with one unit and cost type.",
}


class PriceInput(pydantic.BaseModel):
    """A price as it is sent, in the book's currency."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", strict=True)

    code: Label = Field(
        description="What is priced; once in a book for each unit and cost type.", examples=["2104504/00120"]
    )
    description: Sentence = Field(description="What it is, in words.", examples=["REMOVE BITUMINOUS PAVEMENT"])
    unit: Unit = Field(description="A unit of the controlled list, or another spelling of one.", examples=["SY"])
    unit_price: UnitPrice = Field(description="Price of one unit.", examples=["5.72882"])
    cost_type: CostType = Field(default="other", description="What kind of money.", examples=["subcontract"])
    category: Label | None = Field(default=None, description="A heading of the book.", examples=["Removals"])


class OpenPriceBook(Command):
    """Opens a price book; prices are imported into it."""

    roles: ClassVar[frozenset[Role]] = AUTHORS

    name: Name = Field(description="What the book is called.", examples=["MnDOT average bid prices"])
    edition: Label = Field(description="Which edition.", examples=["2021"])
    currency: Currency = Field(description="ISO 4217 code of all its prices.", examples=["USD"])
    dated_on: date = Field(description="The day its prices are of.", examples=["2021-12-31"])
    source: Sentence | None = Field(default=None, description="Where it is from.", examples=["Published by MnDOT"])


class ImportPrices(Command):
    """Adds prices: all of them or none. What has another price, or other words, gets the new ones. Published books give
    one code to a machine and to the electricity it takes: a price is named by code, unit and cost type together.
    """

    roles: ClassVar[frozenset[Role]] = AUTHORS

    prices: Annotated[tuple[PriceInput, ...], Field(max_length=IMPORT_LIMIT), NotEmpty()] = Field(
        description=f"Up to {IMPORT_LIMIT:,} prices."
    )


class Price(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a unit of something costs."""

    code: str
    description: str
    unit: str
    unit_price: Decimal
    cost_type: CostType = "other"
    category: str | None = None


class PriceBookOpened(Event, frozen=True, kw_only=True, tag="pricebook.opened"):
    name: str
    edition: str
    currency: str
    dated_on: date
    source: str | None = None


class PricesImported(Event, frozen=True, kw_only=True, tag="pricebook.prices-imported"):
    """Part of one import: at most 500 prices, all parts in one append. A code that was there has a new price."""

    prices: tuple[Price, ...]


PriceBookCommand: TypeAlias = OpenPriceBook | ImportPrices
PriceBookEvent: TypeAlias = PriceBookOpened | PricesImported


class PriceBook(State, frozen=True, kw_only=True):
    """`name` is empty until the book is opened."""

    name: str = ""
    edition: str = ""
    currency: str = ""
    dated_on: date = date.min
    source: str | None = None
    prices: TrieMap[str, Price] = trie_map()
    """By `name_of`."""


def name_of(price: Price | PriceInput) -> str:
    """What a price is told apart by: unit, cost type and code, the parts from controlled lists first."""
    return f"{price.unit}|{price.cost_type}|{price.code}"


def decide(command: PriceBookCommand, pricebook: PriceBook) -> list[PriceBookEvent]:
    match command:
        case OpenPriceBook():
            return _open(command, pricebook)
        case ImportPrices():
            return _import(command, pricebook)
    assert_never(command)


def _open(command: OpenPriceBook, pricebook: PriceBook) -> list[PriceBookEvent]:
    opened = PriceBookOpened(**command.model_dump())
    if not pricebook.name:
        return [opened]
    if evolve(pricebook, opened) == pricebook:
        return []
    raise Rejected("pricebook.already-opened", "conflict", name=pricebook.name, edition=pricebook.edition)


def _import(command: ImportPrices, pricebook: PriceBook) -> list[PriceBookEvent]:
    if not pricebook.name:
        raise Rejected("pricebook.unknown", "missing")
    wanted: dict[str, Price] = {}
    faults: list[dict[str, object]] = []
    for index, sent in enumerate(command.prices):
        try:
            wanted[name_of(sent)] = _new(sent, wanted)
        except Rejected as fault:
            faults.append({"index": index, "code": fault.code} | fault.facts)
    if faults:
        raise Rejected("pricebook.import-refused", faults=faults)
    changed = [price for name, price in wanted.items() if pricebook.prices.get(name) != price]
    return [PricesImported(prices=chunk) for chunk in in_chunks(changed)]


def _new(sent: PriceInput, before: Mapping[str, Price]) -> Price:
    if name_of(sent) in before:
        raise Rejected("pricebook.price-repeated", repeated=sent.code)
    return Price(
        code=sent.code,
        description=sent.description,
        unit=sent.unit,
        unit_price=sent.unit_price,
        cost_type=sent.cost_type,
        category=sent.category,
    )


def evolve(pricebook: PriceBook, event: PriceBookEvent) -> PriceBook:
    match event:
        case PriceBookOpened():
            return replace(
                pricebook,
                name=event.name,
                edition=event.edition,
                currency=event.currency,
                dated_on=event.dated_on,
                source=event.source,
            )
        case PricesImported(prices=prices):
            return replace(pricebook, prices=pricebook.prices.update([(name_of(price), price) for price in prices]))
    assert_never(event)


pricebook = Decider(
    category="pricebook",
    initial=PriceBook(),
    decide=decide,
    evolve=evolve,
    commands=members(PriceBookCommand),
    events=members(PriceBookEvent),
)
