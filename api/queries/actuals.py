"""What a project really cost: its actuals, and their variance from the baseline."""

from decimal import Decimal
from typing import Final
from uuid import UUID

import msgspec
from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery

from api.queries.company import folded
from api.views import Page, PagedView, View, found
from domain.costs import code_key
from projections import actuals_detail, variance
from projections.actuals_detail import (
    ActualsHeader,
    CodeSum,
    Correction,
    CostEntry,
    DurationRow,
    FindingRow,
    RiskCost,
)
from projections.variance import Comparison, VarianceRow

_OF_ACTUALS: Final = {"model": "actuals_detail"}
_OF_BOTH: Final = {"model": "actuals_detail", "beside": ("estimate_detail",)}


class VarianceAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Budget against actual cost of a project; its cost codes are answered in pages of their own. `to_explain` counts
    the rows, codes among them, that pass the threshold and that nobody has explained.
    """

    actuals_id: UUID
    project_id: UUID
    baseline_id: UUID
    currency: str
    threshold: Decimal
    total: VarianceRow
    risks: VarianceRow
    markups: list[VarianceRow]
    codes: int
    to_explain: int


@get("/actuals/{id:uuid}", operation_id="Actuals", tags=["actuals"], opt=_OF_ACTUALS)
async def actuals(view: NamedDependency[View], id: FromPath[UUID]) -> Response[ActualsHeader]:
    """A project's actuals with their totals, by their own id."""
    return view.answer(found(await actuals_detail.actuals(view.reader, id, at=view.at)))


@get("/projects/{id:uuid}/actuals", operation_id="ActualsOfProject", tags=["actuals"], opt=_OF_ACTUALS)
async def actuals_of_project(view: NamedDependency[View], id: FromPath[UUID]) -> Response[ActualsHeader]:
    """The project's actuals with their totals; not found until they are opened."""
    return view.answer(found(await actuals_detail.of_project(view.reader, id, at=view.at)))


@get("/actuals/{id:uuid}/entries", operation_id="EntriesOfActuals", tags=["actuals"], opt=_OF_ACTUALS)
async def entries_of_actuals(
    paged: NamedDependency[PagedView], id: FromPath[UUID], code: FromQuery[str | None] = None
) -> Response[Page[CostEntry]]:
    """Every cost as it is booked now, by id; of one cost code if asked."""
    found(await actuals_detail.actuals(paged.reader, id, at=paged.at))
    rows = await actuals_detail.entries(
        paged.reader, id, at=paged.at, limit=paged.limit + 1, after=paged.after(UUID), code=code
    )
    return paged.page(rows, lambda row: row.entry_id)


@get("/actuals/{id:uuid}/codes", operation_id="CodesOfActuals", tags=["actuals"], opt=_OF_ACTUALS)
async def codes_of_actuals(paged: NamedDependency[PagedView], id: FromPath[UUID]) -> Response[Page[CodeSum]]:
    """What was booked under each cost code, and against each mark-up, added up."""
    found(await actuals_detail.actuals(paged.reader, id, at=paged.at))
    rows = await actuals_detail.sums(paged.reader, id, at=paged.at, limit=paged.limit + 1, after=paged.after(str))
    return paged.page(rows, lambda row: row.scope_key)


@get("/actuals/{id:uuid}/corrections", operation_id="CorrectionsOfActuals", tags=["actuals"], opt=_OF_ACTUALS)
async def corrections_of_actuals(
    paged: NamedDependency[PagedView],
    id: FromPath[UUID],
    entry_id: FromQuery[UUID | None] = None,
    risk_id: FromQuery[UUID | None] = None,
) -> Response[Page[Correction]]:
    """Every corrected field of an entry or of a risk that came true, and every removed entry, the latest first: who,
    when, what it was and became, and why.
    """
    found(await actuals_detail.actuals(paged.reader, id, at=paged.at))
    rows = await actuals_detail.corrections(
        paged.reader,
        id,
        at=paged.at,
        limit=paged.limit + 1,
        after=paged.after(tuple[int, int]),
        entry_id=entry_id,
        risk_id=risk_id,
    )
    return paged.page(rows, lambda row: (row.position, row.seq))


