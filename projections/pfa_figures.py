"""What mirrored records add up to, as the upstream has them and as a user sees them; never counted again."""

from collections.abc import Awaitable, Callable, Iterable
from datetime import date, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final, Literal, TypeAlias, get_args
from uuid import UUID

import msgspec
from psycopg import sql

from domain.decider import Rejected
from domain.pfa_values import PfaValues
from domain.record_filter import DAYS, RecordFilter
from eventstore.db import Reader
from eventstore.log import POSITION_MAX
from eventstore.sql import beside
from projections import pfa_records
from projections.pfa import AXES, cents, drafts_id, mirror_key
from projections.pfa_records import Asked, MergedRecord, sums_of

SQL = beside(__file__)

Group: TypeAlias = Literal["category", "source", "record_class", "area"]
GROUPS: Final[tuple[Group, ...]] = get_args(Group)


class Figures(msgspec.Struct, frozen=True):
    """What records add up to. Of each amount: the sum of those there are, and how many records have none. `remaining`:
    forecast less actual, of those that have a forecast and are neither over nor given up.
    """

    records: int
    actualised: int
    discontinued: int
    plan_cost: Decimal
    plan_missing: int
    forecast_cost: Decimal
    forecast_missing: int
    actual_cost: Decimal
    actual_missing: int
    remaining: Decimal


class Kpi(msgspec.Struct, frozen=True):
    """Records that are alike in the groups asked for; a blank one is the empty text. Side by side: what the upstream
    says, and what the asking user's drafts make of it.
    """

    groups: dict[str, str]
    baseline: Figures
    merged: Figures


class Bounds(msgspec.Struct, frozen=True):
    """The first and the last of a day over all records; null where none has it."""

    first: date | None
    last: date | None


class Timeline(msgspec.Struct, frozen=True):
    """Bounds by field, as the upstream has them and as the asking user sees them."""

    baseline: dict[str, Bounds]
    merged: dict[str, Bounds]


class MirrorState(msgspec.Struct, frozen=True):
    """How a mirror stands: `records` that are there, `removed` ones that were; of the asking user `drafts`, those of
    them that are `behind` and those whose record is gone; and the run going on, if any.
    """

    records: int
    removed: int
    drafts: int
    behind: int
    drafts_removed: int
    mapping_version: int
    currency: str | None
    run_id: UUID | None
    run_mode: str | None
    run_began_at: datetime | None
    run_processed: int
    last_synced_at: datetime | None
    last_run_id: UUID | None


class Unfit(msgspec.Struct, frozen=True):
    """A record that may not be drafted so, and why: the code and the facts that the command would be refused with."""

    record_id: UUID
    code: str
    facts: dict[str, Any]


class Effect(msgspec.Struct, frozen=True, kw_only=True):
    """What a change of many would do: how many records it means, how many of them it would change, and what those that
    it means add up to before and after. For those that are `refused`, of which the first are listed, the whole would
    be. Only the first is told when it means more than the limit.
    """

    matching: int
    changed: int | None = None
    refused: int | None = None
    faults: list[Unfit] = []
    before: Figures | None = None
    after: Figures | None = None


FAULTS_LISTED: Final = 100
_Sums = tuple[int, ...]
_AMOUNTS: Final = frozenset(
    number for number, name in enumerate(Figures.__struct_fields__) if name.endswith("_cost") or name == "remaining"
)
_NOTHING: Final[_Sums] = (0,) * len(Figures.__struct_fields__)


def _figures(sums: Iterable[int]) -> Figures:
    return Figures(*(Decimal(each).scaleb(-2) if number in _AMOUNTS else each for number, each in enumerate(sums)))  # type: ignore[arg-type]


def _plus(one: _Sums, other: _Sums) -> _Sums:
    return tuple(a + b for a, b in zip(one, other, strict=True))


@lru_cache(maxsize=64)
def _figures_statement(by: tuple[Group, ...], *, now: bool) -> bytes:
    axis = next(number for number, groups in enumerate(AXES) if set(by) <= set(groups))
    columns = dict(zip(AXES[axis], ("first", "second", "third"), strict=False))
    named = sql.SQL(", ").join(sql.Identifier("s", columns[group]) for group in by)
    return sql.SQL(SQL["figures"].decode()).format(sums=sums_of(axis, now=now), by=named).as_bytes()


async def kpis(reader: Reader, asked: Asked, by: tuple[Group, Group]) -> list[Kpi]:
    """Figures by two different groups, in their order. Groups whose records are all gone are left out."""
    values = asked._asdict() | {"drafts_id": drafts_id(asked.user_id, asked.connection_id)}
    rows = await reader.tuples(_figures_statement(by, now=asked.at == POSITION_MAX), values)
    baseline = {row[1:3]: row[3:] for row in rows if not row[0]}
    mine = {row[1:3]: row[3:] for row in rows if row[0]}
    found: list[Kpi] = []
    for key in sorted({*baseline, *mine}):
        theirs = baseline.get(key, _NOTHING)
        merged = _plus(theirs, mine.get(key, _NOTHING))
        if any(theirs) or any(merged):
            found.append(Kpi(dict(zip(by, key, strict=True)), _figures(theirs), _figures(merged)))
    return found


