"""Taking one earlier change back: the events that do it, as long as nothing later rests on what it changed."""

from collections.abc import Iterable
from decimal import Decimal
from typing import Any, Final, assert_never
from uuid import UUID

from msgspec.structs import replace

from domain.decider import Recall, Recalled, Ref, Rejected
from domain.estimate_commands import UndoChange
from domain.estimate_events import (
    ChangeUndone,
    Classified,
    EstimateEvent,
    LineAdded,
    LineMoved,
    LineRemoved,
    LineRestored,
    LineRevised,
    LinesImported,
    LinesRemoved,
    MarginChanged,
    MarkupsSet,
    MitigationApplied,
    MitigationWithdrawn,
    NotesChanged,
    RiskAdded,
    RiskClosed,
    RiskRemoved,
    RiskReopened,
    RiskRestored,
    RiskRevised,
)
from domain.estimate_state import Estimate
from domain.line_edits import RESTS_ON, revision, sound
from domain.lines import Line, LinePlace
from domain.money import extension_of
from domain.ordinals import nearest_free
from domain.risk_edits import closed, mitigated, reopened, withdrawn
from domain.risk_edits import revision as risk_revision
from domain.risks import Risk

Undoable = (
    LineAdded
    | LineRevised
    | LineMoved
    | LineRemoved
    | LinesImported
    | MarginChanged
    | NotesChanged
    | MarkupsSet
    | RiskAdded
    | RiskRevised
    | MitigationApplied
    | MitigationWithdrawn
    | RiskClosed
    | RiskReopened
    | RiskRemoved
    | Classified
)
"""What has an inverse. An undo has none: make the change again."""

OVERTAKEN_MAX: Final = 100
"""How many overtaken fields a refusal lists."""


class _Overtaken(Exception):
    """What a change made is not so any more: which fields, and what they are now."""

    def __init__(self, thing: dict[str, object], fields: Iterable[tuple[str | None, object]]) -> None:
        super().__init__()
        self.facts = [{**thing, "field": field, "present": present} for field, present in fields]


def undone(command: UndoChange, recall: Recall, recalled: Recalled | None, estimate: Estimate) -> list[EstimateEvent]:
    """`ChangeUndone`, then what takes the recalled change back. Raises Rejected."""
    mine = [] if recalled is None else [each for each in recalled.written if each[0] == recall.ref]
    if recalled is None or not mine:
        raise Rejected("estimate.change-unknown", "missing", stream_version=command.stream_version)
    versions = tuple(version for _, version, _ in mine)
    if any(version in estimate.undone for version in versions):
        raise Rejected("estimate.change-already-undone", "conflict", stream_versions=versions)
    taking_back: list[EstimateEvent] = []
    overtaken: list[dict[str, object]] = []
    for _, _, event in reversed(mine):
        if not isinstance(event, Undoable) or len(recalled.written) > len(mine):
            raise Rejected("estimate.cannot-be-undone", stream_version=command.stream_version)
        try:
            taking_back += _inverse(event, estimate)
        except _Overtaken as later:
            overtaken += later.facts
    if overtaken:
        facts = {"overtaken": overtaken[:OVERTAKEN_MAX], "overtaken_total": len(overtaken)}
        raise Rejected("estimate.undo-overtaken", "conflict", **facts)
    return [ChangeUndone(stream_versions=versions, command_id=recalled.command_id), *taking_back]


def recalls(id: UUID, command: UndoChange) -> list[Recall]:
    """The command that wrote the version."""
    return [Recall(Ref("estimate", id), command.stream_version)]


def _inverse(event: Undoable, estimate: Estimate) -> list[EstimateEvent]:
    match event:
        case LineAdded(line=line):
            return [LineRemoved(line=_unchanged_line(line, estimate))]
        case LinesImported(lines=lines):
            return [LinesRemoved(lines=_unchanged_lines(lines, estimate))]
        case LineRemoved(line=line):
            return [_restored(line, estimate)]
        case LineRevised():
            return _unrevised(event, estimate)
        case LineMoved():
            return [_unmoved(event, estimate)]
        case MarginChanged():
            _must_still_be({}, {"target_margin": event.now}, estimate)
            return [MarginChanged(was=event.now, now=event.was)]
        case MarkupsSet():
            _must_still_be({}, {"markups": event.now}, estimate)
            return [MarkupsSet(was=event.now, now=event.was)]
        case NotesChanged():
            _must_still_be({}, event.now.given(), estimate)
            return [NotesChanged(was=event.now, now=event.was)]
        case Classified():
            _must_still_be({}, event.now.given(), estimate)
            return [Classified(was=event.now, now=event.was)]
        case _:
            return [_inverse_of_risk(event, estimate)]


def _must_still_be(thing: dict[str, object], made: dict[str, Any], current: object) -> None:
    fields = [(name, getattr(current, name)) for name, value in made.items() if getattr(current, name) != value]
    if fields:
        raise _Overtaken(thing, fields)


