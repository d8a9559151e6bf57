"""The sample: a public abstract of bids. The engineer's estimate, and what five bidders offered for the same lines.

The figures are carried in `data/mndot-220005.json`. With CAIRN_SAMPLE_DATA (a folder) they are read from the abstract
as it was published, a CSV of three blocks: the contract, its lines, and the lowest bidders by name.
"""

import csv
from collections.abc import Iterable, Mapping
from decimal import Decimal
from itertools import groupby
from pathlib import Path

import msgspec

from domain.money import extension_of

CARRIED = Path(__file__).parent / "data" / "mndot-220005.json"
PUBLISHED = Path("mndot-bid-abstract", "abstract_220005.csv")
PRICE_COLUMN = "(Unit Price)"
SOURCE = (
    "Minnesota Department of Transportation, abstract of bids of contract 220005, letting of 2022-01-28 (public record)"
)


class Line(msgspec.Struct, frozen=True):
    """One pay item. `unit` is spelled as in the abstract."""

    number: str
    section: str
    code: str
    description: str
    unit: str
    quantity: Decimal
    engineers_price: Decimal


class Offer(msgspec.Struct, frozen=True):
    """A bidder's price per unit, by line number.

    `submitted` holds the extensions that are not quantity × shown price: the price was shown with too few places, so
    the amount that was submitted is the authority.
    """

    bidder: str
    name: str | None
    prices: dict[str, Decimal]
    submitted: dict[str, Decimal]


class Contract(msgspec.Struct, frozen=True):
    """What was let, and who offered what. `let_on` is an ISO date."""

    source: str
    number: str
    description: str
    state_project: str
    district: str
    county: str
    let_on: str
    lines: list[Line]
    offers: list[Offer]

    def estimated(self) -> Decimal:
        """The engineer's estimate: each line rounded once to cents."""
        return sum((extension_of(line.quantity, line.engineers_price) for line in self.lines), Decimal(0))

    def offered(self, offer: Offer) -> Decimal:
        """A bid: the sum of what was submitted per line."""
        return sum((extension_in(offer, line) for line in self.lines), Decimal(0))


def extension_in(offer: Offer, line: Line) -> Decimal:
    """What a bidder asks for a line, to the cent."""
    return offer.submitted.get(line.number) or extension_of(line.quantity, offer.prices[line.number])


def load(folder: str | None) -> Contract:
    """The sample contract: from the published file in `folder`, else as carried. Raises OSError, ValueError."""
    if folder is None:
        return msgspec.json.decode(CARRIED.read_bytes(), type=Contract)
    return read_abstract(Path(folder, PUBLISHED).read_text(encoding="utf-8"))


def read_abstract(text: str) -> Contract:
    """An abstract of bids as published. Raises ValueError when it is not one."""
    try:
        contract, lines, lowest = _blocks(text)
        names = {row["Bidder Number"].lstrip("0"): row["Bidder Name"] for row in lowest}
        columns = [name for name in lines[0] if PRICE_COLUMN in name and not name.startswith("Engineers")]
        month, day, year = contract[0]["Letting Date"].split("/")
        return Contract(
            source=SOURCE,
            number=contract[0]["Contract Id"],
            description=contract[0]["Job Description"],
            state_project=contract[0]["SP Number"],
            district=contract[0]["District"],
            county=contract[0]["County"],
            let_on=f"{year}-{month}-{day}",
            lines=[_line(row) for row in lines],
            offers=[_offer(column.removesuffix(PRICE_COLUMN).strip(), lines, names) for column in columns],
        )
    except (KeyError, IndexError, ArithmeticError) as error:
        raise ValueError(f"this is not an abstract of bids: {error!r}") from error


def _blocks(text: str) -> list[list[dict[str, str]]]:
    """The file's tables, which empty lines part. Names of columns are padded too."""
    rows = csv.reader(text.splitlines())
    tables = [list(block) for filled, block in groupby(rows, key=bool) if filled]
    return [[dict(zip(map(str.strip, table[0]), row, strict=True)) for row in table[1:]] for table in tables]


def _line(row: Mapping[str, str]) -> Line:
    return Line(
        number=row["LineNumber"],
        section=row["SectionDescription"],
        code=row["ItemNumber"],
        description=row["ItemDescription"].replace("\\''", '"'),  # an inch mark, as the publisher escapes it
        unit=row["UnitName"],
        quantity=Decimal(row["Quantity"]),
        engineers_price=Decimal(row["Engineers (Unit Price)"]),
    )


def _offer(column: str, rows: Iterable[Mapping[str, str]], names: Mapping[str, str]) -> Offer:
    prices, submitted = {}, {}
    for row in rows:
        line = _line(row)
        price, extension = _dollars(row[f"{column} {PRICE_COLUMN}"]), _dollars(row[f"{column} (Extension)"])
        prices[line.number] = price
        if extension_of(line.quantity, price) != extension:
            submitted[line.number] = extension
    bidder = column.lstrip("0")
    return Offer(bidder=bidder, name=names.get(bidder), prices=prices, submitted=submitted)


def _dollars(text: str) -> Decimal:
    """`   $5,200.00` → 5200.00."""
    return Decimal(text.strip().lstrip("$").replace(",", ""))
