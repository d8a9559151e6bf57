"""An estimate version: lines, risks and mark-ups, what they add up to, and the bid; frozen once it is submitted.

Its commands, events and state have files of their own, and so have the decisions by what they are about.
"""

from collections.abc import Mapping
from typing import Any, Final, assert_never
from uuid import UUID

from domain import line_edits, risk_edits, simulation_edits, undo, versions
from domain.company import Company
from domain.decider import COMPANY, Decider, Recall, Ref, Rejected, Spanning, Written, members
from domain.estimate_commands import (
    AddLine,
    AddRisk,
    ApplyMitigation,
    ChangeEstimateStatus,
    ChangeMargin,
    ChangeNotes,
    Classify,
    CloseRisk,
    EstimateCommand,
    ImportLines,
    MoveLine,
    RemoveLine,
    RemoveRisk,
    ReopenRisk,
    ReviseLine,
    ReviseRisk,
    SetMarkups,
    StartEstimate,
    SubmitEstimate,
    TagVersion,
    UndoChange,
    UntagVersion,
    WithdrawMitigation,
)
from domain.estimate_events import EstimateEvent, MarginChanged, MarkupsSet, Notes, NotesChanged
from domain.estimate_state import Estimate, evolve
from domain.line_edits import NO_EDITIONS, Editions
from domain.markups import markup_from
from domain.simulation import (
    RISKS_MAX,
    UNFINISHED_MAX,
    FailSimulation,
    RecordSimulation,
    RequestSimulation,
    SimulationCommand,
)
from domain.subset import difference
from domain.versions import TAGS_LIMIT

