"""What a project really cost and how long it took, beside the estimate it was to cost: one per project."""

from collections.abc import Iterable, Mapping
from datetime import date
from decimal import Decimal
from typing import Annotated, Any, ClassVar, Final, Literal, TypeAlias, assert_never
from uuid import UUID

from msgspec.structs import replace
from pydantic import Field

from domain import project, risk_edits
from domain.costs import (
    ENTRIES_LIMIT,
    Booked,
    CodeInput,
    Entry,
    EntryChange,
    EntryInput,
    Explanation,
    Finding,
    FindingChange,
    OccurredRisk,
    OccurrenceChange,
    Scope,
    ScopeInput,
    Sum,
    SumKey,
    Told,
    booked,
    entry_from,
    half_measured,
    in_two_rows,
    joined,
    moved,
    negative,
    scope_from,
    scope_key,
    sums_of,
)
from domain.decider import AUTHORS, Command, Decider, Event, Ref, Rejected, Role, Spanning, State, Written, members
from domain.estimate_state import Estimate
from domain.lines import Code, CostType, in_chunks
from domain.maps import TrieMap, trie_map
from domain.money import EXACT, ZERO, Amount, Quantity
from domain.subset import Subset, difference, optional
from domain.text import Name, Note, NotEmpty, Sentence
from domain.units import Unit

REJECTIONS: Final[Mapping[str, str]] = {
    "actuals.unknown": "No actuals were opened under this id.",
    "actuals.already-opened": "Actuals of another project, or with another baseline, were opened under this id.",
    "actuals.already-open-for-project": "The project has its actuals already, under another id; record there.",
    "actuals.project-unknown": "No project was created under this id.",
    "actuals.project-deleted": "The project is deleted; restore it first.",
    "actuals.baseline-unknown": "No estimate was started under the baseline's id.",
    "actuals.baseline-elsewhere": "The estimate is of another project.",
    "actuals.baseline-not-submitted": "Only a submitted or awarded estimate can be a baseline: others are no budget.",
    "actuals.risk-already-occurred": "The cost of this risk is recorded already, from another version.",
    "actuals.risk-cost-unknown": "No cost of this risk of this estimate was recorded; record that it occurred.",
    "actuals.foreign-currency": "The currency is not the one these actuals are kept in; nothing is converted.",
    "actuals.finished": "The actuals are finished; reopen them first.",
    "actuals.entry-unknown": "No cost was recorded under this entry id.",
    "actuals.entry-removed": "The entry of this id was removed; a new entry has a new id.",
    "actuals.entry-already-recorded": "An entry of this id with other content is recorded; correct that one.",
    "actuals.entry-repeated": "The import names this entry id more than once.",
    "actuals.quantity-without-unit": "With this correction the entry would have a quantity without a unit, or a unit "
    "without a quantity; say both.",
    "actuals.code-and-markup": "With this correction the entry would name both a cost code and a mark-up; make the one "
    "null: code, code_set and code_edition, or markup_id.",
    "actuals.import-refused": "Some entries of the import have faults, listed by index; nothing of it was stored.",
    "actuals.finding-unknown": "No finding was added under this id.",
    "actuals.finding-removed": "The finding of this id was removed; a new finding has a new id.",
    "actuals.finding-already-added": "A finding of this id with other content was added; revise that one.",
}

_ID: Final = "0197b2a4-5f6e-7c3d-8a9b-0c1d2e3f4a5b"
DAYS_MAX: Final = 36_500

Days: TypeAlias = Annotated[int, Field(ge=0, le=DAYS_MAX)]
FindingKind: TypeAlias = Literal["issue", "lesson"]


class OpenActuals(Command):
    """Opens the record of what a project really costs, to be compared with a submitted estimate. One per project."""

    roles: ClassVar[frozenset[Role]] = AUTHORS

    project_id: UUID = Field(description="The project whose costs are recorded.", examples=[_ID])
    baseline_id: UUID = Field(
        description="The submitted estimate of that project that is the budget; its currency is kept.", examples=[_ID]
    )


