"""An estimate version: its head with totals, its lines and risks, the way to its bid, and every change made to it."""

from decimal import Decimal
from uuid import UUID

from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery

from api.views import Page, PagedView, View, found
from domain.markups import Bridge
from projections import estimate_detail, version_history
from projections.estimate_detail import EstimateHeader, EstimateLine
from projections.estimate_risks import EstimateRisk, EstimateTag
from projections.version_history import VersionChange


@get("/estimates/{id:uuid}", operation_id="Estimate", tags=["estimate"], opt={"model": "estimate_detail"})
async def estimate(view: NamedDependency[View], id: FromPath[UUID]) -> Response[EstimateHeader]:
    """One estimate version with its totals."""
    return view.answer(found(await estimate_detail.estimate(view.reader, id, at=view.at)))


@get("/estimates/{id:uuid}/lines", operation_id="LinesOfEstimate", tags=["estimate"], opt={"model": "estimate_detail"})
async def lines_of_estimate(paged: NamedDependency[PagedView], id: FromPath[UUID]) -> Response[Page[EstimateLine]]:
    """Its lines in reading order."""
    found(await estimate_detail.estimate(paged.reader, id, at=paged.at))
    rows = await estimate_detail.lines_of(
        paged.reader, id, at=paged.at, limit=paged.limit + 1, after=paged.after(tuple[Decimal, UUID])
    )
    return paged.page(rows, lambda row: (row.ordinal, row.line_id))


@get(
    "/estimates/{id:uuid}/bridge", operation_id="BridgeOfEstimate", tags=["estimate"], opt={"model": "estimate_detail"}
)
async def bridge_of_estimate(view: NamedDependency[View], id: FromPath[UUID]) -> Response[Bridge]:
    """The way from its base total to its final bid: risk adjustment, each mark-up and the margin, adding up exactly."""
    return view.answer(estimate_detail.bridge_of(found(await estimate_detail.estimate(view.reader, id, at=view.at))))


@get("/estimates/{id:uuid}/risks", operation_id="RisksOfEstimate", tags=["estimate"], opt={"model": "estimate_detail"})
async def risks_of_estimate(paged: NamedDependency[PagedView], id: FromPath[UUID]) -> Response[Page[EstimateRisk]]:
    """Its risks, with what is expected of each before and after its response, what it adds, and what is still open."""
    found(await estimate_detail.estimate(paged.reader, id, at=paged.at))
    rows = await estimate_detail.risks_of(paged.reader, id, at=paged.at, limit=paged.limit + 1, after=paged.after(UUID))
    return paged.page(rows, lambda row: row.risk_id)


@get("/estimates/{id:uuid}/tags", operation_id="TagsOfEstimate", tags=["estimate"], opt={"model": "estimate_detail"})
async def tags_of_estimate(paged: NamedDependency[PagedView], id: FromPath[UUID]) -> Response[Page[EstimateTag]]:
    """Its marked moments, the earliest first. A position is what `at=` takes."""
    found(await estimate_detail.estimate(paged.reader, id, at=paged.at))
    rows = await estimate_detail.tags_of(paged.reader, id, at=paged.at, limit=paged.limit + 1, after=paged.after(int))
    return paged.page(rows, lambda row: row.position)


@get(
    "/estimates/{id:uuid}/history",
    operation_id="HistoryOfEstimate",
    tags=["estimate"],
    opt={"model": "version_history"},
)
async def history_of_estimate(
    paged: NamedDependency[PagedView], id: FromPath[UUID], line_id: FromQuery[UUID | None] = None
) -> Response[Page[VersionChange]]:
    """Every change of a field, the latest first: when, who, what it was and what it became."""
    rows = await version_history.of_estimate(
        paged.reader,
        id,
        at=paged.at,
        limit=paged.limit + 1,
        after=paged.after(tuple[int, int]),
        line_id=line_id,
    )
    return paged.page(rows, lambda row: (row.position, row.seq))


PAGED = (lines_of_estimate, risks_of_estimate, tags_of_estimate, history_of_estimate)
SINGLE = (estimate, bridge_of_estimate)
