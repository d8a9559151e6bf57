"""What an event adds to an estimate's totals: the part that the models showing totals have in common."""

from decimal import Decimal
from typing import Final

from domain.estimate_events import LineAdded, LineRemoved, LineRevised, LinesImported
from domain.lines import Totals, counted
from domain.money import EXACT
from projections.projection import Seen

COUNTED: Final = (LineAdded, LineRevised, LineRemoved, LinesImported)
"""The events that change totals."""


def totals_after(base: Decimal, allowance: Decimal, alternate: Decimal, seen: Seen) -> Totals:
    """The totals once the event is counted."""
    totals = Totals(base=base, allowance=allowance, alternate=alternate)
    event = seen.event
    if isinstance(event, LineAdded):
        return totals.plus(counted(event.line))
    if isinstance(event, LineRemoved):
        return totals.minus(counted(event.line))
    if isinstance(event, LineRevised):
        return totals.minus(event.counted_was).plus(event.counted_now)
    if isinstance(event, LinesImported):
        for line in event.lines:
            totals = totals.plus(counted(line))
        return totals
    raise TypeError(f"{seen.type} does not change totals")


def base_after(base: Decimal, seen: Seen) -> Decimal:
    """The base total once the event is counted."""
    event = seen.event
    if isinstance(event, LineAdded):
        return EXACT.add(base, event.line.extension) if event.line.pricing == "base" else base
    return totals_after(base, Decimal(0), Decimal(0), seen).base