class ChangeBaseline(Command):
    """Compares with another submitted estimate of the project from now on."""

    roles: ClassVar[frozenset[Role]] = AUTHORS

    baseline_id: UUID = Field(description="The estimate that is the budget now.", examples=[_ID])
    reason: Sentence = Field(description="Why.", examples=["Re-baselined after change order 3"])


class RecordCosts(Command):
    """Books actual costs: all of them or none. Entries that are already there with the same content are passed over.

    What a mark-up of the baseline was to pay for, site overheads say, names that mark-up instead of a code.
    """

    roles: ClassVar[frozenset[Role]] = AUTHORS

    entries: Annotated[tuple[EntryInput, ...], Field(max_length=ENTRIES_LIMIT), NotEmpty()] = Field(
        description=f"Up to {ENTRIES_LIMIT:,} entries."
    )


class CorrectCost(Subset):
    """Changes the fields of an entry it is given. What they were stays readable, with the reason."""

    roles: ClassVar[frozenset[Role]] = AUTHORS

    identifying: ClassVar[frozenset[str]] = frozenset({"entry_id", "reason"})

    entry_id: UUID = Field(description="The entry to correct.", examples=[_ID])
    reason: Sentence = Field(description="Why.", examples=["Booked under the wrong code"])
    code: Code = optional("Cost code; null for none.", ["2104504/00120"])
    code_set: Code = optional("The set the code is from; null for none.", ["MnDOT"])
    code_edition: Code = optional("The edition of that set; null for none.", ["2020"])
    cost_type: CostType = optional("What kind of money.", ["labour"])
    quantity: Quantity | None = optional("How much was done for it; null where nothing was measured.", ["4401.5"])
    unit: Unit | None = optional("Unit of the quantity; null without one.", ["SY"])
    amount: Amount = optional("What it cost; negative for a credit.", ["25914.20"])
    booked_on: date = optional("The day it was booked.", ["2022-08-31"])
    note: Note | None = optional("Voucher or remark; null for none.", ["Invoice 7731"])
    markup_id: UUID | None = optional("The mark-up that was to pay for it; null for none.", [_ID])


class RemoveCost(Command):
    """Takes an entry out. Its id is not used again."""

    roles: ClassVar[frozenset[Role]] = AUTHORS

    entry_id: UUID = Field(description="The entry to remove.", examples=[_ID])
    reason: Sentence = Field(description="Why.", examples=["Belongs to another project"])


class RecordRiskOccurrence(Command):
    """Says that a risk of a submitted estimate came true, and what it cost. The risk leaves the open exposure, and the
    cost counts among the actuals.
    """

    roles: ClassVar[frozenset[Role]] = AUTHORS

    estimate_id: UUID = Field(description="The estimate that has the risk; of the same project.", examples=[_ID])
    risk_id: UUID = Field(description="Which risk.", examples=[_ID])
    cost: Amount = Field(description="What it cost; negative for an opportunity.", examples=["48000"])
    occurred_on: date = Field(description="The day it came true.", examples=["2022-07-11"])
    note: Note | None = Field(default=None, description="What happened.", examples=["Peat at station 114"])


class CorrectRiskCost(Subset):
    """Changes what is said of a risk that came true: the fields it is given. What they were stays readable, with the
    reason. A risk that did not come true after all, or cost nothing, is corrected to a cost of 0.
    """

    roles: ClassVar[frozenset[Role]] = AUTHORS

    identifying: ClassVar[frozenset[str]] = frozenset({"estimate_id", "risk_id", "reason"})

    estimate_id: UUID = Field(description="The estimate that has the risk.", examples=[_ID])
    risk_id: UUID = Field(description="Which risk.", examples=[_ID])
    reason: Sentence = Field(description="Why.", examples=["The subcontractor's final account"])
    cost: Amount = optional("What it cost; negative for an opportunity, 0 for nothing.", ["51250"])
    occurred_on: date = optional("The day it came true.", ["2022-07-11"])
    note: Note | None = optional("What happened; null for nothing to say.", ["Peat at station 114"])


