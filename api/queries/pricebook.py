"""The company's price books and their prices."""

from uuid import UUID

from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery

from api.views import Page, PagedView, View, found
from projections import price_books
from projections.price_books import PriceBookRow, PriceRow


@get("/price-books", operation_id="PriceBooks", tags=["pricebook"], opt={"model": "price_books"})
async def books(paged: NamedDependency[PagedView]) -> Response[Page[PriceBookRow]]:
    """The company's price books."""
    rows = await price_books.books(paged.reader, at=paged.at, limit=paged.limit + 1, after=paged.after(UUID))
    return paged.page(rows, lambda row: row.pricebook_id)


@get("/price-books/{id:uuid}", operation_id="PriceBook", tags=["pricebook"], opt={"model": "price_books"})
async def book(view: NamedDependency[View], id: FromPath[UUID]) -> Response[PriceBookRow]:
    """One price book: its currency, and the day its prices are of."""
    return view.answer(found(await price_books.book(view.reader, id, at=view.at)))


@get("/price-books/{id:uuid}/prices", operation_id="PricesOfBook", tags=["pricebook"], opt={"model": "price_books"})
async def prices(
    paged: NamedDependency[PagedView],
    id: FromPath[UUID],
    prefix: FromQuery[str | None] = None,
    search: FromQuery[str | None] = None,
) -> Response[Page[PriceRow]]:
    """Its prices in order of code. `prefix` begins the code; `search` is part of code, description or category."""
    found(await price_books.book(paged.reader, id, at=paged.at))
    rows = await price_books.prices(
        paged.reader,
        id,
        at=paged.at,
        limit=paged.limit + 1,
        after=paged.after(tuple[str, str, str]),
        prefix=prefix,
        search=search,
    )
    return paged.page(rows, lambda row: (row.code, row.unit, row.cost_type))


PAGED = (books, prices)
SINGLE = (book,)
