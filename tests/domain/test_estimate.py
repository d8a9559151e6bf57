"""Estimates on real figures: MnDOT contract 220005, and what happens around them."""

import hashlib
import json
from decimal import Decimal
from typing import Any
from uuid import UUID

import pydantic
import pytest

from domain.decider import Ref
from domain.estimate import estimate
from domain.estimate_commands import (
    AddLine,
    ChangeMargin,
    ChangeNotes,
    ImportLines,
    MoveLine,
    RemoveLine,
    ReviseLine,
    StartEstimate,
    SubmitEstimate,
)
from domain.estimate_events import (
    EstimateStarted,
    EstimateSubmitted,
    LineAdded,
    LineMoved,
    LineRemoved,
    LineRevised,
    LinesImported,
    MarginChanged,
    Notes,
    NotesChanged,
)
from domain.lines import Counted, Line, LineChange, LineInput, LinePlace, Totals
from domain.markups import bridge
from domain.project import Project, VersionNumbered
from tests.specs import SOME_ID, given

PROJECT, PARENT, A, B, C = (UUID(int=n) for n in range(1, 6))
STARTED = EstimateStarted(project_id=PROJECT, version=1, currency="USD", target_margin=Decimal(0))
SUBMITTED = EstimateSubmitted(
    content_hash="0" * 64, totals=Totals(), target_margin=Decimal(0), final_bid=Decimal("0.00"), line_count=0
)
TACK_COAT = {
    "line_id": A,
    "wbs_path": ("SP 5625-20",),
    "description": "BITUMINOUS MATERIAL FOR TACK COAT",
    "quantity": Decimal("98868"),
    "unit": "S Y",
    "unit_price": Decimal("0.145"),
}


def add(**other: Any) -> AddLine:
    return AddLine.model_validate({**TACK_COAT, **other})


def line(**other: Any) -> Line:
    fields = {**TACK_COAT, "unit": "SY", "ordinal": Decimal(1), "extension": Decimal("14335.86"), **other}
    return Line(**fields)


def test_a_line_is_extended_and_counts_in_the_base() -> None:
    scene = given(estimate, STARTED)
    scene.when(add()).then(LineAdded(line=line()))
    assert scene.state.totals == Totals(base=Decimal("14335.86"))


def test_a_submitted_extension_is_never_derived_again() -> None:
    shown = {"unit_price": Decimal("0.15"), "extension": Decimal("14335.86")}
    scene = given(estimate, STARTED)
    scene.when(add(**shown)).then(LineAdded(line=line(**shown, submitted=True)))
    scene.when(ReviseLine(line_id=A, description="TACK COAT")).then_accepted()
    assert scene.state.lines[A].extension == Decimal("14335.86")
    for field in ({"quantity": 98_000}, {"unit_price": "0.145"}, {"unit": "SF"}):
        revise = ReviseLine.model_validate_json(json.dumps({"line_id": str(A), **field}))
        scene.when(revise).then_rejected("estimate.extension-stands", extension="14335.86")
    scene.when(ReviseLine(line_id=A, quantity=Decimal("98868.0"))).then_nothing()
    scene.when(ReviseLine(line_id=A, quantity=Decimal(2), extension=Decimal("14000.00"))).then_accepted()
    assert scene.state.totals.base == Decimal("14000.00")
    scene.when(ReviseLine(line_id=A, extension=None)).then_accepted()
    assert scene.state.totals.base == Decimal("0.30")
    assert not scene.state.lines[A].submitted


def test_a_revision_says_old_and_new_and_what_counted() -> None:
    was, now = Decimal("14335.86"), Decimal("9886.80")
    given(estimate, STARTED).when(add(), ReviseLine(line_id=A, unit_price=Decimal("0.1"), unit="SQYD", note=None)).then(
        LineRevised(
            line_id=A,
            was=LineChange(unit_price=Decimal("0.145"), extension=was),
            now=LineChange(unit_price=Decimal("0.1"), extension=now),
            counted_was=Counted("base", was),
            counted_now=Counted("base", now),
        )
    )


def test_allowances_and_alternates_stay_apart_from_the_base() -> None:
    scene = given(estimate, STARTED)
    scene.when(add(), add(line_id=B, pricing="allowance"), add(line_id=C, pricing="alternate", extension=Decimal(-5)))
    fourteen = Decimal("14335.86")
    assert scene.state.totals == Totals(base=fourteen, allowance=fourteen, alternate=Decimal(-5))
    scene.when(ReviseLine(line_id=A, pricing="alternate"))
    assert scene.state.totals == Totals(base=Decimal(0), allowance=fourteen, alternate=fourteen - 5)


