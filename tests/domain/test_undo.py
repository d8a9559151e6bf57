"""Taking one change back: what comes back, what stands in the way, and what has no way back."""

from datetime import date
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from domain.estimate import estimate
from domain.estimate_commands import (
    AddLine,
    AddRisk,
    ApplyMitigation,
    ChangeMargin,
    ChangeNotes,
    CloseRisk,
    ImportLines,
    MoveLine,
    RemoveLine,
    RemoveRisk,
    ReopenRisk,
    ReviseLine,
    ReviseRisk,
    SubmitEstimate,
    TagVersion,
    UndoChange,
)
from domain.estimate_events import (
    ChangeUndone,
    EstimateStarted,
    LineRemoved,
    LineRestored,
    LineRevised,
    LinesRemoved,
    MarginChanged,
)
from domain.lines import Counted, LineChange, LineInput
from tests.specs import Given, given

PROJECT, A, B, C, RISK = (UUID(int=n) for n in range(1, 6))
STARTED = EstimateStarted(project_id=PROJECT, version=1, currency="USD", target_margin=Decimal(0))
BODY: dict[str, Any] = {
    "wbs_path": ("SP",),
    "description": "TACK COAT",
    "quantity": Decimal(10),
    "unit": "GAL",
    "unit_price": Decimal("1.5"),
}
ON = date(2022, 1, 25)


def add(line_id: UUID, **other: Any) -> AddLine:
    return AddLine.model_validate({"line_id": line_id, **BODY, **other})


def undo(version: int) -> UndoChange:
    return UndoChange(stream_version=version)


def scene(*commands: Any) -> Given:
    """A draft, started at version 1 of its stream, in which each of these commands wrote one event."""
    made = given(estimate, STARTED)
    for command in commands:
        made.when(command).then_accepted()
    return made


def test_a_revision_is_taken_back_field_by_field() -> None:
    of = scene(add(A), ReviseLine(line_id=A, quantity=Decimal(20)), ReviseLine(line_id=A, unit_price=Decimal(2)))
    events = of.when(undo(3)).events
    assert events == [
        ChangeUndone(stream_versions=(3,), command_id=UUID(int=2)),
        LineRevised(
            line_id=A,
            was=LineChange(quantity=Decimal(20), extension=Decimal("40.00")),
            now=LineChange(quantity=Decimal(10), extension=Decimal("20.00")),
            counted_was=Counted("base", Decimal("40.00")),
            counted_now=Counted("base", Decimal("20.00")),
        ),
    ]
    assert of.state.lines[A].unit_price == 2
    of.when(undo(3)).then_rejected("estimate.change-already-undone", "conflict", stream_versions=(3,))


def test_a_later_change_of_the_same_field_stands_in_the_way() -> None:
    of = scene(add(A), ReviseLine(line_id=A, quantity=Decimal(20), note="x"), ReviseLine(line_id=A, note="y"))
    refused = of.when(undo(3)).then_rejected("estimate.undo-overtaken", "conflict", overtaken_total=1)
    assert refused.rejection is not None
    assert refused.rejection.facts["overtaken"] == [{"line_id": A, "field": "note", "present": "y"}]
    of.when(undo(2)).then_rejected("estimate.undo-overtaken", "conflict", overtaken_total=3)
    of.when(undo(4), undo(3), undo(2)).then_accepted()
    assert len(of.state.lines) == 0


def test_a_submitted_amount_comes_back_and_stands_in_the_way() -> None:
    of = scene(add(A, extension=Decimal("14.99")), ReviseLine(line_id=A, extension=None))
    of.when(undo(3)).then_accepted()
    assert (of.state.lines[A].submitted, of.state.lines[A].extension) == (True, Decimal("14.99"))
    of = scene(
        add(A),
        ReviseLine(line_id=A, quantity=Decimal(20)),
        ReviseLine(line_id=A, extension=Decimal("29.99")),
    )
    refused = of.when(undo(3)).then_rejected("estimate.undo-overtaken", "conflict")
    assert refused.rejection is not None
    assert refused.rejection.facts["overtaken"] == [{"line_id": A, "field": "extension", "present": Decimal("29.99")}]
    of = scene(
        add(A, extension=Decimal("14.99")),
        ReviseLine(line_id=A, extension=None),
        ReviseLine(line_id=A, quantity=Decimal(20)),
    )
    of.when(undo(3)).then_rejected("estimate.undo-overtaken", "conflict")


def test_a_converted_price_comes_back_with_its_rate() -> None:
    conversion = {"currency": "CAD", "unit_price": Decimal(2), "rate": Decimal("0.75"), "rated_on": ON}
    of = scene(add(A, conversion=conversion, unit_price=None), ReviseLine(line_id=A, unit_price=Decimal(2)))
    before = of.state.lines[A]
    assert (before.conversion, before.extension) == (None, Decimal("20.00"))
    of.when(undo(3)).then_accepted()
    assert of.state.lines[A].conversion is not None
    assert of.state.lines[A].unit_price == Decimal("1.500000")


