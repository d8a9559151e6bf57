"""Two versions side by side, and who moved a version's total."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Annotated
from uuid import UUID

import msgspec
from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter

from api import positions
from api.problems import Problem
from api.views import View, found
from domain.comparison import Comparison
from domain.money import ZERO
from eventstore import log
from eventstore.log import POSITION_MAX
from projections import estimate_comparison, estimate_detail
from projections.estimate_comparison import ActorsChange, Match, TotalChange

LINES_MAX = 20_000


class ComparisonAnswer(Comparison, frozen=True, kw_only=True):
    """A comparison of two versions, and how their lines were paired."""

    was_id: UUID
    now_id: UUID
    matched_by: Match


@get(
    "/estimates/{id:uuid}/compare/{other:uuid}",
    operation_id="CompareEstimates",
    tags=["estimate"],
    opt={"model": "estimate_detail"},
)
async def compare_estimates(
    view: NamedDependency[View],
    id: FromPath[UUID],
    other: FromPath[UUID],
    match: Annotated[
        Match | None,
        QueryParameter(
            description="How lines are paired: by `line` id, or the nth of a `code` and unit with the nth. "
            "Without it by line within one project, else by code."
        ),
    ] = None,
    lines: Annotated[
        int,
        QueryParameter(ge=0, le=LINES_MAX, description="Lines listed, at most; the largest effects first."),
    ] = 1_000,
) -> Response[ComparisonAnswer]:
    """What became of each line and risk from one version to the other, and the steps from bid to bid, adding up."""
    was = found(await estimate_detail.estimate(view.reader, id, at=view.at))
    now = found(await estimate_detail.estimate(view.reader, other, at=view.at))
    if was.currency != now.currency:
        raise Problem("comparison.currencies-differ", was=was.currency, now=now.currency)
    matched_by: Match = match or ("line" if was.project_id == now.project_id else "code")
    comparison = await estimate_comparison.compared(view.reader, was, now, matched_by, at=view.at, listed=lines)
    told = msgspec.structs.asdict(comparison)
    return view.answer(ComparisonAnswer(was_id=id, now_id=other, matched_by=matched_by, **told))


class TotalChanges(msgspec.Struct, frozen=True):
    """How a version's final bid moved after a position: in all, by whom, and each change, the newest first."""

    since: int
    difference: Decimal
    actors: list[ActorsChange]
    changes: list[TotalChange]
    more: bool


@get(
    "/estimates/{id:uuid}/total-changes",
    operation_id="TotalChangesOfEstimate",
    tags=["estimate"],
    opt={"model": "estimate_detail"},
)
async def total_changes_of_estimate(
    view: NamedDependency[View],
    id: FromPath[UUID],
    since: Annotated[
        str | None, QueryParameter(description="A position, a token or an instant; takes precedence.")
    ] = None,
    minutes: Annotated[
        int,
        QueryParameter(ge=1, le=525_600, description="Without `since`: so long before the answer's moment."),
    ] = 10,
    limit: Annotated[int, QueryParameter(ge=1, le=1_000, description="Changes listed, at most.")] = 100,
) -> Response[TotalChanges]:
    """Who changed the total lately, and by how much: of the last ten minutes, or since any moment."""
    found(await estimate_detail.estimate(view.reader, id, at=view.at))
    moment = positions.at(since) if since is not None else await _moment(view) - timedelta(minutes=minutes)
    if isinstance(moment, positions.Token):
        await positions.must_belong(view.reader, view.head, moment)
        positions.not_ahead(view.head, moment.position)
    after = await positions.resolved(view.reader, moment)
    changes = await estimate_comparison.total_changes(view.reader, id, since=after, at=view.at, limit=limit + 1)
    actors = await estimate_comparison.total_changes_by_actor(view.reader, id, since=after, at=view.at)
    difference = sum((actor.difference for actor in actors), ZERO)
    return view.answer(TotalChanges(after, difference, actors, changes[:limit], len(changes) > limit))


async def _moment(view: View) -> datetime:
    """When the answer is true at: now, or when the position asked for was recorded."""
    if view.at == POSITION_MAX:
        return datetime.now(UTC)
    page = await log.read_log(view.reader, after=view.at - 1, to=view.at, limit=1)
    return page[0].decoded().recorded_at if page else datetime.now(UTC)


PAGED = ()
SINGLE = (compare_estimates, total_changes_of_estimate)
