"""An estimate version: its lines, what they add up to, and the bid that follows; frozen once it is submitted."""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Annotated, Any, ClassVar, Final, Literal, TypeAlias, assert_never
from uuid import UUID

from msgspec import UNSET, UnsetType
from msgspec.structs import replace
from pydantic import Field

from domain import project
from domain.decider import Command, Decider, Event, Ref, Rejected, Spanning, State, Written, members
from domain.lines import (
    IMPORT_LIMIT,
    Code,
    CostType,
    Counted,
    Firmness,
    Line,
    LineChange,
    LineInput,
    LinePlace,
    Pricing,
    Totals,
    WbsPath,
    content_hash,
    counted,
    extension_fits,
    in_chunks,
    in_order,
    line_from,
    lump_sum_is_one,
)
from domain.maps import TrieMap, trie_map
from domain.money import Amount, Currency, Margin, Quantity, UnitPrice, extension_of, final_bid
from domain.ordinals import Ordinals, beyond, ordinal_after, with_ordinal, without_ordinal
from domain.subset import Change, Subset, difference, optional
from domain.text import Name, Note, NotEmpty, Sentence
from domain.units import Unit

REJECTIONS: Final[Mapping[str, str]] = {
    "estimate.unknown": "No estimate was started under this id.",
    "estimate.already-started": "An estimate with other particulars was started under this id.",
    "estimate.submitted": "The estimate is submitted, which freezes it; start a new version from it instead.",
    "estimate.project-unknown": "No project was created under this id.",
    "estimate.project-deleted": "The project is deleted; restore it first.",
    "estimate.parent-unknown": "No estimate was started under the parent's id.",
    "estimate.parent-elsewhere": "The parent is a version of another project.",
    "estimate.foreign-currency": "The currency is not the estimate's (or its parent's); nothing is converted.",
    "estimate.line-unknown": "The estimate has no line of this id.",
    "estimate.line-removed": "The line of this id was removed; a new line has a new id.",
    "estimate.line-already-exists": "The estimate has a line of this id with other content; revise that one.",
    "estimate.line-repeated": "The import names this line id more than once.",
    "estimate.lump-sum-quantity": "A lump sum (LS) has quantity 1.",
    "estimate.extension-too-large": "The extension has more than 15 digits.",
    "estimate.extension-stands": (
        "The line's extension is a submitted amount. With a new quantity, unit or unit price, say what becomes of it: "
        "send a new extension, or null to derive it."
    ),
    "estimate.import-refused": "Some lines of the import have faults, listed by index; nothing of it was stored.",
    "estimate.move-after-itself": "A line cannot be moved to after itself.",
    "estimate.no-room": "Too many lines were moved into this one gap; move the line that follows first.",
}

_LINE_ID: Final = "0197b2a4-5f6e-7c3d-8a9b-0c1d2e3f4a5b"


class StartEstimate(Command):
    """Starts the project's next version: empty, or with the lines of a parent version of the same project."""

    project_id: UUID = Field(description="The project it is a version of.", examples=[_LINE_ID])
    parent_id: UUID | None = Field(default=None, description="The version whose lines are copied.", examples=[_LINE_ID])
    currency: Currency = Field(description="The company's currency; a parent's must be the same.", examples=["USD"])
    target_margin: Margin | None = Field(
        default=None,
        description="Margin on price, as a fraction below 1; null takes the parent's, or 0 without a parent.",
        examples=["0.12"],
    )
    title: Name | None = Field(default=None, description="What to call this version.", examples=["Bid"])
    notes: Note | None = Field(default=None, description="Why this version.", examples=["After addendum 2"])


class AddLine(Command, LineInput):
    """Adds a line after all others."""