def test_a_removed_line_comes_back_where_it_was() -> None:
    of = scene(add(A), add(B), RemoveLine(line_id=A))
    _, restored = of.when(undo(4)).events
    assert isinstance(restored, LineRestored)
    assert restored.line.ordinal == 1
    of.when(ReviseLine(line_id=A, note="x")).then_accepted()


def test_a_place_that_was_taken_is_given_next_to_it() -> None:
    of = scene(add(A), add(B), RemoveLine(line_id=B), add(C))
    assert of.state.lines[C].ordinal == 2
    _, restored = of.when(undo(4)).events
    assert isinstance(restored, LineRestored)
    assert restored.line.ordinal == 3
    of = scene(add(A), add(B), MoveLine(line_id=B, after_line_id=None), add(C))
    of.when(undo(4)).then_accepted()
    assert [of.state.lines[each].ordinal for each in (A, C, B)] == [1, 2, 3]


def test_an_addition_and_an_import_are_taken_out() -> None:
    lines = tuple(LineInput.model_validate({"line_id": UUID(int=100 + n), **BODY}) for n in range(501))
    of = scene(add(A), ImportLines(lines=lines))
    undone, *parts = of.when(undo(3)).events
    assert undone == ChangeUndone(stream_versions=(3, 4), command_id=UUID(int=2))
    assert [len(part.lines) for part in parts if isinstance(part, LinesRemoved)] == [1, 500]
    assert len(of.state.lines) == 1
    of.when(undo(4)).then_rejected("estimate.change-already-undone", "conflict")
    _, removed = of.when(undo(2)).events
    assert isinstance(removed, LineRemoved)


def test_an_import_with_a_line_revised_since_stays() -> None:
    lines = tuple(LineInput.model_validate({"line_id": each, **BODY}) for each in (A, B))
    of = scene(ImportLines(lines=lines), ReviseLine(line_id=B, note="y"))
    refused = of.when(undo(2)).then_rejected("estimate.undo-overtaken", "conflict")
    assert refused.rejection is not None
    assert refused.rejection.facts["overtaken"] == [{"line_id": B, "field": "note", "present": "y"}]


def test_margins_and_notes() -> None:
    of = scene(ChangeMargin(target_margin=Decimal("0.1")), ChangeNotes(title="Bid"), ChangeNotes(notes="x"))
    of.when(undo(2)).then(
        ChangeUndone(stream_versions=(2,), command_id=UUID(int=1)), MarginChanged(was=Decimal("0.1"), now=Decimal(0))
    )
    of.when(undo(3)).then_accepted()
    assert (of.state.title, of.state.notes) == (None, "x")


RESPONSE = {
    "kind": "mitigate",
    "cost": Decimal(1),
    "residual_probability": Decimal("0.1"),
    "residual_low": Decimal(1),
    "residual_high": Decimal(2),
}
THREAT = AddRisk.model_validate(
    {
        "risk_id": RISK,
        "kind": "threat",
        "title": "Peat",
        "probability": Decimal("0.5"),
        "low": Decimal(10),
        "high": Decimal(30),
        "response": RESPONSE,
    }
)


def test_risks() -> None:
    of = scene(THREAT, ApplyMitigation(risk_id=RISK, applied_on=ON), ReviseRisk(risk_id=RISK, title="Deep peat"))
    of.when(undo(3)).then_accepted()
    assert (of.state.risks[RISK].status, of.state.risk_adjustment) == ("open", Decimal("10.00"))
    of.when(undo(2)).then_rejected("estimate.undo-overtaken", "conflict")
    of.when(undo(4), undo(2)).then_accepted()
    assert RISK in of.state.removed_risks
    of = scene(THREAT, CloseRisk(risk_id=RISK, closed_on=ON, reason="Over"), ReopenRisk(risk_id=RISK, reason="No"))
    of.when(undo(3)).then_rejected("estimate.undo-overtaken", "conflict")
    of.when(undo(4)).then_accepted()
    assert (of.state.risks[RISK].status, of.state.risks[RISK].closed_because) == ("closed", "Over")
    of = scene(THREAT, RemoveRisk(risk_id=RISK))
    of.when(undo(3)).then_accepted()
    assert of.state.risk_adjustment == Decimal("10.00")


@pytest.mark.parametrize("version", [3, 4, 5])
def test_what_cannot_be_taken_back(version: int) -> None:
    of = scene(add(A), TagVersion(tag="x"), undo(2))
    of.when(undo(version)).then_rejected("estimate.cannot-be-undone", stream_version=version)


def test_where_nothing_is_taken_back() -> None:
    scene(add(A)).when(undo(9)).then_rejected("estimate.change-unknown", "missing", stream_version=9)
    scene(add(A), SubmitEstimate()).when(undo(2)).then_rejected("estimate.submitted", "conflict")
    given(estimate).when(undo(1)).then_rejected("estimate.unknown", "missing")
