"""Mirrored records as whoever asks sees them: the upstream's, with his own drafts put in. And what they add up to."""

from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any, Final, Literal
from uuid import UUID

import msgspec
import pydantic
from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, QueryParameter
from msgspec.structs import astuple
from pydantic import Field

from api.problems import Fault, Problem
from api.queries.company import folded
from api.record_filters import filters
from api.views import Page, PagedView, View, found
from domain.decider import EDITORS
from domain.drafts import merged_with
from domain.drafts_commands import DRAFTS_LIMIT, FieldsInput
from domain.pfa_values import OtherValue, PfaValues
from domain.record_filter import RecordFilter
from eventstore import log
from projections import pfa_figures, pfa_records
from projections.pfa import AXES, Plain, drafts_id
from projections.pfa_figures import Effect, Figures, Group, Kpi, MirrorState, Timeline
from projections.pfa_records import After, Asked, MergedRecord, RecordDraft, RecordVersionShown

_MERGED: Final = {"model": "pfa", "personal": True}
_PAGE: Final = {**_MERGED, "rows": (100, 500)}
_BASELINE: Final = {"model": "pfa", "rows": (100, 500)}

Sort = Annotated[
    pfa_records.Sort,
    QueryParameter(description="In order of this field; records without it come last. Alike, they go by `record_no`."),
]
Direction = Annotated[Literal["ascending", "descending"], QueryParameter(description="Which end comes first.")]
Count = Annotated[
    bool, QueryParameter(description="Count exactly what matches, even where that means to look at every record.")
]
By = Annotated[str, QueryParameter(description="Two of category, source, record_class and area, with a comma between.")]


class RecordValues(msgspec.Struct, frozen=True):
    """Every PFA field of a record; null where there is no value. Amounts have two decimals."""

    category: str | None
    source: str | None
    record_class: str | None
    area: str | None
    description: str | None
    plan_cost: Decimal | None
    plan_start: date | None
    plan_end: date | None
    forecast_cost: Decimal | None
    forecast_start: date | None
    forecast_end: date | None
    actual_cost: Decimal | None
    actual_start: date | None
    actual_end: date | None
    monthly_rate: Decimal | None
    purchase_price: Decimal | None
    is_actualised: bool | None
    is_discontinued: bool | None


assert RecordValues.__struct_fields__ == PfaValues.__struct_fields__


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """A record with the caller's draft put in. `identity` are the cells that identify it upstream, `ordinal` tells
    records apart that are alike in them. `absent` says why a value is missing, unless it is just blank; `others` are
    mapped fields that are only kept. `removed`: it is gone upstream. `draft` is null where the caller drafted nothing:
    its `behind` has the fields that the upstream moved since, from what to what and at which position.
    """

    record_id: UUID
    record_no: int
    identity: list[str]
    ordinal: int
    upstream_version: str | None
    values: RecordValues
    others: dict[str, OtherValue]
    absent: dict[str, str]
    removed: bool
    draft: RecordDraft | None


class RecordInFull(Record, frozen=True, kw_only=True):
    """A record merged, and as the upstream has it (`baseline`)."""

    baseline: RecordValues


class Syncing(msgspec.Struct, frozen=True):
    """The sync that goes on: rows `processed` so far."""

    run_id: UUID
    mode: str
    began_at: datetime
    processed: int


class Meta(msgspec.Struct, frozen=True, kw_only=True):
    """What a page is part of. `total` records are there upstream, `removed` ones were; `matching` fit the filter, at
    least so many if `at_least`. Of the caller's drafts: how many records, of those how many the upstream moved
    (`drafts_behind`) or has no more (`drafts_removed`), and the stream they are in (`drafts_id`).
    """

    total: int
    removed: int
    matching: int
    at_least: bool
    drafts: int
    drafts_behind: int
    drafts_removed: int
    drafts_id: UUID
    currency: str | None
    last_synced_at: datetime | None
    syncing: Syncing | None


class RecordPage(msgspec.Struct, frozen=True):
    """Records in order. `next` is the cursor of the page after it; null at the end."""

    items: list[Record]
    next: str | None
    position: int
    meta: Meta


class _Place(msgspec.Struct, frozen=True):
    """Where a page ended, and how many records came until then."""

    after: After
    before: int


class RecordVersion(msgspec.Struct, frozen=True, kw_only=True):
    """What the upstream said of a record from a position on. `was`: the values before, of those that changed."""

    position: int
    recorded_at: datetime
    upstream_version: str | None
    removed: bool
    values: RecordValues
    was: dict[str, Plain]
    others: dict[str, OtherValue]
    absent: dict[str, str]


class Kpis(msgspec.Struct, frozen=True, kw_only=True):
    """What records add up to by two groups and in all: the upstream's (`baseline`), and as the caller sees it."""

    by: list[Group]
    currency: str | None
    groups: list[Kpi]
    baseline: Figures
    merged: Figures


