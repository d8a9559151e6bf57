"""Projects, and the estimate versions of one."""

from uuid import UUID

from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery

from api.views import Page, PagedView, View, found
from projections import estimate_detail, project_list
from projections.estimate_detail import EstimateHeader
from projections.project_list import ProjectSummary


@get("/projects", operation_id="Projects", tags=["project"], opt={"model": "project_list"})
async def projects(
    paged: NamedDependency[PagedView],
    status: FromQuery[str | None] = None,
    search: FromQuery[str | None] = None,
    deleted: FromQuery[bool] = False,
) -> Response[Page[ProjectSummary]]:
    """The company's projects with the totals of their latest version; deleted ones only with `deleted=true`."""
    rows = await project_list.projects(
        paged.reader,
        at=paged.at,
        limit=paged.limit + 1,
        after=paged.after(UUID),
        status=status,
        search=search,
        include_deleted=deleted,
    )
    return paged.page(rows, lambda row: row.project_id)


@get("/projects/{id:uuid}", operation_id="Project", tags=["project"], opt={"model": "project_list"})
async def project(view: NamedDependency[View], id: FromPath[UUID]) -> Response[ProjectSummary]:
    """One project; a deleted one too."""
    return view.answer(found(await project_list.project(view.reader, id, at=view.at)))


@get(
    "/projects/{id:uuid}/estimates",
    operation_id="EstimatesOfProject",
    tags=["project"],
    opt={"model": "estimate_detail"},
)
async def estimates_of_project(paged: NamedDependency[PagedView], id: FromPath[UUID]) -> Response[Page[EstimateHeader]]:
    """The project's estimate versions, the first one first."""
    rows = await estimate_detail.of_project(
        paged.reader, id, at=paged.at, limit=paged.limit + 1, after=paged.after(int)
    )
    return paged.page(rows, lambda row: row.version)


PAGED = (projects, estimates_of_project)
SINGLE = (project,)
