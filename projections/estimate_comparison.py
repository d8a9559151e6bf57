"""Estimate versions side by side, and who moved a version's total: questions put to the tables of `estimate_detail`."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, Literal, TypeAlias
from uuid import UUID

import msgspec

from domain.comparison import Comparison, bridge_between, line_difference, risk_difference
from domain.lines import Conversion, Line
from domain.money import EXACT
from domain.risks import Risk
from eventstore.db import Reader
from eventstore.sql import beside
from projections.estimate_detail import EstimateHeader, bridge_of, risks_of
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


async def compared(reader: Reader, was: EstimateHeader, now: EstimateHeader, match: Match, *, at: int) -> Comparison:
    """The way from one version to another. Lines are largest effect first."""
    values = {"at": at, "was": was.estimate_id, "now": now.estimate_id}
    pairs = await reader.tuples(SQL[f"lines_by_{match}"], values)
    width = len(_COMPARED)
    lines = [line_difference(_line_of(pair[:width]), _line_of(pair[width:])) for pair in pairs]
    risks = [risk_difference(before, after) for before, after in await _risks_of_both(reader, was, now, at=at)]
    differing = [line for line in lines if line is not None]
    removed_or_changed = sum(line.was is not None for line in differing)
    return Comparison(
        currency=now.currency,
        final_bid_was=was.final_bid,
        final_bid_now=now.final_bid,
        difference=EXACT.subtract(now.final_bid, was.final_bid),
        bridge=bridge_between(bridge_of(was), bridge_of(now), differing),
        lines=tuple(sorted(differing, key=lambda line: -abs(line.base_effect))),
        lines_alike=was.line_count - removed_or_changed,
        risks=tuple(risk for risk in risks if risk is not None),
    )


_COMPARED: Final = Line.__struct_fields__
_ID: Final = _COMPARED.index("line_id")


def _line_of(row: Sequence[Any]) -> Line | None:
    if row[_ID] is None:
        return None
    fields = dict(zip(_COMPARED, row, strict=True))
    return Line(
        **fields
        | {
            "wbs_path": tuple(fields["wbs_path"]),
            "conversion": msgspec.convert(fields["conversion"], Conversion | None),
        }
    )


async def _risks_of_both(
    reader: Reader, was: EstimateHeader, now: EstimateHeader, *, at: int
) -> list[tuple[Risk | None, Risk | None]]:
    found: list[dict[UUID, Risk]] = []
    for header in (was, now):
        rows = await risks_of(reader, header.estimate_id, at=at, limit=header.risk_count + 1)
        found.append({row.risk_id: risk_of(row) for row in rows})
    before, after = found
    return [(before.get(risk_id), after.get(risk_id)) for risk_id in dict.fromkeys((*before, *after))]