class ManyDrafts(pydantic.BaseModel):
    """What `draft-many` would be asked: which records, and what they shall say."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", strict=True)

    filter: RecordFilter = Field(description="Which records, in the caller's own view.")
    fields: FieldsInput = Field(description="What they shall say.")


@get(
    "/connections/{id:uuid}/records",
    operation_id="RecordsOfConnection",
    tags=["record"],
    opt=_PAGE,
    dependencies={"wanted": filters},
)
async def records_of_connection(
    paged: NamedDependency[PagedView],
    id: FromPath[UUID],
    wanted: NamedDependency[RecordFilter],
    *,
    sort: Sort = "record_no",
    direction: Direction = "ascending",
    count: Count = False,
) -> Response[RecordPage]:
    """The records of a connection as the caller sees them: his drafts are put in before anything is filtered, searched,
    put in order or counted.
    """
    return await _page(paged, id, wanted, sort, direction, exactly=count)


@get("/connections/{id:uuid}/drafts", operation_id="DraftsOfCaller", tags=["record"], opt=_PAGE)
async def drafts_of_caller(
    paged: NamedDependency[PagedView],
    id: FromPath[UUID],
    behind: FromQuery[bool | None] = None,
    removed: FromQuery[bool] = False,
) -> Response[RecordPage]:
    """The records that the caller drafted on, and what; those that the upstream moved meanwhile with `behind=true`,
    those that it has no more with `removed=true`. Nobody sees another's drafts.
    """
    wanted = RecordFilter(drafted=True, behind=behind, removed=removed)
    return await _page(paged, id, wanted, "record_no", "ascending", exactly=True)


async def _page(
    paged: PagedView, id: UUID, wanted: RecordFilter, sort: pfa_records.Sort, direction: str, *, exactly: bool
) -> Response[RecordPage]:
    asked = _asked(paged, id)
    stands = await pfa_figures.ask_state(paged.reader, asked)
    place = paged.after(_Place)
    before = 0 if place is None else place.before
    page = await pfa_records.page(
        paged.reader,
        asked,
        wanted,
        sort=sort,
        descending=direction == "descending",
        limit=paged.limit + 1,
        after=None if place is None else place.after,
    )
    state = await _known(paged, asked, await stands())
    shown = paged.page(
        page.records, lambda record: _Place(pfa_records.place_of(record, sort), before + paged.limit)
    ).content
    known = before + len(page.records)
    matching = await _matching(paged, asked, wanted, state, exactly=exactly) if shown.next is not None else known
    meta = _meta(asked, state, known if matching is None else matching, at_least=matching is None)
    return paged.answer(RecordPage([_shown(each) for each in shown.items], shown.next, shown.position, meta))


async def _matching(
    paged: PagedView, asked: Asked, wanted: RecordFilter, state: MirrorState | None, *, exactly: bool
) -> int | None:
    """How many records a filter means, where the sums say it, or it is wanted at any price; else None."""
    given = {name for name, value in wanted.given().items() if value is not False}
    if not given:
        return 0 if state is None else state.records
    if exactly or any(given <= set(groups) for groups in AXES):
        return await pfa_records.total(paged.reader, asked, wanted)
    return None


def _meta(asked: Asked, state: MirrorState | None, matching: int, *, at_least: bool) -> Meta:
    syncing = None
    if state is not None and state.run_id is not None:
        assert state.run_mode is not None
        assert state.run_began_at is not None
        syncing = Syncing(state.run_id, state.run_mode, state.run_began_at, state.run_processed)
    return Meta(
        total=0 if state is None else state.records,
        removed=0 if state is None else state.removed,
        matching=matching,
        at_least=at_least,
        drafts=0 if state is None else state.drafts,
        drafts_behind=0 if state is None else state.behind,
        drafts_removed=0 if state is None else state.drafts_removed,
        drafts_id=drafts_id(asked.user_id, asked.connection_id),
        currency=None if state is None else state.currency,
        last_synced_at=None if state is None else state.last_synced_at,
        syncing=syncing,
    )


def _asked(view: View, id: UUID) -> Asked:
    return Asked(id, view.caller.actor, view.at)


async def _state(view: View, asked: Asked) -> MirrorState | None:
    """How the connection's mirror stands; None while nothing was ever synced. Raises Problem when there is no such
    connection, of which the log itself is asked: the model of connections may be a moment behind this one.
    """
    return await _known(view, asked, await pfa_figures.state(view.reader, asked))


async def _known(view: View, asked: Asked, state: MirrorState | None) -> MirrorState | None:
    if state is None:
        first = await log.read_stream(view.reader, asked.connection_id, after_version=0, limit=1)
        opened = [each for each in first if each.position <= view.position and each.decoded().category == "connection"]
        found(opened or None)
    return state


def _shown(record: MergedRecord) -> Record:
    return Record(**_fields(record))


def _fields(record: MergedRecord) -> dict[str, Any]:
    return {name: getattr(record, name) for name in MergedRecord.__struct_fields__} | {
        "values": RecordValues(*astuple(record.values))
    }


@get("/connections/{id:uuid}/records/{record_id:uuid}", operation_id="RecordOfConnection", tags=["record"], opt=_MERGED)
async def record_of_connection(
    view: NamedDependency[View], id: FromPath[UUID], record_id: FromPath[UUID]
) -> Response[RecordInFull]:
    """One record, with the caller's draft and without it."""
    record = found(await pfa_records.record(view.reader, _asked(view, id), record_id))
    baseline = RecordValues(*astuple(record.baseline))
    return view.answer(RecordInFull(**_fields(record.merged), baseline=baseline))


