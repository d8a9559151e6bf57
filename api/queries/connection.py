"""Connections to upstreams: what they are, how their columns are mapped, and how their syncs go."""

import asyncio
from typing import Annotated, Final, Literal, TypeAlias
from uuid import UUID

import msgspec
import pydantic
from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter
from msgspec.structs import asdict
from pydantic import Field

from api.problems import Fault, Problem
from api.views import Page, PagedView, View, Views, found
from domain.cells import Value
from domain.decider import EDITORS
from domain.mapping import FieldMapping, MappingInput
from domain.mapping_preview import Preview, RowFault, preview
from projections import connections
from projections.connections import Connection, MappingRow, Run, RunListed

SAMPLE_ROWS_MAX: Final = 1_000
SAMPLE_COLUMNS_MAX: Final = 500
WAIT_SECONDS_MAX: Final = 15

_OF_CONNECTIONS: Final = {"model": "connections"}

Status = Annotated[
    Literal["open", "disabled", "closed"] | None,
    QueryParameter(description="Only connections of this status.", required=False),
]
RunStatus = Annotated[
    Literal["requested", "running", "finished", "failed", "cancelled"] | None,
    QueryParameter(description="Only syncs of this status.", required=False),
]
Wait = Annotated[
    float,
    QueryParameter(ge=0, le=WAIT_SECONDS_MAX, description="Wait so many seconds for the end of it."),
]
GOING_ON: Final = frozenset({"requested", "running"})
Cell: TypeAlias = str | int | float | bool | None


class Example(msgspec.Struct, frozen=True):
    """What a cell is read as. Amounts and days are text, as in every answer."""

    cell: str
    value: str | int | bool


class FieldTried(msgspec.Struct, frozen=True, kw_only=True):
    """What a mapping makes of one field over all rows.

    `date_order` and `decimal_sign` are what the cells show: `ask` where they can be read in more than one way, null
    where nothing shows it. `absent` counts values that are absent by the reason; `words` are texts that could not be
    read, with how often: candidates for missing words.
    """

    name: str
    column: str
    found: bool
    values: int
    absent: dict[str, int]
    faulty: int
    examples: list[Example]
    faults: tuple[RowFault, ...]
    words: dict[str, int]
    date_order: str | None
    decimal_sign: str | None


class MappingTried(msgspec.Struct, frozen=True, kw_only=True):
    """What a mapping makes of rows. `asks` names what must be stated before it can be used, as paths into it."""

    rows: int
    fields: list[FieldTried]
    unmapped_columns: tuple[str, ...]
    missing_columns: tuple[str, ...]
    repeated: int
    without_identity: int
    asks: tuple[str, ...]


