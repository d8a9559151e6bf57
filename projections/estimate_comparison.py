"""Estimate versions side by side, and who moved a version's total: questions put to the tables of `estimate_detail`."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Final, Literal, NamedTuple, TypeAlias
from uuid import UUID

import msgspec

from domain.comparison import (
    Comparison,
    Effects,
    LineDifference,
    bridge_between,
    effects,
    line_difference,
    risk_difference,
)
from domain.lines import Conversion, Line
from domain.money import EXACT, ZERO
from domain.risks import Risk
from eventstore.db import Reader
from eventstore.sql import beside
from projections.estimate_detail import EstimateHeader, EstimateLine, bridge_of, risks_of
from projections.estimate_risks import risk_of

SQL = beside(__file__)


class TotalChange(msgspec.Struct, frozen=True):
    """One change of a version's totals: who, when, and from what bid to what."""

    position: int
    recorded_at: datetime
    actor: UUID
    stream_version: int
    base_was: Decimal
    base_now: Decimal
    final_bid_was: Decimal
    final_bid_now: Decimal
    difference: Decimal


class ActorsChange(msgspec.Struct, frozen=True):
    """By how much somebody changed the final bid, and in how many changes."""

    actor: UUID
    changes: int
    difference: Decimal


async def total_changes(reader: Reader, estimate_id: UUID, *, since: int, at: int, limit: int) -> list[TotalChange]:
    """The latest changes of an estimate's totals after a position, the newest first."""
    values = {"estimate_id": estimate_id, "since": since, "at": at, "limit": limit}
    return await reader.rows(SQL["total_changes"], values, TotalChange)


async def total_changes_by_actor(reader: Reader, estimate_id: UUID, *, since: int, at: int) -> list[ActorsChange]:
    """Who changed an estimate's final bid after a position, and by how much; the largest first."""
    values = {"estimate_id": estimate_id, "since": since, "at": at}
    return await reader.rows(SQL["total_changes_by_actor"], values, ActorsChange)


Match: TypeAlias = Literal["line", "code"]
"""How lines of two versions are paired: by their id, which copies keep; or the nth of a code and unit with the nth."""


_PAIRED: Final[Mapping[Match, bytes]] = {"line": SQL["lines_by_line"], "code": SQL["lines_by_code"]}


class _Pair(NamedTuple):
    """Two lines that belong together and are not alike, by id; and the effects of the difference."""

    was: UUID | None
    now: UUID | None
    effects: Effects


class _Figures(NamedTuple):
    """What decides a line's effect."""

    quantity: Decimal
    unit: str
    unit_price: Decimal
    extension: Decimal
    submitted: bool
    pricing: str


async def compared(
    reader: Reader, was: EstimateHeader, now: EstimateHeader, match: Match, *, at: int, listed: int
) -> Comparison:
    """The way from one version to another, with the `listed` lines of the largest effects."""
    pairs = await _pairs(reader, was, now, match, at=at)
    shown = sorted(pairs, key=lambda pair: -abs(sum(pair.effects.values(), ZERO)))[:listed]
    risks = [risk_difference(*both) for both in await _risks_of_both(reader, was, now, at=at)]
    return Comparison(
        currency=now.currency,
        final_bid_was=was.final_bid,
        final_bid_now=now.final_bid,
        difference=EXACT.subtract(now.final_bid, was.final_bid),
        bridge=bridge_between(bridge_of(was), bridge_of(now), [pair.effects for pair in pairs]),
        lines=await _differences(reader, was, now, shown, at=at),
        lines_differing=len(pairs),
        lines_alike=was.line_count - sum(pair.was is not None for pair in pairs),
        risks=tuple(risk for risk in risks if risk is not None),
    )


async def _pairs(reader: Reader, was: EstimateHeader, now: EstimateHeader, match: Match, *, at: int) -> list[_Pair]:
    values = {"at": at, "was": was.estimate_id, "now": now.estimate_id}
    rows = await reader.tuples(_PAIRED[match], values)
    return [
        _Pair(row[0], row[1], effects(row[0] and _Figures._make(row[2:8]), row[1] and _Figures._make(row[8:])))
        for row in rows
    ]


async def _differences(
    reader: Reader, was: EstimateHeader, now: EstimateHeader, pairs: Sequence[_Pair], *, at: int
) -> tuple[LineDifference, ...]:
    before = await _lines(reader, was, [pair.was for pair in pairs if pair.was], at=at)
    after = await _lines(reader, now, [pair.now for pair in pairs if pair.now], at=at)
    found = (
        line_difference(before[pair.was] if pair.was else None, after[pair.now] if pair.now else None) for pair in pairs
    )
    return tuple(difference for difference in found if difference is not None)


async def _lines(reader: Reader, header: EstimateHeader, ids: Sequence[UUID], *, at: int) -> dict[UUID, Line]:
    values = {"at": at, "estimate_id": header.estimate_id, "line_ids": ids}
    rows = await reader.rows(SQL["lines"], values, EstimateLine) if ids else []
    return {row.line_id: _line_of(row) for row in rows}


def _line_of(row: EstimateLine) -> Line:
    fields = {name: getattr(row, name) for name in Line.__struct_fields__}
    fields["wbs_path"] = tuple(row.wbs_path)
    fields["conversion"] = msgspec.convert(row.conversion, Conversion | None)
    return Line(**fields)


async def _risks_of_both(
    reader: Reader, was: EstimateHeader, now: EstimateHeader, *, at: int
) -> list[tuple[Risk | None, Risk | None]]:
    found: list[dict[UUID, Risk]] = []
    for header in (was, now):
        rows = await risks_of(reader, header.estimate_id, at=at, limit=header.risk_count + 1)
        found.append({row.risk_id: risk_of(row) for row in rows})
    before, after = found
    return [(before.get(risk_id), after.get(risk_id)) for risk_id in dict.fromkeys((*before, *after))]