class ReviseLine(Subset):
    """Changes the fields it is given; auto-save sends this. Place and work breakdown change by `MoveLine`."""

    identifying: ClassVar[frozenset[str]] = frozenset({"line_id"})

    line_id: UUID = Field(description="The line to change.", examples=[_LINE_ID])
    description: Sentence = optional("What the line is for.", ["REMOVE CONCRETE PAVEMENT"])
    quantity: Quantity = optional("How much; 1 for a lump sum.", ["4400"])
    unit: Unit = optional("A unit of the controlled list, or another spelling of one.", ["S Y"])
    unit_price: UnitPrice = optional("Price of one unit.", ["5.9"])
    extension: Amount | None = optional(
        "A submitted amount, never derived again; null goes back to quantity × unit price.", ["14335.86"]
    )
    code: Code = optional("Cost code; null for none.", ["2104504/00120"])
    code_set: Code = optional("The set the code is from; null for none.", ["MnDOT"])
    code_edition: Code = optional("The edition of that set; null for none.", ["2020"])
    cost_type: CostType = optional("What kind of money.", ["labour"])
    note: Note | None = optional("Basis or remark; null for none.", ["Quantity from sheet 14"])
    quote_reference: Name | None = optional("The quote it rests on; null for none.", ["Q-2217"])
    firmness: Firmness = optional("A plug awaits its quote.", ["firm"])
    pricing: Pricing = optional("Only base lines count in the bid.", ["alternate"])


class MoveLine(Subset):
    """Puts the line elsewhere in the reading order, in the work breakdown, or both."""

    identifying: ClassVar[frozenset[str]] = frozenset({"line_id"})

    line_id: UUID = Field(description="The line to move.", examples=[_LINE_ID])
    wbs_path: WbsPath = optional("Its new place in the work breakdown.", [["SP 5625-20", "Removals"]])
    after_line_id: UUID | None = optional("The line it shall follow; null puts it first.", [_LINE_ID])


class RemoveLine(Command):
    """Takes a line out. Its id is not used again in this version."""

    line_id: UUID = Field(description="The line to remove.", examples=[_LINE_ID])


class ImportLines(Command):
    """Adds many lines after all others, in the order given: all of them or none. Lines that are already there with
    the same content are passed over.
    """

    lines: Annotated[tuple[LineInput, ...], Field(max_length=IMPORT_LIMIT), NotEmpty()] = Field(
        description=f"Up to {IMPORT_LIMIT:,} lines."
    )


class ChangeMargin(Command):
    """Sets the target margin on price."""

    target_margin: Margin = Field(description="A fraction below 1; zero and negative are allowed.", examples=["0.12"])


class ChangeNotes(Subset):
    """Changes title, notes or both."""

    title: Name | None = optional("What to call this version; null for none.", ["Bid"])
    notes: Note | None = optional("Why this version; null for none.", ["After addendum 2"])


class SubmitEstimate(Command):
    """Freezes the version and records its totals and a hash of its content."""


class Notes(Change, frozen=True):
    """Title and notes before or after a change."""

    title: str | UnsetType | None = UNSET
    notes: str | UnsetType | None = UNSET


class EstimateStarted(Event, frozen=True, kw_only=True, tag="estimate.started"):
    """With a parent, `LinesImported` events with the parent's lines follow in the same append."""

    project_id: UUID
    version: int
    currency: str
    target_margin: Decimal
    parent_id: UUID | None = None
    title: str | None = None
    notes: str | None = None


class LineAdded(Event, frozen=True, kw_only=True, tag="estimate.line-added"):
    line: Line


class LineRevised(Event, frozen=True, kw_only=True, tag="estimate.line-revised"):
    """`was` and `now` hold only what changed; the two counted amounts are always there, equal or not."""

    line_id: UUID
    was: LineChange
    now: LineChange
    counted_was: Counted
    counted_now: Counted


class LineMoved(Event, frozen=True, kw_only=True, tag="estimate.line-moved"):
    line_id: UUID
    was: LinePlace
    now: LinePlace


class LineRemoved(Event, frozen=True, kw_only=True, tag="estimate.line-removed"):
    """Carries the line as it last was."""

    line: Line


class LinesImported(Event, frozen=True, kw_only=True, tag="estimate.lines-imported"):
    """Part of one import or copy: at most 500 lines, the parts in order, all in one append."""

    source: Literal["import", "parent"]
    lines: tuple[Line, ...]


class MarginChanged(Event, frozen=True, kw_only=True, tag="estimate.margin-changed"):
    was: Decimal
    now: Decimal


class NotesChanged(Event, frozen=True, kw_only=True, tag="estimate.notes-changed"):
    was: Notes
    now: Notes