class MappingSample(pydantic.BaseModel):
    """Rows as the upstream has them, and the mapping to read them with; without one the newest of the connection."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", strict=True)

    rows: Annotated[
        tuple[Annotated[dict[str, Cell], Field(max_length=SAMPLE_COLUMNS_MAX)], ...],
        Field(min_length=1, max_length=SAMPLE_ROWS_MAX),
    ] = Field(
        description="Each row by column.",
        examples=[
            [{"DSF Number(s)": "DSF0000900455", "Project Budget Amount": "1,250,000", "Projected End": "3/4/26"}]
        ],
    )
    mapping: MappingInput | None = Field(default=None, description="As `set-mapping` takes it.")


@get("/connections", operation_id="Connections", tags=["connection"], opt=_OF_CONNECTIONS)
async def connections_of_company(
    paged: NamedDependency[PagedView], status: Status = None
) -> Response[Page[Connection]]:
    """Every connection to an upstream by id, with its last sync. What it signs in with is shown to nobody."""
    rows = await connections.connections(
        paged.reader, at=paged.at, limit=paged.limit + 1, after=paged.after(UUID), status=status
    )
    return paged.page(rows, lambda row: row.connection_id)


@get("/connections/{id:uuid}", operation_id="Connection", tags=["connection"], opt=_OF_CONNECTIONS)
async def connection(view: NamedDependency[View], id: FromPath[UUID]) -> Response[Connection]:
    """One connection: how the upstream is reached, when it is synced, and whether it is syncing now."""
    return view.answer(found(await connections.connection(view.reader, id, at=view.at)))


@get("/connections/{id:uuid}/mappings", operation_id="MappingsOfConnection", tags=["connection"], opt=_OF_CONNECTIONS)
async def mappings_of_connection(paged: NamedDependency[PagedView], id: FromPath[UUID]) -> Response[Page[MappingRow]]:
    """Every field mapping that the connection has had, whole, the newest first."""
    found(await connections.connection(paged.reader, id, at=paged.at))
    rows = await connections.mappings(paged.reader, id, at=paged.at, limit=paged.limit + 1, after=paged.after(int))
    return paged.page(rows, lambda row: row.version)


@get("/connections/{id:uuid}/runs", operation_id="RunsOfConnection", tags=["connection"], opt=_OF_CONNECTIONS)
async def runs_of_connection(
    paged: NamedDependency[PagedView], id: FromPath[UUID], status: RunStatus = None
) -> Response[Page[RunListed]]:
    """The syncs of a connection, the latest first, with what each has changed so far."""
    found(await connections.connection(paged.reader, id, at=paged.at))
    rows = await connections.runs(
        paged.reader, id, at=paged.at, limit=paged.limit + 1, after=paged.after(int), status=status
    )
    return paged.page(rows, lambda row: row.first_position)


@get(
    "/connections/{id:uuid}/runs/{run_id:uuid}",
    operation_id="RunOfConnection",
    tags=["connection"],
    opt=_OF_CONNECTIONS,
)
async def run_of_connection(
    views: NamedDependency[Views], id: FromPath[UUID], run_id: FromPath[UUID], wait_seconds: Wait = 0
) -> Response[Run]:
    """One sync: how far it is or what came of it, and what was wrong in which row; at once or when it has ended."""

    async def see(view: View) -> Run:
        return found(await connections.run(view.reader, id, run_id, at=view.at))

    return await views.look(see, lambda seen: seen.status in GOING_ON, wait_seconds)


@post(
    "/connections/{id:uuid}/mapping-preview",
    operation_id="PreviewMapping",
    tags=["connection"],
    opt=_OF_CONNECTIONS | {"takes": MappingSample, "roles": EDITORS},
    status_code=200,
)
async def preview_mapping(view: NamedDependency[View], id: FromPath[UUID]) -> Response[MappingTried]:
    """What a mapping makes of sample rows: values, absences and faults of every field. Stores nothing.

    What cannot be known from the cells is asked, not guessed: `asks` names what must be stated first, such as whether
    3/4/2026 is in March or in April.
    """
    sample = MappingSample.model_validate_json(view.body)
    known = found(await connections.connection(view.reader, id, at=view.at))
    mapping = await _mapping(view, known, sample)
    return view.answer(_told(await asyncio.to_thread(preview, sample.rows, mapping)))


def _told(made: Preview) -> MappingTried:
    fields = [
        FieldTried(**asdict(each) | {"examples": [Example(cell, _plain(value)) for cell, value in each.examples]})
        for each in made.fields
    ]
    return MappingTried(**asdict(made) | {"fields": fields})


def _plain(value: Value) -> str | int | bool:
    return value if isinstance(value, str | int | bool) else str(value)


async def _mapping(view: View, known: Connection, sample: MappingSample) -> FieldMapping:
    """The mapping that was sent, under the number it would get; else the newest there is."""
    if sample.mapping is not None:
        return sample.mapping.as_mapping(known.mapping_version + 1)
    row = await connections.mapping(view.reader, known.connection_id, known.mapping_version, at=view.at)
    if row is None:
        fault = Fault("/mapping", "missing", "The connection has no mapping yet: send one.")
        raise Problem("request.body-invalid", faults=[fault])
    return row.mapping


PAGED = (connections_of_company, mappings_of_connection, runs_of_connection)
SINGLE = (connection, run_of_connection, preview_mapping)