def test_adding_again() -> None:
    given(estimate, STARTED).when(add(), add()).then_nothing()
    given(estimate, STARTED).when(add(), add(unit="SY")).then_nothing()
    given(estimate, STARTED).when(add(), add(note="x")).then_rejected("estimate.line-already-exists", "conflict")
    given(estimate, STARTED).when(add(), RemoveLine(line_id=A), add()).then_rejected(
        "estimate.line-removed", "conflict"
    )


def test_what_a_line_cannot_be() -> None:
    scene = given(estimate, STARTED)
    scene.when(add(currency="EUR")).then_rejected("estimate.foreign-currency", line="EUR", estimate="USD")
    scene.when(add(unit="LS")).then_rejected("estimate.lump-sum-quantity", quantity="98868")
    scene.when(add(unit_price=Decimal("999999999999"))).then_rejected("estimate.extension-too-large")
    scene.when(add(), ReviseLine(line_id=A, unit="LS")).then_rejected("estimate.lump-sum-quantity")
    scene.when(ReviseLine(line_id=A, unit="LS", quantity=Decimal(1))).then_accepted()


def test_removing() -> None:
    scene = given(estimate, STARTED)
    scene.when(add(), RemoveLine(line_id=A)).then(LineRemoved(line=line()))
    assert scene.state.totals == Totals()
    scene.when(RemoveLine(line_id=A)).then_nothing()
    scene.when(RemoveLine(line_id=B)).then_rejected("estimate.line-unknown", "missing", line_id=str(B))
    scene.when(ReviseLine(line_id=A, note="x")).then_rejected("estimate.line-removed", "conflict")


def test_moving() -> None:
    three = (add(), add(line_id=B), add(line_id=C))
    moved = given(estimate, STARTED).when(*three, MoveLine(line_id=C, after_line_id=A))
    moved.then(LineMoved(line_id=C, was=LinePlace(ordinal=Decimal(3)), now=LinePlace(ordinal=Decimal("1.5"))))
    first = given(estimate, STARTED).when(*three, MoveLine(line_id=C, after_line_id=None, wbs_path=("Removals",)))
    was = LinePlace(wbs_path=("SP 5625-20",), ordinal=Decimal(3))
    first.then(LineMoved(line_id=C, was=was, now=LinePlace(wbs_path=("Removals",), ordinal=Decimal(0))))
    given(estimate, STARTED).when(*three, MoveLine(line_id=B, after_line_id=A)).then_nothing()
    itself = given(estimate, STARTED).when(*three, MoveLine(line_id=B, after_line_id=B))
    itself.then_rejected("estimate.move-after-itself")


def test_an_import_is_stored_in_chunks_and_only_once() -> None:
    lines = tuple(LineInput.model_validate({**TACK_COAT, "line_id": UUID(int=n + 100)}) for n in range(1_001))
    scene = given(estimate, STARTED)
    events = scene.when(ImportLines(lines=lines)).events
    assert [len(event.lines) for event in events if isinstance(event, LinesImported)] == [500, 500, 1]
    assert scene.state.totals.base == Decimal("14335.86") * 1_001
    scene.when(ImportLines(lines=lines)).then_nothing()
    more = LineInput.model_validate(TACK_COAT)
    scene.when(ImportLines(lines=(*lines[:3], more))).then(
        LinesImported(source="import", lines=(line(ordinal=Decimal(1_002)),))
    )


def test_an_import_names_all_faults_and_stores_nothing() -> None:
    scene = given(estimate, STARTED)
    bodies: list[dict[str, Any]] = [{}, {"note": "x"}, {"line_id": B, "currency": "EUR"}, {"line_id": C, "unit": "LS"}]
    lines = tuple(LineInput.model_validate({**TACK_COAT, **body}) for body in bodies)
    refused = scene.when(ImportLines(lines=lines)).then_rejected("estimate.import-refused")
    assert refused.rejection is not None
    faults: Any = refused.rejection.facts["faults"]
    assert [(fault["index"], fault["code"]) for fault in faults] == [
        (1, "estimate.line-repeated"),
        (2, "estimate.foreign-currency"),
        (3, "estimate.lump-sum-quantity"),
    ]
    assert len(scene.state.lines) == 0