class EstimateSubmitted(Event, frozen=True, kw_only=True, tag="estimate.submitted"):
    """`content_hash` is of the bytes `domain.lines.content_hash` defines."""

    content_hash: str
    totals: Totals
    target_margin: Decimal
    final_bid: Decimal
    line_count: int


EstimateCommand: TypeAlias = (
    AddLine | ReviseLine | MoveLine | RemoveLine | ImportLines | ChangeMargin | ChangeNotes | SubmitEstimate
)
EstimateEvent: TypeAlias = (
    EstimateStarted
    | LineAdded
    | LineRevised
    | LineMoved
    | LineRemoved
    | LinesImported
    | MarginChanged
    | NotesChanged
    | EstimateSubmitted
)


class Estimate(State, frozen=True, kw_only=True):
    """`version` is 0 until the estimate is started."""

    version: int = 0
    project_id: UUID = UUID(int=0)
    parent_id: UUID | None = None
    currency: str = ""
    target_margin: Decimal = Decimal(0)
    title: str | None = None
    notes: str | None = None
    lines: TrieMap[UUID, Line] = trie_map()
    removed: TrieMap[UUID, bool] = trie_map()
    """Ids of lines taken out, each with True."""
    ordinals: Ordinals = ()
    totals: Totals = Totals()
    submitted: bool = False


def decide(command: EstimateCommand, estimate: Estimate) -> list[EstimateEvent]:
    if not estimate.version:
        raise Rejected("estimate.unknown", "missing")
    if estimate.submitted and not isinstance(command, SubmitEstimate):
        raise Rejected("estimate.submitted", "conflict", version=estimate.version)
    match command:
        case AddLine():
            return _add(command, estimate)
        case ReviseLine():
            return _revise(command, _existing(command.line_id, estimate))
        case MoveLine():
            return _move(command, _existing(command.line_id, estimate), estimate)
        case RemoveLine(line_id=line_id):
            return [] if line_id in estimate.removed else [LineRemoved(line=_existing(line_id, estimate))]
        case ImportLines():
            return _import(command, estimate)
        case ChangeMargin(target_margin=margin):
            was = estimate.target_margin
            return [] if margin == was else [MarginChanged(was=was, now=margin)]
        case ChangeNotes():
            change = difference(Notes, estimate, command.given())
            return [NotesChanged(was=change[0], now=change[1])] if change else []
        case SubmitEstimate():
            return [] if estimate.submitted else [_submitted(estimate)]
    assert_never(command)


def _existing(line_id: UUID, estimate: Estimate) -> Line:
    line = estimate.lines.get(line_id)
    if line is not None:
        return line
    if line_id in estimate.removed:
        raise Rejected("estimate.line-removed", "conflict", line_id=str(line_id))
    raise Rejected("estimate.line-unknown", "missing", line_id=str(line_id))


def _add(command: AddLine, estimate: Estimate) -> list[EstimateEvent]:
    line = _acceptable(command, estimate, Decimal(beyond(estimate.ordinals)))
    return [] if line is None else [LineAdded(line=line)]


def _acceptable(sent: LineInput, estimate: Estimate, ordinal: Decimal) -> Line | None:
    """The new line; None when it is already there just so."""
    if sent.currency is not None and sent.currency != estimate.currency:
        raise Rejected("estimate.foreign-currency", line=sent.currency, estimate=estimate.currency)
    existing = estimate.lines.get(sent.line_id)
    if existing is not None:
        if line_from(sent, existing.ordinal) == existing:
            return None
        raise Rejected("estimate.line-already-exists", "conflict", line_id=str(sent.line_id))
    if sent.line_id in estimate.removed:
        raise Rejected("estimate.line-removed", "conflict", line_id=str(sent.line_id))
    return _sound(line_from(sent, ordinal))


def _sound(line: Line) -> Line:
    if not lump_sum_is_one(line):
        raise Rejected("estimate.lump-sum-quantity", line_id=str(line.line_id), quantity=str(line.quantity))
    if not extension_fits(line):
        raise Rejected("estimate.extension-too-large", line_id=str(line.line_id), extension=str(line.extension))
    return line


def _revise(command: ReviseLine, line: Line) -> list[EstimateEvent]:
    revised = _sound(_with_extension(line, command.given()))
    change = difference(LineChange, line, {name: getattr(revised, name) for name in LineChange.__struct_fields__})
    if change is None:
        return []
    return [
        LineRevised(
            line_id=line.line_id,
            was=change[0],
            now=change[1],
            counted_was=counted(line),
            counted_now=counted(revised),
        )
    ]