class SetDuration(Command):
    """Says how many days the work took: the whole of it, or what is booked under a cost code."""

    roles: ClassVar[frozenset[Role]] = AUTHORS

    days: Days | None = Field(description="Whole days; null when it is not known after all.", examples=[84])
    scope: CodeInput | None = Field(default=None, description="A cost code; null for the whole project.")
    reason: Sentence | None = Field(default=None, description="Why.", examples=["Two weeks of rain"])


class AddFinding(Command):
    """Notes an issue that came up, or a lesson for the next bid."""

    roles: ClassVar[frozenset[Role]] = AUTHORS

    finding_id: UUID = Field(description="Names the finding.", examples=[_ID])
    kind: FindingKind = Field(description="What it is.", examples=["lesson"])
    text: Told = Field(description="What was found.", examples=["Haul distance was twice what was assumed."])
    code: Code = Field(default=None, description="The cost code it is about.", examples=["2104504/00120"])
    code_set: Code = Field(default=None, description="The set the code is from.", examples=["MnDOT"])
    code_edition: Code = Field(default=None, description="The edition of that set.", examples=["2020"])


class ReviseFinding(Subset):
    """Changes the fields of a finding it is given."""

    roles: ClassVar[frozenset[Role]] = AUTHORS

    identifying: ClassVar[frozenset[str]] = frozenset({"finding_id"})

    finding_id: UUID = Field(description="The finding to change.", examples=[_ID])
    kind: FindingKind = optional("What it is.", ["issue"])
    text: Told = optional("What was found.", ["Haul distance was twice what was assumed."])
    code: Code = optional("The cost code it is about; null for none.", ["2104504/00120"])
    code_set: Code = optional("The set the code is from; null for none.", ["MnDOT"])
    code_edition: Code = optional("The edition of that set; null for none.", ["2020"])


class RemoveFinding(Command):
    """Takes a finding out. Its id is not used again."""

    roles: ClassVar[frozenset[Role]] = AUTHORS

    finding_id: UUID = Field(description="The finding to remove.", examples=[_ID])


class ExplainVariance(Command):
    """Says why a row of the variance, or the whole of it, is what it is. A later explanation replaces it."""

    roles: ClassVar[frozenset[Role]] = AUTHORS

    scope: ScopeInput | None = Field(default=None, description="The row; null for the whole project.")
    narrative: Told = Field(description="What happened.", examples=["Rock where clay was expected."])
    cause: Name | None = Field(default=None, description="The cause, in a word or two.", examples=["ground conditions"])
    owner: Name | None = Field(default=None, description="Who sees to it.", examples=["Ada Byron"])


class FinishActuals(Command):
    """Closes the books: no cost is recorded, corrected or removed from now on. Findings and explanations still are."""

    finished_on: date = Field(description="The day the work was complete.", examples=["2022-10-14"])


class ReopenActuals(Command):
    """Opens the books again."""

    reason: Sentence = Field(description="Why.", examples=["A late invoice"])


class Opened(Event, frozen=True, kw_only=True, tag="actuals.opened"):
    project_id: UUID
    baseline_id: UUID
    currency: str


class BaselineChanged(Event, frozen=True, kw_only=True, tag="actuals.baseline-changed"):
    was: UUID
    now: UUID
    reason: str


class CostsRecorded(Event, frozen=True, kw_only=True, tag="actuals.costs-recorded"):
    """Part of one import: at most 500 entries, the parts in order, all in one append."""

    entries: tuple[Entry, ...]


class CostCorrected(Event, frozen=True, kw_only=True, tag="actuals.cost-corrected"):
    """`was` and `now` hold only what changed; the two booked parts are always there, equal or not."""

    entry_id: UUID
    was: EntryChange
    now: EntryChange
    booked_was: Booked
    booked_now: Booked
    reason: str