@get(
    "/connections/{id:uuid}/records/{record_id:uuid}/history",
    operation_id="HistoryOfRecord",
    tags=["record"],
    opt=_BASELINE,
)
async def history_of_record(
    paged: NamedDependency[PagedView], id: FromPath[UUID], record_id: FromPath[UUID]
) -> Response[Page[RecordVersion]]:
    """What the upstream said of a record, the latest first: each version whole, with what it was before."""
    after = paged.after(int)
    before = log.POSITION_MAX if after is None else after
    versions = await pfa_records.history(
        paged.reader, id, record_id, at=paged.position, limit=paged.limit + 1, before=before
    )
    found(versions or None if after is None else versions)
    return paged.page([_version(each) for each in versions], lambda version: version.position)


def _version(version: RecordVersionShown) -> RecordVersion:
    told = {name: getattr(version, name) for name in RecordVersionShown.__struct_fields__}
    return RecordVersion(**told | {"values": RecordValues(*astuple(version.values))})


@get("/connections/{id:uuid}/kpis", operation_id="KpisOfConnection", tags=["record"], opt=_MERGED)
async def kpis_of_connection(
    view: NamedDependency[View], id: FromPath[UUID], by: By = "category,source"
) -> Response[Kpis]:
    """What records add up to by two groups: count, plan, forecast, actual and what is missing of each, as the upstream
    has it and as the caller sees it. Blank groups are the empty text.
    """
    groups = _two_groups(by)
    asked = _asked(view, id)
    state = await _state(view, asked)
    rows = await pfa_figures.kpis(view.reader, asked, groups)
    answer = Kpis(
        by=list(groups),
        currency=None if state is None else state.currency,
        groups=rows,
        baseline=_sum([row.baseline for row in rows]),
        merged=_sum([row.merged for row in rows]),
    )
    return view.answer(answer)


def _two_groups(by: str) -> tuple[Group, Group]:
    named = [group for name in by.split(",") for group in pfa_figures.GROUPS if group == name.strip()]
    if len(named) != 2 or len(set(named)) != 2 or by.count(",") != 1:
        message = f"Two different ones of {', '.join(pfa_figures.GROUPS)}, with a comma between."
        raise Problem("request.parameter-invalid", faults=[Fault("/by", "parameter-invalid", message)])
    return named[0], named[1]


def _sum(figures: list[Figures]) -> Figures:
    amounts = {name for name in Figures.__struct_fields__ if name.endswith("_cost") or name == "remaining"}
    nothing = [Decimal("0.00") if name in amounts else 0 for name in Figures.__struct_fields__]
    added: list[Any] = [sum(column) for column in zip(nothing, *map(astuple, figures), strict=True)]
    return Figures(*added)


@get("/connections/{id:uuid}/bounds", operation_id="BoundsOfConnection", tags=["record"], opt=_MERGED)
async def bounds_of_connection(view: NamedDependency[View], id: FromPath[UUID]) -> Response[Timeline]:
    """The first and the last of each day over all records: where a timeline begins and ends."""
    asked = _asked(view, id)
    await _state(view, asked)
    return view.answer(await pfa_figures.bounds(view.reader, asked))


@post(
    "/connections/{id:uuid}/drafts/preview",
    operation_id="PreviewDrafts",
    tags=["record"],
    opt={**_MERGED, "takes": ManyDrafts, "roles": EDITORS},
    status_code=200,
)
async def preview_drafts(view: NamedDependency[View], id: FromPath[UUID]) -> Response[Effect]:
    """What drafting the same fields on all records that a filter means would do: how many it means and changes, what
    they add up to before and after, and which may not be drafted so. Stores nothing; `draft-many` does it, and takes
    `matching` as what is expected.
    """
    sent = ManyDrafts.model_validate_json(view.body)
    asked = _asked(view, id)
    await _state(view, asked)
    company = found(await folded(view.reader, view.position))
    given = sent.fields.given()

    def change(record: MergedRecord) -> PfaValues:
        return merged_with(given, pfa_records.theirs_of(record), record.values, company.month_rule)

    return view.answer(await pfa_figures.preview(view.reader, asked, sent.filter, change, limit=DRAFTS_LIMIT))


PAGED = (records_of_connection, drafts_of_caller, history_of_record)
SINGLE = (record_of_connection, kpis_of_connection, bounds_of_connection, preview_drafts)