def test_margin_and_notes() -> None:
    scene = given(estimate, STARTED)
    scene.when(ChangeMargin(target_margin=Decimal("0.12"))).then(MarginChanged(was=Decimal(0), now=Decimal("0.12")))
    scene.when(ChangeMargin(target_margin=Decimal("0.120"))).then_nothing()
    scene.when(ChangeNotes(title="Bid")).then(NotesChanged(was=Notes(title=None), now=Notes(title="Bid")))
    scene.when(ChangeNotes(title=None)).then(NotesChanged(was=Notes(title="Bid"), now=Notes(title=None)))


def test_submitting_freezes_totals_and_content() -> None:
    scene = given(estimate, STARTED)
    base = add(unit="LS", quantity=Decimal(1), unit_price=Decimal("2045323.78"), description='18" PIPE\n'.strip())
    (submitted,) = scene.when(base, ChangeMargin(target_margin=Decimal("0.120")), SubmitEstimate()).events
    content = (
        '["cairn-estimate-content/2","USD","0.12",null,null,null,null]\n'
        '["line","00000000-0000-0000-0000-000000000003",["SP 5625-20"],null,null,null,"18\\" PIPE","1","LS",'
        '"2045323.78","2045323.78",false,"other","firm","base",null,null,null]\n'
    )
    assert submitted == EstimateSubmitted(
        content_hash=hashlib.sha256(content.encode()).hexdigest(),
        totals=Totals(base=Decimal("2045323.78")),
        target_margin=Decimal("0.12"),
        final_bid=Decimal("2324231.57"),
        line_count=1,
        content_format=2,
        cost=Decimal("2045323.78"),
        bridge=bridge(Decimal("2045323.78"), Decimal("0.00"), (), Decimal("0.12")).steps,
    )
    scene.when(SubmitEstimate()).then_nothing()


@pytest.mark.parametrize(
    "command",
    [
        *(add(), ReviseLine(line_id=A, note="x"), MoveLine(line_id=A, after_line_id=None), RemoveLine(line_id=A)),
        *(ImportLines(lines=(LineInput.model_validate(TACK_COAT),)), ChangeMargin(target_margin=Decimal("0.1"))),
        ChangeNotes(title="x"),
    ],
    ids=lambda command: type(command).__name__,
)
def test_a_submitted_estimate_refuses_every_edit(command: Any) -> None:
    given(estimate, STARTED, SUBMITTED).when(command).then_rejected("estimate.submitted", "conflict", version=1)
    given(estimate).when(command).then_rejected("estimate.unknown", "missing")


def start(**other: Any) -> StartEstimate:
    return StartEstimate.model_validate({"project_id": PROJECT, "currency": "USD", **other})


PROJECT_REF, PARENT_REF = Ref("project", PROJECT), Ref("estimate", PARENT)
LIVE = Project(name="TH 108", versions=2)


def test_starting_takes_the_projects_next_version() -> None:
    given(estimate, beside={PROJECT_REF: LIVE}).when(start(notes="first")).then_written(
        (PROJECT_REF, VersionNumbered(estimate_id=SOME_ID, version=3)),
        (
            Ref("estimate", SOME_ID),
            EstimateStarted(project_id=PROJECT, version=3, currency="USD", target_margin=Decimal(0), notes="first"),
        ),
    )


def test_starting_again() -> None:
    scene = given(estimate, beside={PROJECT_REF: LIVE})
    scene.when(start(), start()).then_nothing()
    scene.when(start(target_margin=Decimal("0.1"))).then_rejected("estimate.already-started", "conflict", version=3)


def test_starting_from_a_parent_copies_its_lines_and_margin() -> None:
    parent = given(estimate, STARTED)
    parent.when(add(), add(line_id=B, extension=Decimal(7)), MoveLine(line_id=B, after_line_id=None), SubmitEstimate())
    parent.world.run(parent.ref, SubmitEstimate())
    scene = given(estimate, beside={PROJECT_REF: LIVE, PARENT_REF: parent.state})
    _, started, copied = scene.when(start(parent_id=PARENT)).events
    assert isinstance(started, EstimateStarted)
    assert started.parent_id == PARENT
    assert isinstance(copied, LinesImported)
    assert (copied.source, [copy.line_id for copy in copied.lines]) == ("parent", [B, A])
    assert scene.state.lines == parent.state.lines
    assert scene.state.totals == parent.state.totals
    assert not scene.state.submitted


