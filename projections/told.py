"""What events of an estimate tell of: their lines and risks, each with the key that rows about it have."""

from collections.abc import Sequence
from typing import Any

from domain.estimate_events import (
    LineAdded,
    LineRemoved,
    LineRestored,
    LinesImported,
    LinesRemoved,
    RiskAdded,
    RiskRemoved,
    RiskRestored,
    RisksCopied,
)
from domain.lines import Line
from domain.risks import Risk
from projections.projection import Key, Seen, identity


def told_lines(seen: Seen) -> list[tuple[Key, Line]]:
    """Each line that came or went, whole, with its key (estimate, line)."""
    event: LineAdded | LineRestored | LineRemoved | LinesImported | LinesRemoved = seen.event
    lines = event.lines if isinstance(event, LinesImported | LinesRemoved) else (event.line,)
    return _keyed(seen, "line_id", lines)


def named_line(seen: Seen) -> list[Key]:
    """The key of the one line that the event names."""
    return [(identity(seen.raw_stream_id), seen.event.line_id)]


def told_risks(seen: Seen) -> list[tuple[Key, Risk]]:
    """Each risk that came or went, whole, with its key (estimate, risk)."""
    event: RiskAdded | RiskRestored | RiskRemoved | RisksCopied = seen.event
    return _keyed(seen, "risk_id", event.risks if isinstance(event, RisksCopied) else (event.risk,))


def named_risk(seen: Seen) -> list[Key]:
    """The key of the one risk that the event names."""
    return [(identity(seen.raw_stream_id), seen.event.risk_id)]


def _keyed(seen: Seen, name: str, things: Sequence[Any]) -> list[tuple[Key, Any]]:
    estimate_id = identity(seen.raw_stream_id)
    return [((estimate_id, getattr(thing, name)), thing) for thing in things]
