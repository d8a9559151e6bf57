"""The company's code sets, edition by edition."""

from uuid import UUID

from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery

from api.views import Page, PagedView, View, found
from projections import code_sets
from projections.code_sets import CodeSetEdition, CostCode


@get("/code-sets", operation_id="CodeSets", tags=["codeset"], opt={"model": "code_sets"})
async def editions(
    paged: NamedDependency[PagedView], code_set: FromQuery[str | None] = None
) -> Response[Page[CodeSetEdition]]:
    """The editions of code sets that the company registered, by set and edition; of one set if asked."""
    rows = await code_sets.editions(
        paged.reader, at=paged.at, limit=paged.limit + 1, after=paged.after(tuple[str, str]), code_set=code_set
    )
    return paged.page(rows, lambda row: (row.code_set, row.edition))


@get("/code-sets/{id:uuid}", operation_id="CodeSet", tags=["codeset"], opt={"model": "code_sets"})
async def edition(view: NamedDependency[View], id: FromPath[UUID]) -> Response[CodeSetEdition]:
    """One edition of a code set."""
    return view.answer(found(await code_sets.edition(view.reader, id, at=view.at)))


@get("/code-sets/{id:uuid}/codes", operation_id="CodesOfCodeSet", tags=["codeset"], opt={"model": "code_sets"})
async def codes(
    paged: NamedDependency[PagedView],
    id: FromPath[UUID],
    prefix: FromQuery[str | None] = None,
    search: FromQuery[str | None] = None,
) -> Response[Page[CostCode]]:
    """Its codes in order. `prefix` begins the code; `search` is part of code or description, in any letter case."""
    found(await code_sets.edition(paged.reader, id, at=paged.at))
    rows = await code_sets.codes(
        paged.reader,
        id,
        at=paged.at,
        limit=paged.limit + 1,
        after=paged.after(str),
        prefix=prefix,
        search=search,
    )
    return paged.page(rows, lambda row: row.code)


PAGED = (editions, codes)
SINGLE = (edition,)