def test_where_a_version_cannot_start() -> None:
    given(estimate).when(start()).then_rejected("estimate.project-unknown", "missing")
    deleted = {PROJECT_REF: Project(name="TH 108", deleted=True)}
    given(estimate, beside=deleted).when(start()).then_rejected("estimate.project-deleted", "conflict")
    live = {PROJECT_REF: LIVE}
    given(estimate, beside=live).when(start(parent_id=PARENT)).then_rejected("estimate.parent-unknown", "missing")
    elsewhere = given(
        estimate, EstimateStarted(project_id=A, version=1, currency="USD", target_margin=Decimal(0))
    ).state
    beside = {PROJECT_REF: LIVE, PARENT_REF: elsewhere}
    given(estimate, beside=beside).when(start(parent_id=PARENT)).then_rejected("estimate.parent-elsewhere")
    beside = {PROJECT_REF: LIVE, PARENT_REF: given(estimate, STARTED).state}
    foreign = given(estimate, beside=beside).when(start(parent_id=PARENT, currency="EUR"))
    foreign.then_rejected("estimate.foreign-currency", parent="USD", estimate="EUR")


BODY: dict[str, Any] = {
    "line_id": str(A),
    "wbs_path": ["SP 5625-20"],
    "description": "TACK COAT",
    "quantity": "98868",
    "unit": "S Y",
    "unit_price": "0.145",
}


@pytest.mark.parametrize(
    ("path", "value", "fault"),
    [
        ("quantity", 1.5, "decimal_not_string"),
        ("quantity", float("nan"), "decimal_not_string"),
        ("unit_price", float("inf"), "decimal_not_string"),
        ("unit_price", "1e400", "decimal_shape"),
        ("unit_price", "9" * 40, "decimal_shape"),
        ("extension", "1.005", "decimal_shape"),
        ("unit", "FURLONG", "unit_unknown"),
        ("currency", "XXX", "currency_unknown"),
        ("colour", "red", "extra_forbidden"),
        ("description", "a\x00b", "text_control_character"),
        ("description", " ", "text_blank"),
        ("description", 7, "string_type"),
        ("line_id", "A", "uuid_parsing"),
        ("wbs_path", [], "too_short"),
        ("wbs_path", ["a"] * 11, "too_long"),
        ("cost_type", "labor", "literal_error"),
        ("note", "a" * 10_001, "string_too_long"),
        ("quantity", None, "decimal_not_string"),
    ],
)
def test_bad_input_is_refused_by_field(path: str, value: object, fault: str) -> None:
    for command, body in (
        (AddLine, {**BODY, path: value}),
        (ImportLines, {"lines": [{**BODY, path: value}]}),
    ):
        with pytest.raises(pydantic.ValidationError) as refused:
            command.model_validate_json(json.dumps(body))
        assert [(error["loc"][-1], error["type"]) for error in refused.value.errors()] == [(path, fault)]


def test_all_faults_of_a_body_are_named() -> None:
    with pytest.raises(pydantic.ValidationError) as refused:
        AddLine.model_validate_json(json.dumps({**BODY, "unit": "FURLONG", "quantity": 0.5, "colour": "red"}))
    assert {error["loc"] for error in refused.value.errors()} == {("unit",), ("quantity",), ("colour",)}


@pytest.mark.parametrize(
    "body",
    [
        *('{"line_id": "%s"}', '{"line_id": "%s", "unit_price": null}', '{"line_id": "%s", "wbs_path": ["a"]}'),
        *('{"line_id": "%s", "quantity": 1e2}', '{"line_id": "%s", "description": ""}'),
    ],
)
def test_revisions_that_cannot_be(body: str) -> None:
    with pytest.raises(pydantic.ValidationError):
        ReviseLine.model_validate_json(body % A)


def test_an_import_has_a_limit() -> None:
    one = LineInput.model_validate(TACK_COAT)
    with pytest.raises(pydantic.ValidationError, match="at most 20000"):
        ImportLines(lines=(one,) * 20_001)
    with pytest.raises(pydantic.ValidationError, match="At least one"):
        ImportLines(lines=())