def _line(line_id: UUID, estimate: Estimate) -> Line:
    line = estimate.lines.get(line_id)
    if line is None:
        raise _Overtaken({"line_id": line_id}, [(None, None)])
    return line


def _unchanged_line(line: Line, estimate: Estimate) -> Line:
    made = {name: getattr(line, name) for name in Line.__struct_fields__}
    _must_still_be({"line_id": line.line_id}, made, _line(line.line_id, estimate))
    return line


def _unchanged_lines(lines: tuple[Line, ...], estimate: Estimate) -> tuple[Line, ...]:
    for line in lines:
        if estimate.lines.get(line.line_id) != line:
            _unchanged_line(line, estimate)
    return lines


def _restored(line: Line, estimate: Estimate) -> LineRestored:
    if line.line_id in estimate.lines:
        raise _Overtaken({"line_id": line.line_id}, [(None, estimate.lines[line.line_id])])
    return LineRestored(line=replace(line, ordinal=_place(line.line_id, line.ordinal, estimate)))


def _place(line_id: UUID, wanted: Decimal, estimate: Estimate) -> Decimal:
    """The ordinal if it is free, else one right after it."""
    ordinal = nearest_free(estimate.ordinals, wanted)
    if ordinal is None:
        raise Rejected("estimate.no-room", "conflict", line_id=str(line_id))
    return ordinal


def _unmoved(event: LineMoved, estimate: Estimate) -> LineMoved:
    line = _line(event.line_id, estimate)
    _must_still_be({"line_id": event.line_id}, event.now.given(), line)
    was = event.was.given()
    if "ordinal" in was:
        was["ordinal"] = _place(event.line_id, was["ordinal"], estimate)
    return LineMoved(line_id=event.line_id, was=event.now, now=LinePlace(**was))


def _unrevised(event: LineRevised, estimate: Estimate) -> list[EstimateEvent]:
    """An extension that follows from quantity and price goes on following from them, whatever they are now; one that
    was submitted is a field like any other, and stands in the way of changing what it rests on.
    """
    line = _line(event.line_id, estimate)
    was, now = event.was.given(), event.now.given()
    if "submitted" in now:
        was["extension"], now["extension"] = event.counted_was.extension, event.counted_now.extension
    elif not line.submitted:
        was.pop("extension", None)
        now.pop("extension", None)
    made = dict(now)
    if line.submitted and "extension" not in made and any(name in made for name in RESTS_ON):
        raise _Overtaken({"line_id": line.line_id}, [("extension", line.extension)])
    if "unit_price" in made and "conversion" not in made and line.conversion is not None:
        raise _Overtaken({"line_id": line.line_id}, [("conversion", line.conversion)])
    _must_still_be({"line_id": line.line_id}, made, line)
    before = replace(line, **was)
    if not before.submitted:
        before = replace(before, extension=extension_of(before.quantity, before.unit_price))
    return revision(line, sound(before))


def _risk_as(made: dict[str, Any], risk_id: UUID, estimate: Estimate) -> Risk:
    """The risk, when it still is what a change made it."""
    risk = estimate.risks.get(risk_id)
    if risk is None:
        raise _Overtaken({"risk_id": risk_id}, [(None, None)])
    _must_still_be({"risk_id": risk_id}, made, risk)
    return risk


def _inverse_of_risk(
    event: RiskAdded | RiskRemoved | RiskRevised | MitigationApplied | MitigationWithdrawn | RiskClosed | RiskReopened,
    estimate: Estimate,
) -> EstimateEvent:
    match event:
        case RiskAdded(risk=risk):
            made = {name: getattr(risk, name) for name in Risk.__struct_fields__}
            return RiskRemoved(risk=_risk_as(made, risk.risk_id, estimate))
        case RiskRemoved(risk=risk):
            if risk.risk_id in estimate.risks:
                raise _Overtaken({"risk_id": risk.risk_id}, [(None, estimate.risks[risk.risk_id])])
            return RiskRestored(risk=risk)
        case RiskRevised():
            return risk_revision(_risk_as(event.now.given(), event.risk_id, estimate), event.now, event.was)
        case MitigationApplied():
            made = {"status": "mitigated", "mitigated_on": event.applied_on}
            return withdrawn(_risk_as(made, event.risk_id, estimate), None)
        case MitigationWithdrawn():
            return mitigated(_risk_as({"status": "open"}, event.risk_id, estimate), event.applied_on)
        case RiskClosed():
            made = {"status": "closed", "closed_on": event.closed_on}
            return reopened(_risk_as(made, event.risk_id, estimate), None, frozen=False)
        case RiskReopened():
            risk = _risk_as({"closed_on": None, "occurred_on": None}, event.risk_id, estimate)
            return closed(risk, event.closed_on, event.closed_because, frozen=False)
    assert_never(event)
