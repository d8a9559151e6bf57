"""Folds the log up to a moment, and holds the answer against the read models'."""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import click
import msgspec

from cairn.care import projector
from cairn.terminal import show
from domain.estimate_state import Estimate, bridge_of
from domain.project import Project
from domain.registry import BY_CATEGORY
from eventstore import log
from eventstore.db import Database, Reader, role_url
from eventstore.settings import StoreSettings
from projections import estimate_detail, project_list, registry
from projections.rebuild import proves

Advance = Callable[[str, int, int | None], None]
Moment = int | datetime | None


def moment(at: str | None) -> Moment:
    """A position, an instant in UTC, or None for now. Raises click.UsageError."""
    if at is None:
        return None
    if re.fullmatch("[0-9]{1,18}", at):
        return int(at)
    try:
        instant = datetime.fromisoformat(at)
    except ValueError:
        raise click.UsageError(
            f"--at {at!r} is neither a position, such as 42, nor an instant, such as 2026-11-21T14:30:00Z"
        ) from None
    return instant.replace(tzinfo=instant.tzinfo or UTC).astimezone(UTC)


async def compared(
    store: StoreSettings, tenant: UUID, asked: tuple[str, UUID | None, Moment], advance: Advance
) -> bool:
    """Show what the log folds to, and whether the read model of that moment says the same.

    `asked`: an estimate or project with its id, or a read model; and the moment.
    """
    what, id, at = asked
    async with projector(store) as database:
        async with database.bound(tenant) as reader:
            position = await _position(reader, at)
        show(f"company {tenant} as of position {position}")
        if what in ("estimate", "project"):
            if id is None:
                raise click.UsageError(f"`cairn replay {what}` needs the {what}'s id")
            async with database.bound(tenant) as reader:
                state = await _folded(reader, what, id, position)
            return await _stream_compared(store, tenant, id, state, position)
        return await _model_compared(database, tenant, what, position, advance)


async def _position(reader: Reader, at: Moment) -> int:
    head = await log.head(reader)
    if head is None:
        raise click.UsageError(f"company {reader.tenant} has no log")
    if at is None:
        return head.position
    if isinstance(at, datetime):
        return await log.position_at(reader, at)
    if at > head.position:
        raise click.UsageError(f"the log ends at position {head.position}")
    return at


async def _stream_compared(store: StoreSettings, tenant: UUID, id: UUID, state: Any, position: int) -> bool:
    told = _told_of_estimate(state) if isinstance(state, Estimate) else _told_of_project(state)
    assert store.database_url is not None
    reading = Database(
        role_url(store.database_url, "cairn_reader", store.database_role_password), name="replay", read_only=True
    )
    await reading.open()
    try:
        async with reading.bound(tenant) as reader:
            if isinstance(state, Estimate):
                row: Any = await estimate_detail.estimate(reader, id, at=position)
            else:
                row = await project_list.project(reader, id, at=position)
    finally:
        await reading.close()
    return _shown(told, {} if row is None else msgspec.to_builtins(row, builtin_types=(Decimal, datetime)))


async def _folded(reader: Reader, category: str, id: UUID, position: int) -> Any:
    """The state its events up to a position fold to."""
    decider = BY_CATEGORY[category]
    state, version = decider.initial, 0
    while page := await log.read_stream(reader, id, after_version=version):
        for stored in page:
            if stored.position > position:
                return state
            recorded = stored.decoded()
            state, version = decider.evolve(state, recorded.event), recorded.stream_version
    return state


def _told_of_estimate(state: Estimate) -> dict[str, object]:
    if not state.version:
        return {}
    bid = bridge_of(state)
    return {
        "version": state.version,
        "title": state.title,
        "line_count": len(state.lines),
        "status": state.status,
        "base_total": state.totals.base,
        "risk_adjustment": state.risk_adjustment,
        "cost": bid.cost,
        "target_margin": state.target_margin,
        "final_bid": bid.final_bid,
    }


def _told_of_project(state: Project) -> dict[str, object]:
    return {"name": state.name, "status": state.status, "latest_version": state.versions} if state.name else {}


def _shown(told: dict[str, object], row: dict[str, Any]) -> bool:
    """Prints what the log says, and where the read model differs. Answers whether it agrees."""
    same = bool(told) == bool(row)
    if not told:
        show("not there yet")
    for name, value in told.items():
        agrees = name not in row or row[name] == value
        same = same and agrees
        show(f"  {name:<15} {value}" + ("" if agrees else f"   but the read model says {row.get(name)}"))
    return same


async def _model_compared(database: Database, tenant: UUID, model: str, position: int, advance: Advance) -> bool:
    """A whole model, built anew in a place of its own up to the position."""
    if model not in {projection.name for projection in registry.PROJECTIONS}:
        names = ", ".join(projection.name for projection in registry.PROJECTIONS)
        raise click.UsageError(f"{model!r} is neither estimate, project nor a read model ({names})")
    differences = await proves(
        database, model, tenant, position, lambda seen: advance(f"{seen.stage} {model}", seen.done, seen.total)
    )
    for each in differences:
        show(f"  {each.table}: replayed {each.rebuilt}, served {each.live}")
    show(f"  {model}: {'the replay says otherwise' if differences else 'a full replay gives the same history'}")
    return not differences
