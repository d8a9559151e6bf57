"""The company's price books, and the prices in them."""

from collections.abc import Iterable
from datetime import date, datetime
from decimal import Decimal
from uuid import UUID

import msgspec

from domain import actuals, codeset, company, estimate, membership, project
from domain.decider import Event
from domain.pricebook import Price, PriceBookOpened, PricesImported
from domain.registry import OF_UPSTREAMS
from eventstore.db import Reader
from eventstore.sql import beside
from projections.projection import Key, Projection, Seen, Table, change, changes, identity, of_stream


class PriceBookRow(msgspec.Struct, frozen=True):
    """A price book. All its prices are in one currency, as of one day."""

    pricebook_id: UUID
    name: str
    edition: str
    currency: str
    dated_on: date
    source: str | None
    opened_at: datetime
    opened_by: UUID


class PriceRow(msgspec.Struct, frozen=True):
    """A price, in the book's currency."""

    pricebook_id: UUID
    code: str
    description: str
    unit: str
    unit_price: Decimal
    cost_type: str
    category: str | None


books_table = Table("price_books_books", PriceBookRow, key=("pricebook_id",))
prices_table = Table("price_books_prices", PriceRow, key=("pricebook_id", "code", "unit", "cost_type"))


def opened(row: PriceBookRow | None, seen: Seen, key: Key) -> PriceBookRow:
    event: PriceBookOpened = seen.event
    return PriceBookRow(
        pricebook_id=key[0],
        name=event.name,
        edition=event.edition,
        currency=event.currency,
        dated_on=event.dated_on,
        source=event.source,
        opened_at=seen.recorded_at,
        opened_by=identity(seen.raw_actor),
    )


def new_prices(seen: Seen) -> Iterable[tuple[Key, Price]]:
    """Each price of the event with its key."""
    pricebook_id = identity(seen.raw_stream_id)
    return [((pricebook_id, price.code, price.unit, price.cost_type), price) for price in seen.event.prices]


def price_imported(row: PriceRow | None, seen: Seen, price: Price) -> PriceRow:
    return PriceRow(
        identity(seen.raw_stream_id),
        price.code,
        price.description,
        price.unit,
        price.unit_price,
        price.cost_type,
        price.category,
    )


projection = Projection(
    name="price_books",
    version=1,
    sql=beside(__file__),
    tables=(books_table, prices_table),
    on={
        PriceBookOpened: (change(books_table, of_stream, opened),),
        PricesImported: (changes(prices_table, new_prices, price_imported),),
    },
    ignores=frozenset[type[Event]](
        (
            *actuals.actuals.events,
            *codeset.codeset.events,
            *company.company.events,
            *estimate.estimate.events,
            *membership.membership.events,
            *project.project.events,
            *OF_UPSTREAMS,
        )
    ),
)


async def books(reader: Reader, *, at: int, limit: int, after: UUID | None = None) -> list[PriceBookRow]:
    """A page of price books in order of id, those after `after`."""
    values = {"at": at, "limit": limit, "after": after or UUID(int=0)}
    return await reader.rows(projection.sql["books"], values, PriceBookRow)


async def book(reader: Reader, pricebook_id: UUID, *, at: int) -> PriceBookRow | None:
    """One price book."""
    return await reader.row(projection.sql["book"], {"at": at, "pricebook_id": pricebook_id}, PriceBookRow)


async def prices(
    reader: Reader,
    pricebook_id: UUID,
    *,
    at: int,
    limit: int,
    after: tuple[str, str, str] | None = None,
    prefix: str | None = None,
    search: str | None = None,
) -> list[PriceRow]:
    """A page of a book's prices in order of code, those after the (code, unit, cost type) `after`. `prefix` begins the
    code; `search` is part of code, description or category, in any letter case.
    """
    values = {
        "at": at,
        "pricebook_id": pricebook_id,
        "limit": limit,
        **dict(zip(("after_code", "after_unit", "after_cost_type"), after or ("", "", ""), strict=True)),
        "prefix": prefix or "",
        "search": search,
    }
    return await reader.rows(projection.sql["prices"], values, PriceRow)