def _with_extension(line: Line, wanted: dict[str, Any]) -> Line:
    """A submitted amount is never derived again unasked: whoever changes what it rests on says what becomes of it."""
    if "extension" in wanted:
        wanted["submitted"] = wanted["extension"] is not None
        if wanted["extension"] is None:
            del wanted["extension"]
    revised = replace(line, **wanted)
    if not revised.submitted:
        return replace(revised, extension=extension_of(revised.quantity, revised.unit_price))
    rests_on = ("quantity", "unit", "unit_price")
    if "extension" not in wanted and any(getattr(revised, name) != getattr(line, name) for name in rests_on):
        raise Rejected("estimate.extension-stands", line_id=str(line.line_id), extension=str(line.extension))
    return revised


def _move(command: MoveLine, line: Line, estimate: Estimate) -> list[EstimateEvent]:
    wanted = command.given()
    if "after_line_id" in wanted:
        wanted["ordinal"] = _ordinal_after(wanted.pop("after_line_id"), line, estimate)
    change = difference(LinePlace, line, wanted)
    return [LineMoved(line_id=line.line_id, was=change[0], now=change[1])] if change else []


def _ordinal_after(after_line_id: UUID | None, line: Line, estimate: Estimate) -> Decimal:
    if after_line_id == line.line_id:
        raise Rejected("estimate.move-after-itself", line_id=str(line.line_id))
    after = None if after_line_id is None else _existing(after_line_id, estimate)
    ordinal = ordinal_after(estimate.ordinals, line.ordinal, after.ordinal if after else None)
    if ordinal is None:
        raise Rejected("estimate.no-room", "conflict", line_id=str(line.line_id), after_line_id=str(after_line_id))
    return ordinal


def _import(command: ImportLines, estimate: Estimate) -> list[EstimateEvent]:
    """All faults are found before anything is refused, so that a file can be mended in one go."""
    accepted: list[Line] = []
    faults: list[dict[str, object]] = []
    seen: set[UUID] = set()
    first = beyond(estimate.ordinals)
    for index, sent in enumerate(command.lines):
        try:
            if sent.line_id in seen:
                raise Rejected("estimate.line-repeated", line_id=str(sent.line_id))
            seen.add(sent.line_id)
            line = _acceptable(sent, estimate, Decimal(first + len(accepted)))
        except Rejected as fault:
            faults.append({"index": index, "line_id": str(sent.line_id), "code": fault.code} | fault.facts)
        else:
            accepted += [line] if line else []
    if faults:
        raise Rejected("estimate.import-refused", faults=faults)
    return [LinesImported(source="import", lines=chunk) for chunk in in_chunks(accepted)]


def _submitted(estimate: Estimate) -> EstimateSubmitted:
    lines = in_order(estimate.lines.values())
    return EstimateSubmitted(
        content_hash=content_hash(estimate.title, estimate.notes, estimate.target_margin, estimate.currency, lines),
        totals=estimate.totals,
        target_margin=estimate.target_margin,
        final_bid=final_bid(estimate.totals.base, estimate.target_margin),
        line_count=len(lines),
    )


def _start_reads(_: UUID, command: StartEstimate) -> list[Ref]:
    project_ref = Ref("project", command.project_id)
    return [project_ref] if command.parent_id is None else [project_ref, Ref("estimate", command.parent_id)]


def _start(id: UUID, command: StartEstimate, states: Mapping[Ref, Any]) -> list[Written]:
    own, project_ref = Ref("estimate", id), Ref("project", command.project_id)
    started: Estimate = states[own]
    if started.version:
        return _started_already(command, started)
    project_state: project.Project = states[project_ref]
    if not project_state.name:
        raise Rejected("estimate.project-unknown", "missing", project_id=str(command.project_id))
    if project_state.deleted:
        raise Rejected("estimate.project-deleted", "conflict", project_id=str(command.project_id))
    parent = None if command.parent_id is None else _parent(command, states[Ref("estimate", command.parent_id)])
    version = project_state.versions + 1
    numbered = project.VersionNumbered(estimate_id=id, version=version, parent_id=command.parent_id)
    return [(project_ref, numbered), *((own, event) for event in _first_events(command, version, parent))]


