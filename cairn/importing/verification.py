"""After an import: what the read models say of it, held against what the source said."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Final, NamedTuple

from api.queries.company import folded
from cairn.importing.rows import Row, sum_of
from cairn.importing.wishes import Thing, Wishes
from domain.money import extension_of
from eventstore import sql
from eventstore.db import Reader
from eventstore.log import POSITION_MAX

SQL = sql.beside(__file__)

_KEYS: Final = {
    "members": ("ids",),
    "connections": ("ids",),
    "mappings": ("ids",),
    "mapping_fields": ("ids",),
    "projects": ("ids",),
    "estimates": ("ids",),
    "lines": ("ids", "line_ids"),
    "codes": ("ids", "codes"),
    "prices": ("ids", "codes", "units", "cost_types"),
}


class Figure(NamedTuple):
    """A count or a sum: what the source says, and what a read model says."""

    what: str
    name: str
    source: Decimal
    found: Decimal | None

    @property
    def same(self) -> bool:
        """To the last place."""
        return self.source == self.found


def expected(wishes: Wishes) -> list[Figure]:
    """The source's own figures of one company; nothing was asked yet."""
    figures = []
    for what, rows in wishes.rows.items():
        if rows:
            there = [row for row in rows if what != "members" or row.values.get("active") is not False]
            figures.append(Figure(what, "count", Decimal(len(there)), None))
            figures += [Figure(what, name, total, None) for name, total in _sums(what, rows)]
    return figures


def _sums(what: str, rows: Sequence[Row]) -> list[tuple[str, Decimal]]:
    match what:
        case "lines":
            return [("quantity", sum_of(rows, "quantity")), ("extension", sum(map(_extension, rows), Decimal(0)))]
        case "mappings":
            return [("fields", sum((Decimal(_fields(row)) for row in rows), Decimal(0)))]
        case "prices":
            return [("unit_price", sum_of(rows, "unit_price"))]
    return []


def _fields(row: Row) -> int:
    mapping = row.values["mapping"]
    assert isinstance(mapping, dict)
    return len(mapping["fields"])


def _extension(row: Row) -> Decimal:
    given, quantity, price = (row.values.get(name) for name in ("extension", "quantity", "unit_price"))
    if isinstance(given, Decimal):
        return given
    assert isinstance(quantity, Decimal)
    assert isinstance(price, Decimal)
    return extension_of(quantity, price)


async def compared(reader: Reader, wishes: Wishes) -> list[Figure]:
    """The same figures, read back from the read models, which must have come to the import."""
    answers: dict[str, tuple[Any, ...]] = {}
    figures: list[Figure] = []
    for figure in expected(wishes):
        if figure.what not in answers:
            answers[figure.what] = await _asked(reader, figure.what, wishes.things)
        place = sum(each.what == figure.what for each in figures)
        figures.append(figure._replace(found=Decimal(answers[figure.what][place])))
    return figures


async def _asked(reader: Reader, what: str, things: Sequence[Thing]) -> tuple[Any, ...]:
    if what == "companies":
        return (int(await folded(reader, POSITION_MAX) is not None),)
    keys = [key for thing in things if thing.what == what for key in thing.keys]
    names = _KEYS[what]
    values: dict[str, Any] = {name: [key[place] for key in keys] for place, name in enumerate(names)}
    return (await reader.tuples(SQL[what], {**values, "at": POSITION_MAX}))[0]
