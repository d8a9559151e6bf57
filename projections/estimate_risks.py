"""The risks and tags of an estimate version as `estimate_detail` keeps them: rows, and how events change them."""

from collections.abc import Iterable
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec

from domain.estimate_events import OccurrenceCorrected, RiskOccurred, Tagged, risk_after
from domain.money import EXACT
from domain.risks import Response, Risk, contribution, expected, exposure, saving
from projections.projection import Key, Seen, Table, identity
from projections.totals import as_document


class EstimateRisk(msgspec.Struct, frozen=True):
    """A risk. `contribution` is what it adds to the risk adjustment, frozen once the version is submitted; `exposure`
    what is still expected of it, 0 once it is closed or occurred; `saving` what its response saves, the response's
    cost taken off, null without a response.
    """

    estimate_id: UUID
    risk_id: UUID
    kind: str
    title: str
    category: str | None
    cause: str | None
    event: str | None
    consequence: str | None
    probability: Decimal
    low: Decimal
    likely: Decimal | None
    high: Decimal
    schedule_days: int | None
    owner: str | None
    review_on: date | None
    response: dict[str, Any] | None
    status: str
    mitigated_on: date | None
    closed_on: date | None
    closed_because: str | None
    occurred_on: date | None
    occurred_cost: Decimal | None
    expected_initial: Decimal
    expected_residual: Decimal
    saving: Decimal | None
    contribution: Decimal
    exposure: Decimal
    updated_at: datetime


class EstimateTag(msgspec.Struct, frozen=True):
    """A moment of the version that was given a name. `at=` with its position shows the version as it then was."""

    estimate_id: UUID
    tag: str
    position: int
    final_bid: Decimal
    tagged_at: datetime
    tagged_by: UUID


risks_table = Table("estimate_detail_risks", EstimateRisk, key=("estimate_id", "risk_id"))
tags_table = Table("estimate_detail_tags", EstimateTag, key=("estimate_id", "tag"))


def risk_came(row: EstimateRisk | None, seen: Seen, risk: Risk) -> EstimateRisk:
    return _risk_row(risk, seen, contribution(risk))


def risk_changed(row: EstimateRisk | None, seen: Seen, key: Key) -> EstimateRisk:
    """Reckons anew from the risk, but for its contribution: that is frozen with the bid, and the event knows."""
    if row is None:
        raise LookupError("the risk was never added")
    event = seen.event
    adds = row.contribution
    if not isinstance(event, RiskOccurred | OccurrenceCorrected):
        adds = EXACT.add(EXACT.subtract(adds, event.adjusted_was), event.adjusted_now)
    return _risk_row(risk_after(risk_of(row), event), seen, adds)


def risk_removed(row: EstimateRisk | None, seen: Seen, risk: Risk) -> None:
    return None


def risk_of(row: EstimateRisk) -> Risk:
    """The risk of a row."""
    fields = {name: getattr(row, name) for name in Risk.__struct_fields__}
    return Risk(**fields | {"response": msgspec.convert(row.response, Response | None)})


def _risk_row(risk: Risk, seen: Seen, adds: Decimal) -> EstimateRisk:
    fields = {name: getattr(risk, name) for name in Risk.__struct_fields__}
    return EstimateRisk(
        estimate_id=identity(seen.raw_stream_id),
        expected_initial=expected(risk),
        expected_residual=expected(risk, residual=True),
        saving=saving(risk),
        contribution=adds,
        exposure=exposure(risk),
        updated_at=seen.recorded_at,
        **fields | {"response": as_document(risk.response)},
    )


def named_tag(seen: Seen) -> Iterable[Key]:
    return [(identity(seen.raw_stream_id), seen.event.tag)]


def tagged(row: EstimateTag | None, seen: Seen, key: Key) -> EstimateTag:
    event: Tagged = seen.event
    return EstimateTag(key[0], event.tag, seen.position, event.final_bid, seen.recorded_at, identity(seen.raw_actor))


def untagged(row: EstimateTag | None, seen: Seen, key: Key) -> None:
    return None