_ENDS: Final = tuple((day, way) for day in DAYS for way in ("", "desc"))


@lru_cache(maxsize=2)
def _bounds_statement(*, early: bool) -> bytes:
    """Of the baseline, of what the user did not draft on, and of his drafts."""

    def one(name: str, day: str, way: str) -> str:
        return SQL[name].decode().replace("{day}", day).replace("{way}", way)

    drafts = [one("bound_of_drafts", day, way) for day, way in _ENDS]
    if early:
        extremes = [f"{'max' if way else 'min'}(r.{day})" for day, way in _ENDS]
        texts = [*extremes, *(f"{each} filter (where not r.drafted)" for each in extremes), *drafts]
        return SQL["bounds_then"].replace(b"{bounds}", ", ".join(texts).encode())
    others = [one(name, day, way) for name in ("bound", "bound_of_undrafted") for day, way in _ENDS]
    return SQL["bounds"].replace(b"{bounds}", ", ".join([*others, *drafts]).encode())


async def bounds(reader: Reader, asked: Asked) -> Timeline:
    """The first and the last of each day, missing ones ignored."""
    values = asked._asdict() | {"mirror_key": mirror_key(reader.tenant, asked.connection_id)}
    early = await pfa_records.is_early(reader, asked)
    await reader.connection.execute(pfa_records.SQL["by_order"])
    [found] = await reader.tuples(_bounds_statement(early=early), values)
    ends = len(_ENDS)
    baseline, others, drafts = found[:ends], found[ends : 2 * ends], found[2 * ends :]
    merged = [_extreme(number % 2 == 1, pair) for number, pair in enumerate(zip(others, drafts, strict=True))]
    return Timeline(_bounds(baseline), _bounds(merged))


def _extreme(last: bool, days: Iterable[date | None]) -> date | None:
    given = [day for day in days if day is not None]
    return (max(given) if last else min(given)) if given else None


def _bounds(ends: Iterable[date | None]) -> dict[str, Bounds]:
    pairs = iter(ends)
    return {day: Bounds(first, last) for day, first, last in zip(DAYS, pairs, pairs, strict=False)}


async def state(reader: Reader, asked: Asked) -> MirrorState | None:
    """How a mirror stands. None before anything was heard of it."""
    return await (await ask_state(reader, asked))()


async def ask_state(reader: Reader, asked: Asked) -> Callable[[], Awaitable[MirrorState | None]]:
    """The same, to be waited for later: the question travels with what is asked next."""
    rows = await reader.ask(pfa_records.moment(SQL["state"], now=asked.at == POSITION_MAX), asked._asdict())

    async def answer() -> MirrorState | None:
        found = await rows()
        return MirrorState(*found[0]) if found else None

    return answer


def measured(values: PfaValues) -> _Sums:
    """What a record with these values adds to figures."""
    plan, forecast, actual = cents(values.plan_cost), cents(values.forecast_cost), cents(values.actual_cost)
    over, given_up = bool(values.is_actualised), bool(values.is_discontinued)
    return (
        1,
        int(over),
        int(given_up),
        plan or 0,
        int(plan is None),
        forecast or 0,
        int(forecast is None),
        actual or 0,
        int(actual is None),
        0 if forecast is None or over or given_up else forecast - (actual or 0),
    )


async def preview(
    reader: Reader,
    asked: Asked,
    wanted: RecordFilter,
    change: Callable[[MergedRecord], PfaValues],
    *,
    limit: int,
) -> Effect:
    """What a change of all records that a filter means would do to what they add up to. `change` tells what a record
    would say, and raises Rejected where that may not be.
    """
    found = await pfa_records.matching(reader, asked, wanted, limit=limit + 1)
    if len(found) > limit:
        return Effect(matching=await pfa_records.total(reader, asked, wanted))
    changed = refused = 0
    faults: list[Unfit] = []
    before = later = _NOTHING
    for each in found:
        try:
            now = change(each)
        except Rejected as no:
            now, refused = each.values, refused + 1
            faults += [Unfit(each.record_id, no.code, no.facts)][: FAULTS_LISTED - len(faults)]
        changed += now != each.values
        before, later = _plus(before, measured(each.values)), _plus(later, measured(now))
    return Effect(
        matching=len(found),
        changed=changed,
        refused=refused,
        faults=faults,
        before=_figures(before),
        after=_figures(later),
    )