class CostRemoved(Event, frozen=True, kw_only=True, tag="actuals.cost-removed"):
    """Carries the entry as it last was."""

    entry: Entry
    reason: str


class RiskCostRecorded(Event, frozen=True, kw_only=True, tag="actuals.risk-cost-recorded"):
    """A risk of this estimate came true. The estimate's stream says so too, in the same append."""

    risk_id: UUID
    estimate_id: UUID
    cost: Decimal
    occurred_on: date
    note: str | None = None


class RiskCostCorrected(Event, frozen=True, kw_only=True, tag="actuals.risk-cost-corrected"):
    """`was` and `now` hold only what changed. Where that is cost or day, the estimate's stream says so too, in the same
    append.
    """

    risk_id: UUID
    estimate_id: UUID
    was: OccurrenceChange
    now: OccurrenceChange
    reason: str


class DurationSet(Event, frozen=True, kw_only=True, tag="actuals.duration-set"):
    """Days of a cost code, or of the whole project. None: not known."""

    scope: Scope | None = None
    was: int | None = None
    now: int | None = None
    reason: str | None = None


class FindingAdded(Event, frozen=True, kw_only=True, tag="actuals.finding-added"):
    finding: Finding


class FindingRevised(Event, frozen=True, kw_only=True, tag="actuals.finding-revised"):
    finding_id: UUID
    was: FindingChange
    now: FindingChange


class FindingRemoved(Event, frozen=True, kw_only=True, tag="actuals.finding-removed"):
    """Carries the finding as it last was."""

    finding: Finding


class VarianceExplained(Event, frozen=True, kw_only=True, tag="actuals.variance-explained"):
    """Of a row of the variance, or of the whole."""

    scope: Scope | None = None
    was: Explanation | None = None
    now: Explanation


class Finished(Event, frozen=True, kw_only=True, tag="actuals.finished"):
    """With what had been recorded by then."""

    finished_on: date
    amount: Decimal
    entry_count: int


class Reopened(Event, frozen=True, kw_only=True, tag="actuals.reopened"):
    """`was` is the day it had been finished on."""

    was: date
    reason: str


ActualsCommand: TypeAlias = (
    RecordCosts
    | CorrectCost
    | RemoveCost
    | SetDuration
    | AddFinding
    | ReviseFinding
    | RemoveFinding
    | ExplainVariance
    | FinishActuals
    | ReopenActuals
)
ActualsEvent: TypeAlias = (
    Opened
    | BaselineChanged
    | CostsRecorded
    | CostCorrected
    | CostRemoved
    | RiskCostRecorded
    | RiskCostCorrected
    | DurationSet
    | FindingAdded
    | FindingRevised
    | FindingRemoved
    | VarianceExplained
    | Finished
    | Reopened
)


class Actuals(State, frozen=True, kw_only=True):
    """`currency` is empty until the actuals are opened."""

    project_id: UUID = UUID(int=0)
    baseline_id: UUID = UUID(int=0)
    currency: str = ""
    entries: TrieMap[UUID, Entry] = trie_map()
    removed: TrieMap[UUID, bool] = trie_map()
    """Ids of entries taken out, each with True."""
    sums: TrieMap[SumKey, Sum] = trie_map()
    risk_costs: TrieMap[UUID, OccurredRisk] = trie_map()
    """By risk."""
    durations: TrieMap[str, int] = trie_map()
    """Days by `scope_key`."""
    findings: TrieMap[UUID, Finding] = trie_map()
    findings_removed: TrieMap[UUID, bool] = trie_map()
    """Ids of findings taken out, each with True."""
    explanations: TrieMap[str, Explanation] = trie_map()
    """By `scope_key`."""
    finished_on: date | None = None


