"""Published catalogues: a state's pay items in three editions, and resource prices of two countries."""

import csv
import re
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID, uuid5

from cairn.client import Command
from domain.units import canonical

IDS = UUID("c2a1b5a4-0a3d-5d4b-9a52-8f1f0e6b7a11")
EDITIONS = ("2016", "2018", "2020")
CODE_SET = "MnDOT"
ITEM_LIST = "mndot-bid-abstract/item_list_{edition}.csv"
ITEMS_SOURCE = "Minnesota Department of Transportation, standard pay-item list (public record)"
PRICES = (
    ("CWICR US", "cwicr-resource-prices/cwicr_us_usd.csv"),
    ("CWICR UK", "cwicr-resource-prices/cwicr_uk_gbp.csv"),
)
PRICES_SOURCE = "DDC CWICR, (c) 2025 Artem Boiko / DataDrivenConstruction, CC BY 4.0"
PRICES_DATED_ON = date(2025, 1, 1)
PART = 5_000
"""Codes or prices in one command."""

COST_TYPES = {"Labor": "labour", "Equipment": "equipment", "Electricity": "other"}
"""As the catalogue names kinds of resources; every other kind is a material."""
SPELLED = {"t": "TONNE", "m": "METRE", "l": "LITRE", "Machine hours": "MACHHR", "person-hour": "MH"}
"""What this catalogue means by spellings that mean several things elsewhere."""
_MULTIPLE = re.compile(r"(10+) (.+)")


def unit_of(text: str) -> str | None:
    """The canonical unit of a spelling in these catalogues: `100 m2` → `100M2`. None where none is given.

    Raises ValueError for one that is not on the list.
    """
    if not text.strip():
        return None
    multiple, single = found.groups() if (found := _MULTIPLE.fullmatch(text.strip())) else ("", text.strip())
    try:
        return canonical(multiple + canonical(SPELLED.get(single, single)))
    except ValueError as error:
        raise ValueError(f"{text!r} is no unit of the controlled list") from error


def codeset_id(edition: str) -> UUID:
    """The id of an edition of the pay items."""
    return uuid5(IDS, f"{CODE_SET}/{edition}")


def pricebook_id(name: str) -> UUID:
    """The id of a price book."""
    return uuid5(IDS, name)


def code_sets(folder: Path) -> Iterator[list[Command]]:
    """The commands of one edition after the other. Raises OSError, ValueError."""
    for edition in EDITIONS:
        id = codeset_id(edition)
        registered = {"code_set": CODE_SET, "edition": edition, "source": ITEMS_SOURCE}
        codes = list(_codes(folder / ITEM_LIST.format(edition=edition)))
        imports = [Command("codeset", id, "import-codes", {"codes": part}) for part in _parts(codes)]
        yield [Command("codeset", id, "register-code-set", registered), *imports]


def _codes(path: Path) -> Iterator[dict[str, Any]]:
    """Descriptions hold bare inch marks, so quotes mean nothing in these files."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        for row in csv.DictReader(file, quoting=csv.QUOTE_NONE):
            yield {
                "code": row["Item Number"].strip(),
                "description": " ".join(row["Long Description"].split()),
                "unit": unit_of(row["Unit Name"]),
            }


def price_books(folder: Path) -> Iterator[list[Command]]:
    """The commands of one price book after the other. Raises OSError, ValueError."""
    for name, path in PRICES:
        with (folder / path).open(encoding="utf-8-sig", newline="") as file:
            rows = [row for row in csv.DictReader(file) if unit_of(row["unit"]) is not None]
        opened = {
            "name": name,
            "edition": "2025",
            "currency": rows[0]["currency"],
            "dated_on": str(PRICES_DATED_ON),
            "source": PRICES_SOURCE,
        }
        id = pricebook_id(name)
        imports = [
            Command("pricebook", id, "import-prices", {"prices": part}) for part in _parts(list(map(_price, rows)))
        ]
        yield [Command("pricebook", id, "open-price-book", opened), *imports]


def _price(row: dict[str, str]) -> dict[str, Any]:
    return {
        "code": row["resource_code"],
        "description": " ".join(row["name"].split())[:1_000],
        "unit": unit_of(row["unit"]),
        "unit_price": str(Decimal(row["price_avg"])),
        "cost_type": COST_TYPES.get(row["type"], "material"),
        "category": row["category"] or None,
    }


def _parts(items: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    for begin in range(0, len(items), PART):
        yield items[begin : begin + PART]