@get("/actuals/{id:uuid}/findings", operation_id="FindingsOfActuals", tags=["actuals"], opt=_OF_ACTUALS)
async def findings_of_actuals(
    paged: NamedDependency[PagedView], id: FromPath[UUID], kind: FromQuery[str | None] = None
) -> Response[Page[FindingRow]]:
    """Issues that came up, and lessons for the next bid; `kind` is `issue` or `lesson`."""
    found(await actuals_detail.actuals(paged.reader, id, at=paged.at))
    rows = await actuals_detail.findings(
        paged.reader, id, at=paged.at, limit=paged.limit + 1, after=paged.after(UUID), kind=kind
    )
    return paged.page(rows, lambda row: row.finding_id)


@get("/actuals/{id:uuid}/durations", operation_id="DurationsOfActuals", tags=["actuals"], opt=_OF_ACTUALS)
async def durations_of_actuals(paged: NamedDependency[PagedView], id: FromPath[UUID]) -> Response[Page[DurationRow]]:
    """How many days the work of each cost code took. That of the whole project is in its head."""
    found(await actuals_detail.actuals(paged.reader, id, at=paged.at))
    rows = await actuals_detail.durations(paged.reader, id, at=paged.at, limit=paged.limit + 1, after=paged.after(str))
    return paged.page(rows, lambda row: row.code_key)


@get("/actuals/{id:uuid}/risks", operation_id="RisksOfActuals", tags=["actuals"], opt=_OF_ACTUALS)
async def risks_of_actuals(paged: NamedDependency[PagedView], id: FromPath[UUID]) -> Response[Page[RiskCost]]:
    """Risks that came true, and what they cost."""
    found(await actuals_detail.actuals(paged.reader, id, at=paged.at))
    rows = await actuals_detail.risks(paged.reader, id, at=paged.at, limit=paged.limit + 1, after=paged.after(UUID))
    return paged.page(rows, lambda row: row.risk_id)


@get("/actuals/{id:uuid}/variance", operation_id="VarianceOfActuals", tags=["actuals"], opt=_OF_BOTH)
async def variance_of_actuals(view: NamedDependency[View], id: FromPath[UUID]) -> Response[VarianceAnswer]:
    """Budget against actual cost: in total, of the risks and of each mark-up."""
    threshold, comparison = await _comparison(view, id)
    header = comparison.header
    return view.answer(
        VarianceAnswer(
            actuals_id=header.actuals_id,
            project_id=header.project_id,
            baseline_id=header.baseline_id,
            currency=header.currency,
            threshold=threshold,
            total=comparison.total,
            risks=comparison.risks,
            markups=comparison.markups,
            codes=len(comparison.codes),
            to_explain=sum(row.needs_explanation and not row.explained for row in comparison.rows),
        )
    )


@get("/actuals/{id:uuid}/variance/codes", operation_id="VarianceByCode", tags=["actuals"], opt=_OF_BOTH)
async def variance_by_code(
    paged: NamedDependency[PagedView], id: FromPath[UUID], needs_explanation: FromQuery[bool | None] = None
) -> Response[Page[VarianceRow]]:
    """Budget against actual cost of each cost code, of those that need an explanation or need none if asked."""
    _, comparison = await _comparison(paged, id)
    after = paged.after(str)
    rows = [
        row
        for row in comparison.codes
        if (after is None or _key(row) > after) and needs_explanation in {None, row.needs_explanation}
    ]
    return paged.page(rows[: paged.limit + 1], _key)


def _key(row: VarianceRow) -> str:
    return code_key(row.code_set, row.code_edition, row.code)


async def _comparison(view: View, actuals_id: UUID) -> tuple[Decimal, Comparison]:
    """The company's threshold, and what passes it."""
    company = found(await folded(view.reader, view.position))
    threshold = company.variance_threshold
    return threshold, found(await variance.of_actuals(view.reader, actuals_id, at=view.at, threshold=threshold))


PAGED = (
    entries_of_actuals,
    codes_of_actuals,
    corrections_of_actuals,
    findings_of_actuals,
    durations_of_actuals,
    risks_of_actuals,
    variance_by_code,
)
SINGLE = (actuals, actuals_of_project, variance_of_actuals)