def decide(command: ActualsCommand, actuals: Actuals) -> list[ActualsEvent]:
    if not actuals.currency:
        raise Rejected("actuals.unknown", "missing")
    if isinstance(command, RecordCosts | CorrectCost | RemoveCost | SetDuration):
        _require_open(actuals)
    match command:
        case RecordCosts():
            return _record(command, actuals)
        case CorrectCost():
            return _correct(command, _existing(command.entry_id, actuals))
        case RemoveCost(entry_id=entry_id, reason=reason):
            if entry_id in actuals.removed:
                return []
            return [CostRemoved(entry=_existing(entry_id, actuals), reason=reason)]
        case SetDuration():
            return _set_duration(command, actuals)
        case AddFinding():
            return _add_finding(command, actuals)
        case ReviseFinding(finding_id=finding_id):
            change = difference(FindingChange, _known(finding_id, actuals), command.given())
            return [FindingRevised(finding_id=finding_id, was=change[0], now=change[1])] if change else []
        case RemoveFinding(finding_id=finding_id):
            removed = finding_id in actuals.findings_removed
            return [] if removed else [FindingRemoved(finding=_known(finding_id, actuals))]
        case ExplainVariance():
            return _explain(command, actuals)
        case FinishActuals(finished_on=finished_on):
            return _finish(finished_on, actuals)
        case ReopenActuals(reason=reason):
            return [] if actuals.finished_on is None else [Reopened(was=actuals.finished_on, reason=reason)]
    assert_never(command)


def _require_open(actuals: Actuals) -> None:
    if actuals.finished_on is not None:
        raise Rejected("actuals.finished", "conflict", finished_on=str(actuals.finished_on))


def _existing(entry_id: UUID, actuals: Actuals) -> Entry:
    entry = actuals.entries.get(entry_id)
    if entry is not None:
        return entry
    if entry_id in actuals.removed:
        raise Rejected("actuals.entry-removed", "conflict", entry_id=str(entry_id))
    raise Rejected("actuals.entry-unknown", "missing", entry_id=str(entry_id))


def _known(finding_id: UUID, actuals: Actuals) -> Finding:
    finding = actuals.findings.get(finding_id)
    if finding is not None:
        return finding
    if finding_id in actuals.findings_removed:
        raise Rejected("actuals.finding-removed", "conflict", finding_id=str(finding_id))
    raise Rejected("actuals.finding-unknown", "missing", finding_id=str(finding_id))


def _record(command: RecordCosts, actuals: Actuals) -> list[ActualsEvent]:
    """All faults are found before anything is refused, so that a file can be mended in one go."""
    accepted: list[Entry] = []
    faults: list[dict[str, object]] = []
    seen: set[UUID] = set()
    for index, sent in enumerate(command.entries):
        try:
            if sent.entry_id in seen:
                raise Rejected("actuals.entry-repeated")
            seen.add(sent.entry_id)
            entry = _acceptable(sent, actuals)
        except Rejected as fault:
            faults.append({"index": index, "entry_id": str(sent.entry_id), "code": fault.code} | fault.facts)
        else:
            accepted += [entry] if entry else []
    if faults:
        raise Rejected("actuals.import-refused", faults=faults)
    return [CostsRecorded(entries=chunk) for chunk in in_chunks(accepted)]


def _acceptable(sent: EntryInput, actuals: Actuals) -> Entry | None:
    """The new entry; None when it is already there just so."""
    if sent.currency is not None and sent.currency != actuals.currency:
        raise Rejected("actuals.foreign-currency", entry=sent.currency, actuals=actuals.currency)
    entry = entry_from(sent)
    existing = actuals.entries.get(sent.entry_id)
    if existing is not None:
        if entry == existing:
            return None
        raise Rejected("actuals.entry-already-recorded", "conflict")
    if sent.entry_id in actuals.removed:
        raise Rejected("actuals.entry-removed", "conflict")
    return entry


