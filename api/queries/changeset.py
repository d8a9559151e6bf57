"""Changesets: drafts on their way upstream, and what became of every record."""

from typing import Annotated, Final, Literal
from uuid import UUID

from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, QueryParameter

from api.views import Page, PagedView, View, Views, found
from projections import changesets
from projections.changesets import Changeset, ChangesetRecord

WAIT_SECONDS_MAX: Final = 15
_OF_CHANGESETS: Final = {"model": "changesets"}

Status = Annotated[
    Literal["open", "finished", "cancelled"] | None,
    QueryParameter(description="Only changesets of this status.", required=False),
]
RecordStatus = Annotated[
    Literal["waiting", "pushing", "conflict", "confirmed", "refused", "left", "cancelled"] | None,
    QueryParameter(description="Only records of this status.", required=False),
]
Wait = Annotated[
    float,
    QueryParameter(
        ge=0,
        le=WAIT_SECONDS_MAX,
        description="Wait so many seconds for the end: until no record waits for the upstream any more. Conflicts wait "
        "for people, so they end it too.",
    ),
]


@get("/changesets", operation_id="Changesets", tags=["changeset"], opt=_OF_CHANGESETS)
async def changesets_of_company(
    paged: NamedDependency[PagedView],
    connection_id: FromQuery[UUID | None] = None,
    user_id: FromQuery[UUID | None] = None,
    status: Status = None,
) -> Response[Page[Changeset]]:
    """Every changeset, the latest first, each with its records counted by what became of them."""
    rows = await changesets.changesets(
        paged.reader,
        at=paged.at,
        limit=paged.limit + 1,
        after=paged.after(int),
        connection_id=connection_id,
        user_id=user_id,
        status=status,
    )
    return paged.page(rows, lambda row: row.opened_position)


@get("/changesets/{id:uuid}", operation_id="Changeset", tags=["changeset"], opt=_OF_CHANGESETS)
async def changeset(views: NamedDependency[Views], id: FromPath[UUID], wait_seconds: Wait = 0) -> Response[Changeset]:
    """How far a changeset is, at once or when it has come to its end."""

    async def see(view: View) -> Changeset:
        return found(await changesets.changeset(view.reader, id, at=view.at))

    return await views.look(see, lambda seen: seen.moves_on, wait_seconds)


@get("/changesets/{id:uuid}/records", operation_id="RecordsOfChangeset", tags=["changeset"], opt=_OF_CHANGESETS)
async def records_of_changeset(
    paged: NamedDependency[PagedView], id: FromPath[UUID], status: RecordStatus = None
) -> Response[Page[ChangesetRecord]]:
    """What became of each record of a changeset, in the order they were added: base, mine and theirs of a conflict, the
    upstream's reason for a refusal.
    """
    found(await changesets.changeset(paged.reader, id, at=paged.at))
    rows = await changesets.records(
        paged.reader, id, at=paged.at, limit=paged.limit + 1, after=paged.after(int), status=status
    )
    return paged.page(rows, lambda row: row.place)


PAGED = (changesets_of_company, records_of_changeset)
SINGLE = (changeset,)