def _started_already(command: StartEstimate, started: Estimate) -> list[Written]:
    wanted = (command.project_id, command.parent_id, command.currency, command.title, command.notes)
    same = wanted == (started.project_id, started.parent_id, started.currency, started.title, started.notes)
    if same and command.target_margin in (None, started.target_margin):
        return []
    raise Rejected("estimate.already-started", "conflict", version=started.version)


def _parent(command: StartEstimate, parent: Estimate) -> Estimate:
    if not parent.version:
        raise Rejected("estimate.parent-unknown", "missing", parent_id=str(command.parent_id))
    if parent.project_id != command.project_id:
        raise Rejected("estimate.parent-elsewhere", parent_project_id=str(parent.project_id))
    if parent.currency != command.currency:
        raise Rejected("estimate.foreign-currency", parent=parent.currency, estimate=command.currency)
    return parent


def _first_events(command: StartEstimate, version: int, parent: Estimate | None) -> Iterable[EstimateEvent]:
    inherited = parent.target_margin if parent else Decimal(0)
    yield EstimateStarted(
        project_id=command.project_id,
        version=version,
        currency=command.currency,
        target_margin=inherited if command.target_margin is None else command.target_margin,
        parent_id=command.parent_id,
        title=command.title,
        notes=command.notes,
    )
    for chunk in in_chunks(in_order(parent.lines.values()) if parent else []):
        yield LinesImported(source="parent", lines=chunk)


def evolve(estimate: Estimate, event: EstimateEvent) -> Estimate:
    match event:
        case LineAdded(line=line):
            return _with_lines(estimate, (line,))
        case LineRevised():
            revised = replace(estimate.lines[event.line_id], **event.now.given())
            totals = estimate.totals.minus(event.counted_was).plus(event.counted_now)
            return replace(estimate, lines=estimate.lines.insert(event.line_id, revised), totals=totals)
        case LineMoved():
            return _with_moved(estimate, replace(estimate.lines[event.line_id], **event.now.given()))
        case LineRemoved(line=line):
            return _without_line(estimate, line)
        case LinesImported(lines=lines):
            return _with_lines(estimate, lines)
        case MarginChanged():
            return replace(estimate, target_margin=event.now)
        case NotesChanged():
            return replace(estimate, **event.now.given())
        case EstimateSubmitted():
            return replace(estimate, submitted=True)
        case EstimateStarted():
            return _as_started(event)
    assert_never(event)


def _as_started(event: EstimateStarted) -> Estimate:
    return Estimate(
        version=event.version,
        project_id=event.project_id,
        parent_id=event.parent_id,
        currency=event.currency,
        target_margin=event.target_margin,
        title=event.title,
        notes=event.notes,
    )


def _with_lines(estimate: Estimate, lines: tuple[Line, ...]) -> Estimate:
    totals, ordinals = estimate.totals, estimate.ordinals
    for line in lines:
        totals = totals.plus(counted(line))
        ordinals = with_ordinal(ordinals, line.ordinal)
    kept = estimate.lines.update([(line.line_id, line) for line in lines])
    return replace(estimate, lines=kept, totals=totals, ordinals=ordinals)


def _with_moved(estimate: Estimate, line: Line) -> Estimate:
    others = without_ordinal(estimate.ordinals, estimate.lines[line.line_id].ordinal)
    lines = estimate.lines.insert(line.line_id, line)
    return replace(estimate, lines=lines, ordinals=with_ordinal(others, line.ordinal))


def _without_line(estimate: Estimate, line: Line) -> Estimate:
    return replace(
        estimate,
        lines=estimate.lines.remove(line.line_id),
        removed=estimate.removed.insert(line.line_id, True),
        ordinals=without_ordinal(estimate.ordinals, line.ordinal),
        totals=estimate.totals.minus(counted(line)),
    )


estimate = Decider(
    category="estimate",
    initial=Estimate(),
    decide=decide,
    evolve=evolve,
    commands=(StartEstimate, *members(EstimateCommand)),
    events=members(EstimateEvent),
    spanning={StartEstimate: Spanning(reads=_start_reads, decide=_start)},
)