def _correct(command: CorrectCost, entry: Entry) -> list[ActualsEvent]:
    wanted = command.given()
    corrected = replace(entry, **wanted)
    if half_measured(corrected):
        raise Rejected("actuals.quantity-without-unit", entry_id=str(entry.entry_id))
    if in_two_rows(corrected):
        raise Rejected("actuals.code-and-markup", entry_id=str(entry.entry_id))
    change = difference(EntryChange, entry, wanted)
    if change is None:
        return []
    return [
        CostCorrected(
            entry_id=entry.entry_id,
            was=change[0],
            now=change[1],
            booked_was=booked(entry),
            booked_now=booked(corrected),
            reason=command.reason,
        )
    ]


def _set_duration(command: SetDuration, actuals: Actuals) -> list[ActualsEvent]:
    scope = scope_from(command.scope)
    was = actuals.durations.get(scope_key(scope))
    return [] if was == command.days else [DurationSet(scope=scope, was=was, now=command.days, reason=command.reason)]


def _add_finding(command: AddFinding, actuals: Actuals) -> list[ActualsEvent]:
    finding = Finding(**command.model_dump())
    existing = actuals.findings.get(finding.finding_id)
    if existing == finding:
        return []
    if existing is not None:
        raise Rejected("actuals.finding-already-added", "conflict", finding_id=str(finding.finding_id))
    if finding.finding_id in actuals.findings_removed:
        raise Rejected("actuals.finding-removed", "conflict", finding_id=str(finding.finding_id))
    return [FindingAdded(finding=finding)]


def _explain(command: ExplainVariance, actuals: Actuals) -> list[ActualsEvent]:
    scope = scope_from(command.scope)
    was = actuals.explanations.get(scope_key(scope))
    now = Explanation(narrative=command.narrative, cause=command.cause, owner=command.owner)
    return [] if was == now else [VarianceExplained(scope=scope, was=was, now=now)]


def _finish(finished_on: date, actuals: Actuals) -> list[ActualsEvent]:
    if actuals.finished_on == finished_on:
        return []
    _require_open(actuals)
    return [Finished(finished_on=finished_on, amount=recorded_amount(actuals), entry_count=len(actuals.entries))]


def recorded_amount(actuals: Actuals) -> Decimal:
    """What has been recorded, all together."""
    amount = ZERO
    for part in actuals.sums.values():
        amount = EXACT.add(amount, part.amount)
    for risk in actuals.risk_costs.values():
        amount = EXACT.add(amount, risk.cost)
    return amount


def _open_reads(_: UUID, command: OpenActuals) -> list[Ref]:
    return [Ref("project", command.project_id), Ref("estimate", command.baseline_id)]


def _open(id: UUID, command: OpenActuals, states: Mapping[Ref, Any]) -> list[Written]:
    own, project_ref = Ref("actuals", id), Ref("project", command.project_id)
    actuals: Actuals = states[own]
    if actuals.currency:
        if (command.project_id, command.baseline_id) == (actuals.project_id, actuals.baseline_id):
            return []
        raise Rejected("actuals.already-opened", "conflict", project_id=str(actuals.project_id))
    of: project.Project = states[project_ref]
    if not of.name:
        raise Rejected("actuals.project-unknown", "missing", project_id=str(command.project_id))
    if of.deleted:
        raise Rejected("actuals.project-deleted", "conflict", project_id=str(command.project_id))
    if of.actuals_id is not None:
        raise Rejected("actuals.already-open-for-project", "conflict", actuals_id=str(of.actuals_id))
    baseline = _baseline(command.baseline_id, command.project_id, states)
    opened = Opened(project_id=command.project_id, baseline_id=command.baseline_id, currency=baseline.currency)
    return [(project_ref, project.ActualsOpened(actuals_id=id)), (own, opened)]