REJECTIONS: Final[Mapping[str, str]] = {
    "estimate.unknown": "No estimate was started under this id.",
    "estimate.already-started": "An estimate with other particulars was started under this id.",
    "estimate.submitted": "The estimate is submitted, which freezes it; start a new version from it instead.",
    "estimate.in-review": "The estimate is in review; move it back to draft to change it.",
    "estimate.archived": "The estimate is archived; bring it back first.",
    "estimate.not-submitted": "A risk occurs to a submitted or awarded version; in a draft, close it or remove it.",
    "estimate.transition-impossible": (
        "The status cannot change so; the possible ones are listed. A draft is submitted by `SubmitEstimate`."
    ),
    "estimate.reason-missing": "This change of status needs a reason.",
    "estimate.class-reason-missing": (
        "A lower class number claims a better defined estimate, and needs a reason; in a new version, a basis."
    ),
    "estimate.tags-full": f"A version carries at most {TAGS_LIMIT} tags.",
    "estimate.risk-unknown": "The estimate has no risk of this id.",
    "estimate.risk-removed": "The risk of this id was removed; a new risk has a new id.",
    "estimate.risk-already-exists": "The estimate has a risk of this id with other content; revise that one.",
    "estimate.risk-impossible": "The risk would have impacts that cannot be; every fault is listed.",
    "estimate.risk-without-response": "A risk is mitigated by its response, and this one would have none.",
    "estimate.risk-mitigated": "The risk is mitigated since another date; withdraw that first.",
    "estimate.risk-closed": "The risk is closed; reopen it first.",
    "estimate.risk-occurred": "The risk occurred, and is a cost now.",
    "estimate.change-unknown": "The estimate has no event of this stream version.",
    "estimate.change-already-undone": "This change was undone before.",
    "estimate.cannot-be-undone": (
        "This change has no inverse: a start, a submission, a status, a tag, or an undo (make that change again)."
    ),
    "estimate.undo-overtaken": (
        "What the change made was changed again later; the fields are listed as they are now. Nothing was undone."
    ),
    "estimate.simulation-already-requested": "A simulation with other particulars was requested under this id.",
    "estimate.simulation-unknown": "No simulation was requested under this id.",
    "estimate.simulation-finished": "The simulation has another answer already, which stands.",
    "estimate.simulations-waiting": f"Only {UNFINISHED_MAX} simulations of an estimate may wait; ask again later.",
    "estimate.nothing-to-simulate": "The estimate has no open or mitigated risk, so there is nothing to simulate.",
    "estimate.too-many-risks": f"At most {RISKS_MAX:,} risks are simulated together.",
    "estimate.project-unknown": "No project was created under this id.",
    "estimate.project-deleted": "The project is deleted; restore it first.",
    "estimate.parent-unknown": "No estimate was started under the parent's id.",
    "estimate.parent-elsewhere": "The parent is a version of another project.",
    "estimate.foreign-currency": (
        "The currency is not the estimate's (or its parent's). Nothing is converted unasked; a line's price can "
        "be, with a `conversion` that names its rate."
    ),
    "estimate.conversion-not-foreign": "The conversion is from the estimate's own currency; send the unit price.",
    "estimate.unit-price-too-large": "The converted unit price has more than 12 digits before the point.",
    "estimate.code-edition-unknown": "The company registered this code set, but not this edition of it.",
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


def decide(command: EstimateCommand, estimate: Estimate, editions: Editions = NO_EDITIONS) -> list[EstimateEvent]:
    _must_allow(command, estimate)
    match command:
        case AddLine():
            return line_edits.add(command, estimate, editions)
        case ReviseLine():
            return line_edits.revise(command, estimate, editions)
        case MoveLine():
            return line_edits.move(command, estimate)
        case RemoveLine():
            return line_edits.remove(command, estimate)
        case ImportLines():
            return line_edits.import_(command, estimate, editions)
        case ChangeMargin(target_margin=margin):
            was = estimate.target_margin
            return [] if margin == was else [MarginChanged(was=was, now=margin)]
        case ChangeNotes():
            change = difference(Notes, estimate, command.given())
            return [NotesChanged(was=change[0], now=change[1])] if change else []
        case SetMarkups():
            markups = tuple(map(markup_from, command.markups))
            return [] if markups == estimate.markups else [MarkupsSet(was=estimate.markups, now=markups)]
        case AddRisk():
            return risk_edits.add(command, estimate)
        case ReviseRisk():
            return risk_edits.revise(command, estimate)
        case ApplyMitigation():
            return risk_edits.apply_mitigation(command, estimate)
        case WithdrawMitigation():
            return risk_edits.withdraw_mitigation(command, estimate)
        case CloseRisk():
            return risk_edits.close(command, estimate)
        case ReopenRisk():
            return risk_edits.reopen(command, estimate)
        case RemoveRisk():
            return risk_edits.remove(command, estimate)
        case Classify():
            return versions.classify(command, estimate)
        case TagVersion():
            return versions.tag(command, estimate)
        case UntagVersion():
            return versions.untag(command, estimate)
        case ChangeEstimateStatus():
            return versions.change_status(command, estimate)
        case SubmitEstimate():
            return versions.submit(command, estimate)
        case RequestSimulation():
            return [*simulation_edits.request(command, estimate)]
        case RecordSimulation():
            return [*simulation_edits.record(command, estimate)]
        case FailSimulation():
            return [*simulation_edits.fail(command, estimate)]
    assert_never(command)


_ANY_STATUS: Final = (SubmitEstimate, ChangeEstimateStatus, TagVersion, UntagVersion)
_OF_SIMULATIONS: Final = members(SimulationCommand)
_ONCE_SUBMITTED: Final = (CloseRisk, ReopenRisk)


def _must_allow(command: EstimateCommand | UndoChange, estimate: Estimate) -> None:
    """Content changes in a draft only; that a risk is over can be told later too. Raises Rejected."""
    if not estimate.version:
        raise Rejected("estimate.unknown", "missing")
    status = estimate.status
    if status == "draft" or isinstance(command, (ChangeEstimateStatus, *_OF_SIMULATIONS)):
        return
    if status == "archived":
        raise Rejected("estimate.archived", "conflict", version=estimate.version)
    if isinstance(command, _ANY_STATUS) or (
        isinstance(command, _ONCE_SUBMITTED) and status in {"submitted", "awarded"}
    ):
        return
    if status == "in-review":
        raise Rejected("estimate.in-review", "conflict", version=estimate.version)
    raise Rejected("estimate.submitted", "conflict", version=estimate.version)


def _coded_reads(_: UUID, command: AddLine | ReviseLine | ImportLines) -> list[Ref]:
    """The company's stream, which lists its code sets, when the command may name an edition of one."""
    match command:
        case AddLine():
            names = command.code_edition is not None and command.code_set is not None
        case ReviseLine():
            names = command.code_edition is not None or command.code_set is not None
        case ImportLines():
            names = any(sent.code_edition is not None and sent.code_set is not None for sent in command.lines)
    return [COMPANY] if names else []


def _decide_coded(id: UUID, command: AddLine | ReviseLine | ImportLines, states: Mapping[Ref, Any]) -> list[Written]:
    own = Ref("estimate", id)
    asking: Company | None = states.get(COMPANY)
    editions = NO_EDITIONS if asking is None else asking.code_editions
    return [(own, event) for event in decide(command, states[own], editions)]


def _undo(id: UUID, command: UndoChange, states: Mapping[Any, Any]) -> list[Written]:
    own = Ref("estimate", id)
    _must_allow(command, states[own])
    recall = Recall(own, command.stream_version)
    return [(own, event) for event in undo.undone(command, recall, states[recall], states[own])]


def _reads_nothing_more(_: UUID, __: UndoChange) -> list[Ref]:
    return []


_CODED: Final = Spanning(reads=_coded_reads, decide=_decide_coded)

estimate = Decider(
    category="estimate",
    initial=Estimate(),
    decide=decide,
    evolve=evolve,
    commands=(StartEstimate, *members(EstimateCommand), UndoChange),
    events=members(EstimateEvent),
    spanning={
        StartEstimate: Spanning(reads=versions.start_reads, decide=versions.start),
        AddLine: _CODED,
        ReviseLine: _CODED,
        ImportLines: _CODED,
        UndoChange: Spanning(reads=_reads_nothing_more, decide=_undo, recalls=undo.recalls),
    },
)
