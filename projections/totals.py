"""What an event adds to an estimate's totals: the part that the models showing totals have in common."""

from decimal import Decimal
from typing import Any, Final

import msgspec

from domain.decider import Event
from domain.estimate_events import (
    LineAdded,
    LineRemoved,
    LineRestored,
    LineRevised,
    LinesImported,
    LinesRemoved,
    MitigationApplied,
    MitigationWithdrawn,
    RiskAdded,
    RiskClosed,
    RiskRemoved,
    RiskReopened,
    RiskRestored,
    RiskRevised,
    RisksCopied,
)
from domain.lines import Totals, counted
from domain.markups import Markup, cost_of
from domain.money import EXACT, final_bid
from projections.projection import Seen

COUNTED: Final = (LineAdded, LineRevised, LineRemoved, LineRestored, LinesImported, LinesRemoved)
"""The events that change totals."""
ADJUSTING: Final = (
    RiskAdded,
    RiskRevised,
    RiskRemoved,
    RiskRestored,
    RisksCopied,
    MitigationApplied,
    MitigationWithdrawn,
    RiskClosed,
    RiskReopened,
)
"""The events that change the risk adjustment."""


def totals_after(base: Decimal, allowance: Decimal, alternate: Decimal, seen: Seen) -> Totals:
    """The totals once the event is counted."""
    totals = Totals(base=base, allowance=allowance, alternate=alternate)
    event = seen.event
    if isinstance(event, LineAdded | LineRestored):
        return totals.plus(counted(event.line))
    if isinstance(event, LineRemoved):
        return totals.minus(counted(event.line))
    if isinstance(event, LineRevised):
        return totals.minus(event.counted_was).plus(event.counted_now)
    if isinstance(event, LinesImported):
        for line in event.lines:
            totals = totals.plus(counted(line))
        return totals
    if isinstance(event, LinesRemoved):
        for line in event.lines:
            totals = totals.minus(counted(line))
        return totals
    raise TypeError(f"{seen.type} does not change totals")


def base_after(base: Decimal, seen: Seen) -> Decimal:
    """The base total once the event is counted."""
    event = seen.event
    if isinstance(event, LineAdded):
        return EXACT.add(base, event.line.extension) if event.line.pricing == "base" else base
    return totals_after(base, Decimal(0), Decimal(0), seen).base


def as_stored(markups: tuple[Markup, ...]) -> list[dict[str, Any]]:
    """Mark-ups as a row keeps them: JSON values, decimals in them strings."""
    stored: list[dict[str, Any]] = msgspec.to_builtins(markups)
    return stored


def as_document(part: msgspec.Struct | None) -> dict[str, Any] | None:
    """A part of a thing as a row keeps it: JSON values, decimals in them strings."""
    document: dict[str, Any] | None = msgspec.to_builtins(part)
    return document


def as_priced(stored: list[dict[str, Any]]) -> tuple[Markup, ...]:
    """Mark-ups of a row, to reckon with."""
    return msgspec.convert(stored, tuple[Markup, ...]) if stored else ()


def cost_and_bid(
    base: Decimal, risk_adjustment: Decimal, stored: list[dict[str, Any]], target_margin: Decimal
) -> tuple[Decimal, Decimal]:
    """What the margin is put on, and the price with it."""
    cost = cost_of(base, risk_adjustment, as_priced(stored))
    return cost, final_bid(cost, target_margin)


def lines_more(event: Event) -> int:
    """How many lines more there are after the event."""
    if isinstance(event, LinesImported):
        return len(event.lines)
    if isinstance(event, LinesRemoved):
        return -len(event.lines)
    return {LineAdded: 1, LineRestored: 1, LineRemoved: -1}.get(type(event), 0)