def _baseline(baseline_id: UUID, project_id: UUID, states: Mapping[Ref, Any]) -> Estimate:
    """The estimate, if it can be the budget of this project."""
    estimate: Estimate = states[Ref("estimate", baseline_id)]
    if not estimate.version:
        raise Rejected("actuals.baseline-unknown", "missing", baseline_id=str(baseline_id))
    if estimate.project_id != project_id:
        raise Rejected("actuals.baseline-elsewhere", project_id=str(estimate.project_id))
    if estimate.status not in {"submitted", "awarded"}:
        raise Rejected("actuals.baseline-not-submitted", "conflict", status=estimate.status)
    return estimate


def _change_baseline_reads(_: UUID, command: ChangeBaseline) -> list[Ref]:
    return [Ref("estimate", command.baseline_id)]


def _change_baseline(id: UUID, command: ChangeBaseline, states: Mapping[Ref, Any]) -> list[Written]:
    own = Ref("actuals", id)
    actuals: Actuals = states[own]
    if not actuals.currency:
        raise Rejected("actuals.unknown", "missing")
    _require_open(actuals)
    if command.baseline_id == actuals.baseline_id:
        return []
    baseline = _baseline(command.baseline_id, actuals.project_id, states)
    if baseline.currency != actuals.currency:
        raise Rejected("actuals.foreign-currency", baseline=baseline.currency, actuals=actuals.currency)
    changed = BaselineChanged(was=actuals.baseline_id, now=command.baseline_id, reason=command.reason)
    return [(own, changed)]


def _occurrence_reads(_: UUID, command: RecordRiskOccurrence) -> list[Ref]:
    return [Ref("estimate", command.estimate_id)]


def _occurrence(id: UUID, command: RecordRiskOccurrence, states: Mapping[Ref, Any]) -> list[Written]:
    own, estimate_ref = Ref("actuals", id), Ref("estimate", command.estimate_id)
    actuals: Actuals = states[own]
    estimate: Estimate = states[estimate_ref]
    if not actuals.currency:
        raise Rejected("actuals.unknown", "missing")
    _require_open(actuals)
    if estimate.version and estimate.project_id != actuals.project_id:
        raise Rejected("actuals.baseline-elsewhere", project_id=str(estimate.project_id))
    what: dict[str, Any] = {"cost": command.cost, "occurred_on": command.occurred_on, "note": command.note}
    occurred = risk_edits.occurred(estimate, command.risk_id, actuals_id=id, **what)
    if not occurred:
        return []
    if command.risk_id in actuals.risk_costs:
        raise Rejected("actuals.risk-already-occurred", "conflict", risk_id=str(command.risk_id))
    recorded = RiskCostRecorded(risk_id=command.risk_id, estimate_id=command.estimate_id, **what)
    return [*((estimate_ref, event) for event in occurred), (own, recorded)]


def _correction_reads(_: UUID, command: CorrectRiskCost) -> list[Ref]:
    return [Ref("estimate", command.estimate_id)]


def _correction(id: UUID, command: CorrectRiskCost, states: Mapping[Ref, Any]) -> list[Written]:
    own, estimate_ref = Ref("actuals", id), Ref("estimate", command.estimate_id)
    actuals: Actuals = states[own]
    if not actuals.currency:
        raise Rejected("actuals.unknown", "missing")
    _require_open(actuals)
    recorded = actuals.risk_costs.get(command.risk_id)
    if recorded is None or recorded.estimate_id != command.estimate_id:
        raise Rejected("actuals.risk-cost-unknown", "missing", risk_id=str(command.risk_id))
    change = difference(OccurrenceChange, recorded, command.given())
    if change is None:
        return []
    was, now = change
    known = replace(recorded, **now.given())
    what: dict[str, Any] = {"cost": known.cost, "occurred_on": known.occurred_on, "reason": command.reason}
    told = risk_edits.occurrence_corrected(states[estimate_ref], command.risk_id, actuals_id=id, **what)
    ids = {"risk_id": command.risk_id, "estimate_id": command.estimate_id}
    corrected = RiskCostCorrected(**ids, was=was, now=now, reason=command.reason)
    return [*((estimate_ref, event) for event in told), (own, corrected)]


def evolve(actuals: Actuals, event: ActualsEvent) -> Actuals:
    match event:
        case Opened():
            return Actuals(project_id=event.project_id, baseline_id=event.baseline_id, currency=event.currency)
        case BaselineChanged():
            return replace(actuals, baseline_id=event.now)
        case CostsRecorded(entries=entries):
            kept = actuals.entries.update([(entry.entry_id, entry) for entry in entries])
            return replace(actuals, entries=kept, sums=_with_sums(actuals.sums, sums_of(map(booked, entries)).items()))
        case CostCorrected(entry_id=entry_id):
            kept = actuals.entries.insert(entry_id, replace(actuals.entries[entry_id], **event.now.given()))
            sums = _with_sums(actuals.sums, moved(event.booked_was, event.booked_now).items())
            return replace(actuals, entries=kept, sums=sums)
        case CostRemoved(entry=entry):
            return replace(
                actuals,
                entries=actuals.entries.remove(entry.entry_id),
                removed=actuals.removed.insert(entry.entry_id, True),
                sums=_with_sums(actuals.sums, [(k, negative(s)) for k, s in sums_of([booked(entry)]).items()]),
            )
        case RiskCostRecorded():
            known = OccurredRisk(
                estimate_id=event.estimate_id, cost=event.cost, occurred_on=event.occurred_on, note=event.note
            )
            return replace(actuals, risk_costs=actuals.risk_costs.insert(event.risk_id, known))
        case RiskCostCorrected(risk_id=risk_id):
            known = replace(actuals.risk_costs[risk_id], **event.now.given())
            return replace(actuals, risk_costs=actuals.risk_costs.insert(risk_id, known))
        case DurationSet():
            return replace(actuals, durations=_with_days(actuals.durations, scope_key(event.scope), event.now))
        case FindingAdded(finding=finding):
            return replace(actuals, findings=actuals.findings.insert(finding.finding_id, finding))
        case FindingRevised(finding_id=finding_id):
            revised = replace(actuals.findings[finding_id], **event.now.given())
            return replace(actuals, findings=actuals.findings.insert(finding_id, revised))
        case FindingRemoved(finding=finding):
            return replace(
                actuals,
                findings=actuals.findings.remove(finding.finding_id),
                findings_removed=actuals.findings_removed.insert(finding.finding_id, True),
            )
        case VarianceExplained():
            return replace(actuals, explanations=actuals.explanations.insert(scope_key(event.scope), event.now))
        case Finished():
            return replace(actuals, finished_on=event.finished_on)
        case Reopened():
            return replace(actuals, finished_on=None)
    assert_never(event)


def _with_sums(sums: TrieMap[SumKey, Sum], added: Iterable[tuple[SumKey, Sum]]) -> TrieMap[SumKey, Sum]:
    """A sum without entries is not kept."""
    for key, part in added:
        now = joined(sums.get(key) or Sum(), part)
        sums = sums.insert(key, now) if now.entries else sums.discard(key)
    return sums


def _with_days(durations: TrieMap[str, int], key: str, days: int | None) -> TrieMap[str, int]:
    return durations.discard(key) if days is None else durations.insert(key, days)


actuals = Decider(
    category="actuals",
    initial=Actuals(),
    decide=decide,
    evolve=evolve,
    commands=(OpenActuals, ChangeBaseline, RecordRiskOccurrence, CorrectRiskCost, *members(ActualsCommand)),
    events=members(ActualsEvent),
    spanning={
        OpenActuals: Spanning(reads=_open_reads, decide=_open),
        ChangeBaseline: Spanning(reads=_change_baseline_reads, decide=_change_baseline),
        RecordRiskOccurrence: Spanning(reads=_occurrence_reads, decide=_occurrence),
        CorrectRiskCost: Spanning(reads=_correction_reads, decide=_correction),
    },
)
